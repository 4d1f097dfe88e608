"""What some connectors offer besides: looking again, being maintained. Whoever says so can, and harms nothing."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from connectors.base import Capability, RawDelivery, Secret, StoreOptions
from connectors.besides import LooksAgain, NeedsMaintenance
from rewards.changes import LookAgain
from rewards.errors import BadSignatureError, MalformedDeliveryError
from sandbox.world import Seed
from tests.contract.case import ContractCase, load_payloads
from tests.contract.shops import open_shop

SEED = Seed(number=6, customers=5, orders=5)


def things_to_look_at(case: ContractCase) -> set[LookAgain]:
    """What the recorded posts have the store asked for."""
    found: set[LookAgain] = set()
    for payload in load_payloads(case.payloads):
        post = case.deliver(payload.topic, payload.body, Secret("x" * 40), datetime.now(UTC), "token")
        post = RawDelivery({**post.headers, **payload.headers}, post.body, post.path_token)
        try:
            changes = case.connector.webhooks.parse(post, StoreOptions("EUR", "Europe/Madrid"))
        except MalformedDeliveryError:
            continue
        found |= {change for change in changes if isinstance(change, LookAgain)}
    return found


async def test_whoever_says_look_again_can_look_and_finds_nothing_where_nothing_is(
    case: ContractCase,
) -> None:
    things = things_to_look_at(case)
    if not things:
        pytest.skip("its posts hold all they tell of")
    async with open_shop(case, SEED) as shop:
        assert isinstance(shop.store, LooksAgain)
        for thing in sorted(things, key=repr):
            if thing.external_id:  # the store itself is never gone
                assert list(await shop.store.look(thing)) == []


async def test_whoever_needs_maintenance_asks_for_nothing_while_none_is_due(case: ContractCase) -> None:
    if Capability.MAINTENANCE not in case.connector.capabilities:
        pytest.skip("its access lasts")
    async with open_shop(case, SEED) as shop:
        assert isinstance(shop.store, NeedsMaintenance)
        await shop.store.facts()
        before = shop.sandbox.requests
        await shop.store.maintain()
        assert shop.sandbox.requests == before


async def test_what_the_operators_app_signs_is_genuine_for_every_store(case: ContractCase) -> None:
    if not case.connector.app_secrets:
        pytest.skip("each store has a secret of its own")
    [payload, *_] = load_payloads(case.payloads)
    now, secret = datetime.now(UTC), Secret("an app's secret of forty characters, really")
    post = case.deliver(payload.topic, payload.body, secret, now, "token")
    case.connector.webhooks.verify(post, [Secret("another, newer secret of the same app"), secret], now)
    with pytest.raises(BadSignatureError):
        case.connector.webhooks.verify(post, [], now)
