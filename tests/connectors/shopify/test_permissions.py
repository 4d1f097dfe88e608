"""What a shop does not let us do or see is named, with what follows, and never stops the rest."""

from __future__ import annotations

from dataclasses import replace

import pytest

from connectors.shopify.permissions import HIDDEN_PEOPLE, HIDDEN_PHONES, NEEDED, missing
from rewards.errors import RefusedError
from rewards.records import KnownCode, ShopFacts
from sandbox.shopify_access import PERSONAL, without_people
from tests.connectors.shopify.shops import Shop, a_shop


async def facts(shop: Shop) -> ShopFacts:
    return await shop.store(await shop.connected()).facts()


async def test_a_shop_that_grants_everything_has_no_notices() -> None:
    async with a_shop() as shop:
        assert (await facts(shop)).notices == ()


@pytest.mark.parametrize("scope", [name for name in NEEDED if name.startswith("read_")])
async def test_a_missing_permission_is_named_with_what_does_not_work(scope: str) -> None:
    async with a_shop() as shop:
        granted = [
            held
            for held in shop.sandbox.oauth.granted_scopes
            if held not in (scope, scope.replace("read_", "write_"))
        ]
        shop.sandbox.oauth.scopes[:] = granted
        told = (await facts(shop)).notices
        assert f"The app lacks the permission {scope}: {NEEDED[scope]}." in told


async def test_orders_of_sixty_days_are_told_of() -> None:
    async with a_shop() as shop:
        shop.sandbox.oauth.scopes.remove("read_all_orders")
        [notice] = (await facts(shop)).notices
        assert "60 days" in notice


async def test_an_installed_app_says_where_older_orders_are_granted() -> None:
    async with a_shop() as shop:
        shop.sandbox.oauth.scopes.remove("read_all_orders")
        [notice] = (await shop.store(await shop.installed()).facts()).notices
        assert "60 days" in notice
        assert f"https://{shop.sandbox.shop}/admin/oauth/install?" in notice
        assert notice.endswith("optional_scopes=read_all_orders .")


def test_writing_implies_reading_and_scopes_of_other_kinds_do_no_harm() -> None:
    granted = ["write_customers", "unauthenticated_read_content", "customer_read_orders", "", "admin"]
    assert missing(granted, ["read_customers", "write_customers", "read_orders"]) == ("read_orders",)
    assert missing(["read_customers"], ["write_customers"]) == ("write_customers",)


async def test_hidden_people_are_told_of() -> None:
    async with a_shop() as shop:
        shop.sandbox.people_shown = False
        assert (await facts(shop)).notices == (HIDDEN_PEOPLE,)


async def test_hidden_phone_numbers_are_told_of_and_names_are_not_missed() -> None:
    async with a_shop() as shop:
        shop.sandbox.phones_shown = False
        assert (await facts(shop)).notices == (HIDDEN_PHONES,)


async def test_people_who_are_empty_throughout_count_as_hidden() -> None:
    async with a_shop() as shop:
        for number, person in shop.sandbox.customers.items():
            shop.sandbox.customers[number] = replace(person, email="", name="")
        assert (await facts(shop)).notices == (HIDDEN_PEOPLE,)


async def test_a_shop_without_customers_hides_nobody() -> None:
    async with a_shop() as shop:
        shop.sandbox.customers.clear()
        assert (await facts(shop)).notices == ()


async def test_an_answer_in_another_version_is_told_of() -> None:
    async with a_shop() as shop:
        store = shop.store(await shop.connected())
        shop.sandbox.answered_version = "2027-10"
        [notice] = (await store.facts()).notices
        assert "2027-10" in notice
        assert "update Perennial" in notice
        shop.sandbox.answered_version = "2026-10"
        assert (await store.facts()).notices == ()


async def test_a_call_without_its_permission_is_refused_by_name() -> None:
    async with a_shop() as shop:
        store = shop.store(await shop.connected())
        shop.sandbox.oauth.scopes[:] = ["read_customers"]
        with pytest.raises(RefusedError, match="write_discounts"):
            await store.revoke(KnownCode("BDAY-1", "1057856741", None))


def test_the_stand_in_blanks_people_and_says_so() -> None:
    body = {
        "data": {
            "customers": {
                "nodes": [{"id": "1", "firstName": "Ada", "defaultEmailAddress": {"emailAddress": "a@b.c"}}]
            }
        }
    }
    hidden = without_people(body)
    assert hidden["data"]["customers"]["nodes"] == [
        {"id": "1", "firstName": None, "defaultEmailAddress": None}
    ]
    assert len(hidden["errors"]) == 2
    assert {"firstName", "defaultEmailAddress"} <= PERSONAL
    shop = {"data": {"shop": {"email": "owner@shop.example"}}}
    assert without_people(shop) == shop
