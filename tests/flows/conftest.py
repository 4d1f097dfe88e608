"""The app on a fresh database, and each platform in turn."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from sandbox.server import Sandbox
from tests.flows.shops import KINDS
from tests.flows.stage import Clock, Stage, opened, this_morning


@pytest.fixture
def clock() -> Clock:
    """At ten o'clock of this day until a test moves it."""
    return Clock(this_morning())


@pytest.fixture
async def stage(database_url: str, tmp_path: Path, clock: Clock) -> AsyncIterator[Stage]:
    """The app, serving and working."""
    async with opened(database_url, tmp_path, clock) as found:
        yield found


@pytest.fixture(params=KINDS, ids=lambda kind: kind.platform)
def kind(request: pytest.FixtureRequest) -> type[Sandbox]:
    """Each platform's stand-in in turn."""
    found: type[Sandbox] = request.param
    return found
