"""Each platform says to merchants, in plain words, what it cannot do and what a choice means there."""

from __future__ import annotations

import pytest

from connectors.base import Capability
from connectors.besides import GivesValues, ShowsPoints, WritesBirthdays
from rewards.records import Binding
from sandbox.world import Seed
from tests.contract.case import ContractCase
from tests.contract.shops import open_shop

# What a merchant chooses or misses; the others are between a platform and us.
ABOUT_CHOICES = (
    Capability.WRITE_CODES,
    Capability.OPEN_CODES,
    Capability.FREE_SHIPPING,
    Capability.FREE_PRODUCT,
    Capability.LIMIT_TO_PRODUCTS,
    Capability.LIMIT_TO_COLLECTIONS,
    Capability.FIRST_TIME_ONLY,
    Capability.COMBINES,
    Capability.CODES_FOR_GUESTS,
    Capability.CODE_RETURNS_ON_CANCEL,
    Capability.SHARED_LIMIT_PER_CUSTOMER,
    Capability.WRITE_BIRTHDAY,
    Capability.STORE_CREDIT,
    Capability.GIFT_CARDS,
)


@pytest.mark.parametrize("capability", ABOUT_CHOICES)
def test_what_a_platform_cannot_do_it_says(case: ContractCase, capability: Capability) -> None:
    connector = case.connector
    assert capability in connector.capabilities or capability in connector.explains


def test_who_can_use_a_code_is_said_for_both_choices_and_differs(case: ContractCase) -> None:
    explains = case.connector.explains
    assert explains[Binding.BOUND] != explains[Binding.OPEN]


def test_words_are_whole_sentences(case: ContractCase) -> None:
    for said in case.connector.explains.values():
        assert said[0].isupper()
        assert said.endswith(".")
        assert "\n" not in said


async def test_a_store_shows_points_where_its_platform_says_so(case: ContractCase) -> None:
    async with open_shop(case, Seed(customers=2, orders=1)) as shop:
        says_so = Capability.SHOW_POINTS in case.connector.capabilities
        assert isinstance(shop.store, ShowsPoints) is says_so


async def test_a_store_writes_birthdays_where_its_platform_says_so(case: ContractCase) -> None:
    async with open_shop(case, Seed(customers=2, orders=1)) as shop:
        says_so = Capability.WRITE_BIRTHDAY in case.connector.capabilities
        assert isinstance(shop.store, WritesBirthdays) is says_so


async def test_a_store_gives_values_where_its_platform_says_so(case: ContractCase) -> None:
    async with open_shop(case, Seed(customers=2, orders=1)) as shop:
        values = {Capability.STORE_CREDIT, Capability.GIFT_CARDS}
        assert isinstance(shop.store, GivesValues) is bool(values & case.connector.capabilities)


@pytest.mark.parametrize("capability", [Capability.STORE_CREDIT, Capability.GIFT_CARDS])
def test_what_a_single_store_lacks_is_said_in_sentences_and_only_of_what_its_platform_can(
    case: ContractCase, capability: Capability
) -> None:
    lacks = case.connector.lacks({})
    assert lacks.keys() <= case.connector.capabilities
    if capability in case.connector.capabilities:
        said = lacks[capability]
        assert said[0].isupper()
        assert said.endswith(".")
