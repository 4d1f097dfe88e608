"""Each contract test runs once for every folder below connectors/."""

from __future__ import annotations

import pytest

from tests.contract.case import ContractCase
from tests.contract.shops import PLATFORMS, case_of


@pytest.fixture(params=PLATFORMS)
def case(request: pytest.FixtureRequest) -> ContractCase:
    """One connector's case."""
    return case_of(request.param)
