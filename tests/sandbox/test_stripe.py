"""The stand-in for Stripe speaks as Stripe does, and our connector asks as Stripe wants to be asked."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import aiohttp
import pytest

from connectors.base import Noun, Secret, StoreAccess, StoreOptions
from connectors.besides import WritesBirthdays
from connectors.stripe import CONNECTOR
from rewards.records import Benefit, BenefitKind, Birthday, CodeDraft, KnownCode
from sandbox.server import CheckoutRefused
from sandbox.stripe import StripeSandbox
from sandbox.world import EarningRule, Seed, World
from tests.sandbox import v2_shapes
from tests.sandbox.listening import Listening
from tests.sandbox.openapi import DOCUMENT, Spec

SMALL = Seed(customers=60, orders=240, number=3)
needs_document = pytest.mark.skipif(not DOCUMENT.exists(), reason="Stripe's OpenAPI document is not here")


@pytest.fixture
async def sandbox() -> AsyncIterator[StripeSandbox]:
    shop = StripeSandbox(World(SMALL, base_is_total=True))
    shop.limiter_on = False
    await shop.start()
    yield shop
    await shop.stop()


@pytest.fixture
async def session(sandbox: StripeSandbox) -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(
        sandbox.url, headers={"Authorization": f"Bearer {sandbox.key}"}
    ) as opened:
        yield opened


async def ask(
    session: aiohttp.ClientSession, method: str, path: str, *, status: int = 200, **kwargs: Any
) -> dict[str, Any]:
    async with session.request(method, path, **kwargs) as answer:
        body = await answer.json()
        assert answer.status == status, body
        return dict(body)


async def everything(sandbox: StripeSandbox, session: aiohttp.ClientSession) -> None:
    """Every kind of request that the connector makes."""
    found = await CONNECTOR.install.installation(sandbox.connect_answers(), session)
    settings = {"requests_per_second": "0", "currency_rates": "USD=1.1", "birthday_field": "dob"}
    options = StoreOptions("EUR", "Europe/Madrid", {**found.settings, **settings})
    store = CONNECTOR.open_store(
        StoreAccess(found.external_id, found.credentials, options, found.api_base), session
    )
    await store.facts()
    await store.subscribe("https://127.0.0.1:1/webhooks/stripe/one", Secret("unused"))
    who = {"customer": "cus_Sbx00000000003", "subtotal_minor": 5_000, "code": "WELCOME10"}
    sandbox.till.subscribe(who)
    order = str(sandbox.place_order({**who, "field": ["dob", "1990-04-03"]})["order"])
    sandbox.till.dispute(order)
    for noun in Noun:
        for since in (None, sandbox.clock() - timedelta(days=400)):
            for window in await store.windows(noun, since):
                async for _ in store.read(window, None):
                    pass
    now = sandbox.clock()
    benefits = [
        Benefit(BenefitKind.PERCENTAGE, basis_points=1_250, currency="EUR", minimum_minor=2_000),
        Benefit(
            BenefitKind.AMOUNT,
            amount_minor=500,
            currency="EUR",
            minimum_minor=2_000,
            product_external_ids=("prod_Sbx00000000001",),
            first_time_only=True,
        ),
    ]
    drafts = [
        CodeDraft(
            f"CODE-{n}", f"grant:{n}", f"reward:{n}", "Birthday", benefit, now - timedelta(days=n),
            now + timedelta(days=30), f"cus_Sbx{n:011d}", None,
        )
        for n, benefit in enumerate(benefits)
    ]  # fmt: skip
    pushed = await store.push(drafts)
    assert [code.refused for code in pushed] == [None, None]
    known = [KnownCode(code.code, code.external_id, code.coupon_external_id) for code in pushed]
    assert None not in await store.find([*known, KnownCode("CODE-0", None, None)])
    assert await store.find([KnownCode("X", "promo_gone", None)]) == [None]
    await store.revoke(known[0])
    await store.restore(drafts[0], known[0])
    await store.revoke(KnownCode("CODE-1", None, None))
    sandbox.account.delete_coupon(str(pushed[1].coupon_external_id))
    assert (await store.restore(drafts[1], known[1])).external_id != known[1].external_id
    assert isinstance(store, WritesBirthdays)
    await store.write_birthday("cus_Sbx00000000003", Birthday(4, 3, 1990))
    await store.unsubscribe("https://127.0.0.1:1/webhooks/stripe/one")


@needs_document
@pytest.mark.parametrize("mode", ["test", "live"])
async def test_every_request_of_ours_and_every_answer_is_valid(mode: str) -> None:
    sandbox = Listening(World(SMALL, base_is_total=True), mode=mode)
    sandbox.limiter_on = False
    exchanges = sandbox.exchanges
    async with sandbox, aiohttp.ClientSession() as session:
        await everything(sandbox, session)
    spec = Spec()
    asked = set()
    for each in exchanges:
        if each.path.startswith("/v2/"):
            assert list(v2_shapes.problems(each.method, each.status, each.sent, each.received)) == [], each
            continue
        assert spec.request(each.method, each.path, each.query, each.sent) == [], each
        answer = json.loads(each.received)
        assert spec.answer(each.method, each.path, each.status, answer) == [], each
        assert f'"livemode":{"false" if mode == "live" else "true"}'.encode() not in each.received
        asked.add((each.method, each.path.rsplit("/", 1)[0] if each.path.count("/") > 2 else each.path))
    assert {method for method, _ in asked} == {"GET", "POST", "DELETE"}
    assert len(exchanges) > 60


@needs_document
async def test_every_seeded_object_and_event_is_valid(sandbox: StripeSandbox) -> None:
    spec, account = Spec(), sandbox.account
    placed = sandbox.place_order({"email": "somebody@people.example", "subtotal_minor": 5_000})
    sandbox.refund_order(str(placed["order"]), 1_000)
    sandbox.fail_refund(account.refunds.rows[-1].id)
    who = {"customer": "cus_Sbx00000000003", "subtotal_minor": 5_000, "code": "WELCOME10"}
    made = sandbox.till.subscribe({**who, "field": ["dob", "1990-04-03"]})
    sandbox.till.renew(str(made["subscription"]))
    for succeeded in (True, False):
        waiting = sandbox.place_order({**who, "delayed": True, "field": ["dob", "1990-04-03"]})
        sandbox.till.settle(str(waiting["order"]), succeeded=succeeded)
    sandbox.till.close_dispute(sandbox.till.dispute(str(made["order"])), won=False)
    for shelf in (
        account.customers,
        account.charges,
        account.sessions,
        account.refunds,
        account.coupons,
        account.codes,
        account.products,
        account.invoices,
        account.disputes,
    ):
        assert len(shelf), shelf
        for row in shelf:
            assert spec.resource(row.object, account.shown(row)) == [], row
    for invoice in account.invoices:
        expanded = account.shown(
            invoice, frozenset({"payments", "total_discount_amounts.discount", "discounts"})
        )
        assert spec.resource("invoice", expanded) == [], expanded
    assert {event.type for event in account.events} == {
        "charge.succeeded", "checkout.session.completed", "refund.created", "charge.refunded", "refund.failed",
        "invoice.paid", "promotion_code.updated", "charge.dispute.created", "charge.dispute.closed",
        "checkout.session.async_payment_succeeded", "checkout.session.async_payment_failed",
    }  # fmt: skip
    for event in account.events:
        assert spec.resource("event", event.show()) == []
        assert spec.resource(str(event.data["object"]), event.data) == [], event.type


@needs_document
def test_the_document_refuses_what_stripe_no_longer_takes() -> None:
    spec = Spec()
    assert spec.request("POST", "/v1/promotion_codes", "", "promotion[type]=coupon&promotion[coupon]=c") == []
    assert spec.request("POST", "/v1/promotion_codes", "", "coupon=c") != []
    assert spec.request("GET", "/v1/charges", "limit=101", "") != []
    assert spec.request("GET", "/v1/charges", "status=paid", "") != []
    assert spec.answer("GET", "/v1/charges", 200, {"object": "list"}) != []


async def test_lists_come_newest_first_and_page_both_ways(
    sandbox: StripeSandbox, session: aiohttp.ClientSession
) -> None:
    everything_at_once = []
    params: dict[str, str] = {"limit": "7"}
    while True:
        page = await ask(session, "GET", "/v1/charges", params=params)
        everything_at_once += page["data"]
        if not page["has_more"]:
            break
        params["starting_after"] = page["data"][-1]["id"]
    times = [charge["created"] for charge in everything_at_once]
    assert times == sorted(times, reverse=True)
    assert {c["id"] for c in everything_at_once} == set(sandbox.account.charges.by_id)
    before = await ask(
        session, "GET", "/v1/charges", params={"limit": "3", "ending_before": everything_at_once[10]["id"]}
    )
    assert [c["id"] for c in before["data"]] == [c["id"] for c in everything_at_once[7:10]]
    middle = times[50]
    older = await ask(session, "GET", "/v1/charges", params={"created[lt]": str(middle), "limit": "1"})
    assert older["data"][0]["created"] < middle


@pytest.mark.parametrize(
    "authorization", ["", "Bearer rk_test_wrong", "Basic cmtfdGVzdF93cm9uZzo=", "Basic %"]
)
async def test_a_wrong_key_is_refused(sandbox: StripeSandbox, authorization: str) -> None:
    async with (
        aiohttp.ClientSession(sandbox.url) as stranger,
        stranger.get("/v1/charges", headers={"Authorization": authorization}) as answer,
    ):
        assert answer.status == 401
        assert (await answer.json())["error"]["type"] == "invalid_request_error"
        assert answer.headers["Request-Id"].startswith("req_")


async def test_an_idempotency_key_replays_and_refuses_other_parameters(
    sandbox: StripeSandbox, session: aiohttp.ClientSession
) -> None:
    headers = {"Idempotency-Key": "one"}
    first = await ask(session, "POST", "/v1/customers", data={"email": "a@people.example"}, headers=headers)
    again = await ask(session, "POST", "/v1/customers", data={"email": "a@people.example"}, headers=headers)
    assert first == again
    refused = await ask(
        session, "POST", "/v1/customers", data={"email": "b@x.example"}, headers=headers, status=400
    )
    assert refused["error"]["type"] == "idempotency_error"
    await ask(
        session,
        "POST",
        "/v1/coupons",
        data={"percent_off": "0"},
        headers={"Idempotency-Key": "two"},
        status=400,
    )
    await ask(session, "POST", "/v1/coupons", data={"percent_off": "5"}, headers={"Idempotency-Key": "two"})


async def test_active_codes_of_one_text_are_unique_per_customer(session: aiohttp.ClientSession) -> None:
    await ask(session, "POST", "/v1/coupons", data={"id": "ten", "percent_off": "10"})
    base = {"promotion[type]": "coupon", "promotion[coupon]": "ten", "code": "HELLO"}
    customers = [f"cus_Sbx{n:011d}" for n in (1, 2)]
    made = [
        await ask(session, "POST", "/v1/promotion_codes", data={**base, "customer": c}) for c in customers
    ]
    for clash in ({**base, "code": "hello"}, {**base, "customer": customers[0]}):
        refused = await ask(session, "POST", "/v1/promotion_codes", data=clash, status=400)
        assert refused["error"]["code"] == "resource_already_exists"
    for code in made:
        await ask(session, "POST", f"/v1/promotion_codes/{code['id']}", data={"active": "false"})
    await ask(session, "POST", "/v1/promotion_codes", data=base)
    await ask(session, "POST", f"/v1/promotion_codes/{made[0]['id']}", data={"active": "true"}, status=400)
    found = await ask(session, "GET", "/v1/promotion_codes", params={"code": "hello", "active": "true"})
    assert [code["customer"] for code in found["data"]] == [None]


async def test_the_limiter_takes_25_requests_a_second(
    sandbox: StripeSandbox, session: aiohttp.ClientSession
) -> None:
    sandbox.limiter_on = True
    statuses = []
    for _ in range(30):
        async with session.get("/v1/account") as answer:
            statuses.append(answer.status)
            if answer.status == 429:
                assert answer.headers["Stripe-Rate-Limited-Reason"] == "global-rate"
    assert statuses[:25] == [200] * 25
    assert 429 in statuses


def test_checkout_enforces_the_rules_of_codes() -> None:
    sandbox = StripeSandbox(World(SMALL, base_is_total=True))
    account = sandbox.account
    account.create_coupon({"id": "tenth", "percent_off": "10"})
    ada, ben = (sandbox.world.people[n] for n in (1, 2))
    bound = account.create_code(
        {"promotion": {"type": "coupon", "coupon": "tenth"}, "code": "ADA-1", "customer": "cus_Sbx00000000001",
         "max_redemptions": "1", "expires_at": str(account.now + 60), "metadata": {"perennial_key": "g"}}
    )  # fmt: skip

    def refusal(email: str, code: str) -> str:
        with pytest.raises(CheckoutRefused) as caught:
            sandbox.place_order({"email": email, "subtotal_minor": 1_000, "code": code})
        return caught.value.reason

    assert refusal(ada.email, "NOBODY") == "unknown_code"
    assert refusal(ben.email, "ADA-1") == "wrong_customer"
    assert refusal("guest@people.example", "ADA-1") == "wrong_customer"
    assert refusal(ada.email, "OLDSALE") == "expired"
    placed = sandbox.place_order({"email": ada.email.upper(), "subtotal_minor": 1_000, "code": "ada-1"})
    assert (placed["discount_minor"], placed["total_minor"]) == (100, 900 + 900 * 21 // 100)
    assert refusal(ada.email, "ADA-1") == "used_up"
    assert (sandbox.redemptions, sandbox.codes_in_store(), bound.active(account.now)) == (1, 1, False)


def test_a_whole_discount_needs_no_payment_and_makes_a_customer() -> None:
    sandbox = StripeSandbox(World(SMALL, base_is_total=True))
    sandbox.account.create_coupon({"id": "all", "percent_off": "100"})
    sandbox.account.create_code({"promotion": {"type": "coupon", "coupon": "all"}, "code": "FREE"})
    placed = sandbox.place_order({"email": "new@people.example", "subtotal_minor": 900, "code": "FREE"})
    session = sandbox.account.sessions.by_id[str(placed["order"])]
    assert (session.payment_status, session.payment_intent, session.total) == ("no_payment_required", None, 0)
    assert session.customer in sandbox.account.customers.by_id
    assert "charge.succeeded" not in {event.type for event in sandbox.account.events}


def test_the_account_holds_what_the_books_count() -> None:
    world = World(Seed(customers=300, orders=3_000, number=5), base_is_total=True)
    account = StripeSandbox(world).account
    points = 0
    for charge in account.charges:
        if charge.succeeded:
            back = sum(refund.amount for refund in charge.refunds if refund.status == "succeeded")
            points += EarningRule().order(charge.amount) * (charge.amount - back) // charge.amount
    sign_ups = {customer.email.lower() for customer in account.customers if customer.email}
    assert points + 100 * len(sign_ups) == world.expected_points(EarningRule())
    assert {refund.status for refund in account.refunds} == {"succeeded", "failed", "pending"}
    assert len(account.customers) > len(sign_ups)
    through_checkout = sum(1 for session in account.sessions if session.status == "complete")
    assert 0.6 < through_checkout / sum(1 for charge in account.charges if charge.succeeded) < 0.8
