"""Older WooCommerce: what is told of it, and what it does otherwise than the newest."""

from __future__ import annotations

from dataclasses import replace

import pytest

from connectors.besides import MARK
from connectors.woocommerce.versions import Release
from rewards.records import Binding
from sandbox.server import CheckoutRefused
from sandbox.world import Seed
from tests.connectors.woocommerce.shop import answering, standing
from tests.connectors.woocommerce.test_coupons import DRAFT

SMALL = Seed(customers=3, orders=3)


@pytest.mark.parametrize(
    ("version", "says"),
    [
        ("7.9.1", "older than any"),
        ("8.0.3", "letter by letter"),
        ("9.4.2", "letter by letter"),
        ("9.5.0-beta.1", ""),
        ("10.0.2", ""),
        ("11.0.1", ""),
        ("", ""),
        ("unknown", ""),
    ],
)
def test_merchants_are_told_what_their_version_does_otherwise(version: str, says: str) -> None:
    notices = Release(version).notices
    assert len(notices) == bool(says)
    assert says in "".join(notices)


@pytest.mark.parametrize("version", ["8.0.3", "9.4.2", "10.0.2", "11.0.1"])
async def test_each_tried_version_says_its_number_and_since_8_4_which_shop_it_is(version: str) -> None:
    async with standing(SMALL) as (sandbox, store):
        sandbox.be_older(version)
        facts = await store.facts()
        assert facts.settings == ({MARK: sandbox.store_id} if sandbox.store_id else {})
        assert bool(facts.notices) is (version in ("8.0.3", "9.4.2"))


async def test_a_shop_that_keeps_its_version_to_itself_is_fine() -> None:
    """Nothing by name is a list to PHP; and some keys' users may not see the system's status."""
    for answer in (
        (200, {"environment": []}),
        (403, {"code": "woocommerce_rest_cannot_view", "data": {"status": 403}}),
    ):
        index = {"name": "Shop", "timezone_string": "Europe/Madrid", "namespaces": ["wc/v3"]}
        async with answering(
            (200, index), (200, {"code": "EUR"}), answer, (404, {"code": "rest_no_route"})
        ) as (store, _):
            assert (await store.facts()).settings == {}


@pytest.mark.parametrize(("version", "is_refused"), [("9.4.2", True), ("9.5.0", False)])
async def test_before_9_5_a_personal_code_wants_the_e_mail_in_small_letters(
    version: str, is_refused: bool
) -> None:
    async with standing(SMALL) as (sandbox, store):
        sandbox.be_older(version)
        (pushed,) = await store.push([replace(DRAFT, email="clara@ejemplo.example", binding=Binding.BOUND)])
        buy = {"email": "Clara@ejemplo.example", "subtotal_minor": 5_000, "code": pushed.code}
        if is_refused:
            with pytest.raises(CheckoutRefused, match="wrong_customer"):
                sandbox.place_order(buy)
        sandbox.place_order({**buy, "email": "clara@ejemplo.example"} if is_refused else buy)
