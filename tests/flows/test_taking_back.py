"""What a merchant takes back works no more at the store's own checkout, and nothing brings it back."""

from __future__ import annotations

import pytest

from rewards.errors import InvalidInputError, NotFoundError, PlatformError
from sandbox.server import Sandbox
from sync.revoke import revoke_grant
from sync.verify import verify_codes
from tests.flows.stage import Shop, Stage


async def grant_of(shop: Shop, code: str) -> int:
    """Our id of the grant behind a code."""
    (found,) = await shop.stage.rows("SELECT grant_id FROM promotion_codes WHERE code = %s", code)
    return int(found["grant_id"])


async def test_a_code_taken_back_is_refused_at_the_till_and_not_repaired(
    stage: Stage, kind: type[Sandbox]
) -> None:
    shop = await stage.open(kind, customers=90, orders=60, birthday_share=1.0)
    await shop.rewards("birthday")
    await stage.tick()
    mine, theirs, *_ = await shop.codes()
    await revoke_grant(stage.services, await grant_of(shop, mine["code"]), actor="merchant")
    await stage.settle()
    assert [code["state"] for code in await shop.codes()][:2] == ["revoked", "pushed"]
    assert await shop.refused(mine["email"], mine["code"])
    assert (await verify_codes(stage.services, shop.store.id, repair=True)).differences == []
    await stage.days_pass(1)
    assert await shop.refused(mine["email"], mine["code"])
    await shop.buys(theirs["email"], 5_000, theirs["code"])
    await stage.settle()
    with pytest.raises(InvalidInputError, match="used already"):
        await revoke_grant(stage.services, await grant_of(shop, theirs["code"]), actor="merchant")
    with pytest.raises(NotFoundError):
        await revoke_grant(stage.services, 999_999, actor="merchant")
    events = await stage.rows("SELECT actor FROM audit_events WHERE action = 'grant.revoked'")
    assert events == [{"actor": "merchant"}]


async def test_a_store_that_is_away_is_told_when_it_is_asked_again(stage: Stage, kind: type[Sandbox]) -> None:
    shop = await stage.open(kind, customers=90, orders=60, birthday_share=1.0)
    await shop.rewards("birthday")
    await stage.tick()
    mine, *_ = await shop.codes()
    grant_id = await grant_of(shop, mine["code"])
    await shop.ask("faults", forbid=True)
    with pytest.raises(PlatformError):
        await revoke_grant(stage.services, grant_id, actor="merchant")
    assert (await shop.codes())[0]["state"] == "revoked"
    await shop.ask("faults", forbid=False)
    await revoke_grant(stage.services, grant_id, actor="merchant")
    assert await shop.refused(mine["email"], mine["code"])
    assert len(await stage.rows("SELECT 1 FROM audit_events WHERE action = 'grant.revoked'")) == 1
