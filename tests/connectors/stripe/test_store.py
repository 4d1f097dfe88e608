"""Access, webhooks and codes on a made-up account: what is asked for, what is made, what is refused."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import aiohttp
import pytest
from aiohttp import web

from connectors.base import Capability, RawDelivery, Secret, Store
from connectors.stripe import CONNECTOR, errors
from connectors.stripe.webhooks import TOPICS
from rewards.errors import AccessRevokedError, InvalidInputError, RefusedError, RetryLaterError
from rewards.records import Benefit, BenefitKind, Binding, KnownCode
from sandbox.stripe import StripeSandbox
from tests.connectors.stripe.conftest import Opener
from tests.connectors.stripe.drafts import TEN, draft, known

ADDRESS = "http://127.0.0.1:1/webhooks/stripe/token"


# -- install and access ----------------------------------------------------------------------------------------------


async def test_install_says_whose_key_it_is_and_in_which_mode(
    sandbox: StripeSandbox, session: aiohttp.ClientSession, store: Store
) -> None:
    found = await CONNECTOR.install.installation(sandbox.connect_answers(), session)
    assert found.external_id == f"{sandbox.account.id}:test"
    assert found.settings == {"mode": "test", "account": sandbox.account.id, "access": "key"}
    assert sandbox.key not in repr(found)
    facts = await store.facts()
    assert (facts.external_id, facts.time_zone, facts.currency) == (found.external_id, "Europe/Madrid", "EUR")


@pytest.mark.parametrize(
    ("key", "words"),
    [
        ("sk_live_abc", "Create restricted key"),
        ("pk_live_abc", "no Stripe API key"),
        ("", "no Stripe API key"),
        ("rk_test_somebody_elses", "does not accept"),
    ],
)
async def test_a_key_that_must_not_be_used_is_refused_with_the_way_out(
    sandbox: StripeSandbox, session: aiohttp.ClientSession, key: str, words: str
) -> None:
    with pytest.raises(InvalidInputError, match=words) as caught:
        await CONNECTOR.install.installation({"api-key": key, "api-base": sandbox.url}, session)
    assert not key or key not in str(caught.value)


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        ({"refuse_credentials": True}, AccessRevokedError),
        ({"forbid": True}, AccessRevokedError),
        ({"throttle": 1}, RetryLaterError),
        ({"server_errors": 1}, RetryLaterError),
        ({"cut": 1}, RetryLaterError),
        ({"malformed": 1}, RetryLaterError),
    ],
)
async def test_faults_become_the_right_error_for_reads_and_writes(
    sandbox: StripeSandbox, store: Store, fault: dict[str, int], error: type[Exception]
) -> None:
    for call in (store.facts, lambda: store.push([draft()]), lambda: store.unsubscribe(ADDRESS)):
        for name, value in fault.items():
            setattr(sandbox.faults, name, value)
        with pytest.raises(error) as caught:
            await call()
        assert sandbox.key not in str(caught.value)


async def test_nobody_there_is_for_later(
    session: aiohttp.ClientSession, sandbox: StripeSandbox, store: Store
) -> None:
    await sandbox.stop()
    with pytest.raises(RetryLaterError):
        await store.facts()


@pytest.mark.parametrize(
    "message",
    [
        "The provided key 'rk_live_*abc' does not have the required permissions for this endpoint on account 'acct_1'. "
        "Having the 'rak_promotion_code_write' permission would allow this request to continue.",
        "The provided key 'rk_live_*abc' does not have the required permissions for this endpoint on account 'acct_1'. "
        "Enabling Promotion Codes Write ('promotion_code_write') permissions on this key would allow this.",
    ],
)
def test_a_missing_permission_is_named_and_does_not_pause_the_store(message: str) -> None:
    body = json.dumps({"error": {"type": "invalid_request_error", "message": message}})
    error = errors.from_answer(403, body, {"Request-Id": "req_1"})
    assert isinstance(error, RefusedError)
    assert error.code == "missing_permission"
    assert "promotion_code_write" in str(error)
    assert "req_1" in str(error)
    assert "rk_live" not in str(error)


def test_conflicts_and_waits_are_for_later() -> None:
    assert isinstance(errors.from_answer(409, "{}", {}), RetryLaterError)
    asked = errors.from_answer(429, "{}", {"Retry-After": "7"})
    assert isinstance(asked, RetryLaterError)
    assert asked.retry_after_seconds == 7


def test_the_sdk_is_not_hidden_by_our_folder() -> None:
    script = "import connectors.stripe, stripe; assert stripe.StripeClient; print(stripe.VERSION)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("16.")


# -- webhooks --------------------------------------------------------------------------------------------------------


async def test_subscribing_again_leaves_one_endpoint_of_ours_at_the_address(
    sandbox: StripeSandbox, store: Store
) -> None:
    other = await store.subscribe("http://127.0.0.1:1/webhooks/stripe/other", Secret("proposal"))
    first = await store.subscribe(ADDRESS, Secret("proposal"))
    second = await store.subscribe(ADDRESS, Secret("proposal"))
    held = {*sandbox.account.endpoints.by_id, *(row.id for row in sandbox.destinations.rows)}
    assert held == {*other.external_ids, *second.external_ids}
    assert first.secret.reveal() != second.secret.reveal()
    endpoint = sandbox.account.endpoints.by_id[second.external_ids[0]]
    assert endpoint.secret == second.secret.reveal()
    assert set(endpoint.enabled_events) == TOPICS
    assert endpoint.api_version == "2026-10-28.endive"
    await store.unsubscribe(ADDRESS)
    await store.unsubscribe(ADDRESS)
    held = {*sandbox.account.endpoints.by_id, *(row.id for row in sandbox.destinations.rows)}
    assert held == set(other.external_ids)


@pytest.fixture
async def posts() -> AsyncIterator[tuple[str, list[RawDelivery]]]:
    """Our webhook address, served, and what was posted to it; the first post of each event is answered 500."""
    received: list[RawDelivery] = []

    async def take(request: web.Request) -> web.Response:
        headers = {name.lower(): value for name, value in request.headers.items()}
        received.append(RawDelivery(headers, await request.read(), request.match_info["token"]))
        keys = [CONNECTOR.webhooks.delivery_key(post) for post in received]
        return web.Response(status=200 if keys.count(keys[-1]) > 1 else 500)

    app = web.Application()
    app.router.add_post("/webhooks/stripe/{token}", take)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    yield f"http://{host}:{port}/webhooks/stripe/tok", received
    await runner.cleanup()


async def test_posts_are_signed_anew_at_each_try_and_verify(
    sandbox: StripeSandbox, store: Store, posts: tuple[str, list[RawDelivery]]
) -> None:
    address, received = posts
    subscription = await store.subscribe(address, Secret("proposal"))
    sandbox.place_order({"email": "guest@people.example", "subtotal_minor": 2_000})
    await sandbox.hooks.quiet()
    topics = [CONNECTOR.webhooks.topic(post) for post in received]
    assert sorted(topics) == ["charge.succeeded"] * 2 + ["checkout.session.completed"] * 2
    assert len(sandbox.hooks.accepted) == 2
    for post in received:
        CONNECTOR.webhooks.verify(post, [subscription.secret], datetime.now(UTC))
        assert CONNECTOR.webhooks.claimed_store(post).token == "tok"


# -- codes -----------------------------------------------------------------------------------------------------------


async def test_codes_of_a_reward_share_a_coupon_and_are_each_bound(
    sandbox: StripeSandbox, store: Store
) -> None:
    ends_at = datetime.now(UTC) + timedelta(days=5)
    pushed = await store.push([draft(n, ends_at=ends_at) for n in range(1, 21)])
    assert [code.code for code in pushed] == [f"BIRTHDAY-{n:04d}" for n in range(1, 21)]
    assert len({code.external_id for code in pushed}) == 20
    assert {code.coupon_external_id for code in pushed} == {pushed[0].coupon_external_id}
    coupon = sandbox.account.coupons.by_id[str(pushed[0].coupon_external_id)]
    assert (coupon.percent_off, coupon.duration, coupon.name) == (10.0, "once", "Birthday")
    for number, found in enumerate(await store.find([known(code) for code in pushed]), 1):
        assert found
        assert (found.is_active, found.usage_limit, found.benefit) == (True, 1, TEN)
        assert found.customer_external_ids == (f"cus_Sbx{number:011d}",)
        assert found.ends_at == ends_at.replace(microsecond=0)
    assert sandbox.codes_in_store() == 20


async def test_the_same_draft_again_is_the_same_code(
    sandbox: StripeSandbox, store: Store, open_store: Opener
) -> None:
    wanted = draft()
    first = await store.push([wanted])
    again = await open_store().push([wanted])
    assert first == again
    sandbox.api.forget_idempotency_keys()
    assert await store.push([wanted]) == first
    assert sandbox.codes_in_store() == 1


async def test_a_used_code_is_found_and_not_made_again_a_year_later(
    sandbox: StripeSandbox, store: Store
) -> None:
    wanted = draft(starts_at=datetime.now(UTC) - timedelta(days=2))
    first = await store.push([wanted])
    sandbox.place_order({"customer": wanted.customer_external_id, "subtotal_minor": 900, "code": wanted.code})
    sandbox.api.forget_idempotency_keys()
    assert await store.push([wanted]) == first
    assert sandbox.codes_in_store() == 1


async def test_an_answer_that_got_lost_leaves_one_code(sandbox: StripeSandbox, open_store: Opener) -> None:
    store = open_store(patience_seconds="10")
    (before,) = await store.push([draft(2)])  # the coupon is there: the next write is the code's
    sandbox.api.cut_after_writing = 1
    (code,) = await store.push([draft()])
    assert code.refused is None
    assert [c.id for c in sandbox.account.codes if c.code == code.code] == [code.external_id]
    assert before.external_id != code.external_id


async def test_a_lost_answer_without_patience_is_made_up_for_by_the_next_push(
    sandbox: StripeSandbox, store: Store
) -> None:
    await store.push([draft(2)])
    sandbox.api.cut_after_writing = 1
    with pytest.raises(RetryLaterError):
        await store.push([draft()])
    (code,) = await store.push([draft()])
    assert [c.id for c in sandbox.account.codes if c.code == code.code] == [code.external_id]


async def test_amounts_and_minimums_arrive(sandbox: StripeSandbox, store: Store) -> None:
    benefit = Benefit(BenefitKind.AMOUNT, amount_minor=750, currency="EUR", minimum_minor=2_500)
    (code,) = await store.push([draft(benefit=benefit)])
    (found,) = await store.find([known(code)])
    assert found
    assert found.benefit == benefit


async def test_what_stripe_cannot_give_is_refused_in_plain_words(store: Store) -> None:
    free, ten = await store.push(
        [draft(benefit=Benefit(BenefitKind.FREE_SHIPPING), reward_key="ship"), draft(2)]
    )
    assert free.refused
    assert "free-shipping" in free.refused
    assert ten.refused is None
    assert Capability.FREE_SHIPPING not in CONNECTOR.capabilities


async def test_one_bad_draft_leaves_the_others_alone(store: Store) -> None:
    unknown, past, good = await store.push(
        [
            draft(1, customer_external_id="cus_gone"),
            draft(2, ends_at=datetime.now(UTC) - timedelta(days=1)),
            draft(3),
        ]
    )
    assert unknown.refused
    assert past.refused
    assert (good.refused, good.external_id is None) == (None, False)


async def test_a_draft_without_customer_is_a_code_for_its_holder(
    sandbox: StripeSandbox, store: Store
) -> None:
    (code,) = await store.push([draft(customer_external_id=None, binding=Binding.OPEN)])
    made = sandbox.account.codes.by_id[str(code.external_id)]
    assert (made.customer, made.max_redemptions) == (None, 1)
    sandbox.place_order({"email": "anybody@people.example", "subtotal_minor": 900, "code": code.code})


async def test_a_coupon_that_gives_something_else_stops_the_reward_with_words(
    sandbox: StripeSandbox, store: Store
) -> None:
    (code,) = await store.push([draft()])
    (refused,) = await store.push([draft(2, benefit=replace(TEN, basis_points=2_000))])
    assert refused.refused
    assert str(code.coupon_external_id) in refused.refused


async def test_a_text_that_the_merchant_uses_is_refused(store: Store) -> None:
    (refused,) = await store.push([draft(code="WELCOME10")])
    assert refused.refused
    assert "resource_already_exists" in refused.refused


async def test_a_text_of_ours_that_another_grant_has_is_refused_not_taken_over(
    sandbox: StripeSandbox, store: Store
) -> None:
    (first,) = await store.push([draft(1)])
    (refused,) = await store.push([draft(2, code=first.code, customer_external_id="cus_Sbx00000000001")])
    assert refused.refused
    (same_text,) = await store.push([draft(2, code=first.code)])
    assert same_text.external_id not in (None, first.external_id)


async def test_revoking_ends_a_code_with_or_without_its_id(sandbox: StripeSandbox, store: Store) -> None:
    one, two = await store.push([draft(1), draft(2)])
    await store.revoke(known(one))
    await store.revoke(known(one))
    await store.revoke(KnownCode(two.code, None, None))
    await store.revoke(KnownCode("GONE", "promo_gone", None))
    found = await store.find(
        [known(one), known(two), KnownCode("GONE", "promo_gone", None), KnownCode("X", None, None)]
    )
    assert [coupon and coupon.is_active for coupon in found] == [False, False, None, None]


async def test_restoring_switches_on_what_was_switched_off(sandbox: StripeSandbox, store: Store) -> None:
    wanted = draft()
    (code,) = await store.push([wanted])
    await store.revoke(known(code))
    assert await store.restore(wanted, known(code)) == code
    assert await store.restore(wanted, known(code)) == code
    assert sandbox.codes_in_store() == 1


async def test_restoring_replaces_what_cannot_be_used_again(sandbox: StripeSandbox, store: Store) -> None:
    wanted = draft()
    (used,) = await store.push([wanted])
    sandbox.place_order({"customer": wanted.customer_external_id, "subtotal_minor": 900, "code": wanted.code})
    fresh = await store.restore(wanted, known(used))
    assert fresh.external_id != used.external_id
    assert await store.restore(wanted, known(used)) == fresh
    sandbox.account.delete_coupon(str(fresh.coupon_external_id))
    assert await store.find([known(fresh)]) == [None]
    again = await store.restore(wanted, known(fresh))
    (found,) = await store.find([known(again)])
    assert found
    assert (found.is_active, found.code) == (True, wanted.code)


async def test_restoring_a_longer_life_replaces_the_code(sandbox: StripeSandbox, store: Store) -> None:
    wanted = draft()
    (code,) = await store.push([wanted])
    longer = replace(wanted, ends_at=wanted.ends_at + timedelta(days=30))
    fresh = await store.restore(longer, known(code))
    old, new = await store.find([known(code), known(fresh)])
    assert old
    assert new
    assert (old.is_active, new.is_active, new.ends_at) == (False, True, longer.ends_at.replace(microsecond=0))


# -- pace ------------------------------------------------------------------------------------------------------------


async def test_pushing_keeps_to_the_limit_without_a_refusal(
    sandbox: StripeSandbox, open_store: Opener
) -> None:
    sandbox.limiter_on = True
    sandbox.requests_per_second = 100
    store = open_store(requests_per_second="100")
    pushed = await store.push([draft(n) for n in range(60)])
    assert all(code.external_id for code in pushed)
