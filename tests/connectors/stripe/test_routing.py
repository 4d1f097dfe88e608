"""Whose event it is: told by our token in the address, or by the account and mode that the event names."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest

from connectors.base import Noun, RawDelivery, Secret, Store, StoreClaim, StoreOptions
from connectors.stripe.webhooks import StripeWebhooks
from rewards.changes import (
    Change,
    CouponSaved,
    CustomerDeleted,
    CustomerSaved,
    Ignored,
    LookAgain,
    OrderSaved,
    Uninstalled,
)
from rewards.errors import MalformedDeliveryError
from sandbox.stripe import StripeSandbox
from tests.connectors.stripe.case import CASE, signed
from tests.contract.case import load_payload

READER = StripeWebhooks()
OURS = {"mode": "test", "account": "acct_ours", "access": "app"}


def post(name: str, token: str = "", **changes: object) -> RawDelivery:
    """A recorded post with some fields of its event replaced."""
    payload = load_payload(CASE.payloads / f"{name}.json")
    body = json.dumps(json.loads(payload.body) | changes).encode()
    return signed(payload.topic, body, Secret("whsec_1"), datetime(2026, 11, 21, tzinfo=UTC), token)


def said(delivery: RawDelivery, **settings: str) -> Change:
    (change,) = READER.parse(delivery, StoreOptions("EUR", "UTC", {**OURS, **settings}))
    return change


@pytest.mark.parametrize(("livemode", "mode"), [(True, "live"), (False, "test")])
@pytest.mark.parametrize(
    ("name", "field"), [("charge_succeeded", "account"), ("promotion_code_fully_redeemed_thin", "context")]
)
def test_without_a_token_account_and_mode_name_the_store(
    name: str, field: str, livemode: bool, mode: str
) -> None:
    delivery = post(name, livemode=livemode, **{field: "acct_ours"})
    assert READER.claimed_store(delivery) == StoreClaim(external_id=f"acct_ours:{mode}")


def test_an_organization_before_the_account_changes_nothing() -> None:
    """As the SDK reads it: `StripeContext.parse`."""
    delivery = post("promotion_code_fully_redeemed_thin", context="org_1/acct_ours", livemode=False)
    assert READER.claimed_store(delivery) == StoreClaim(external_id="acct_ours:test")
    assert isinstance(said(delivery), LookAgain)
    elsewhere = post("promotion_code_fully_redeemed_thin", context="org_1/acct_another", livemode=False)
    assert isinstance(said(elsewhere), Ignored)


def test_a_token_alone_decides_whatever_the_event_names() -> None:
    delivery = post("charge_succeeded", "token", account="acct_another")
    assert READER.claimed_store(delivery) == StoreClaim(token="token")


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b'{"livemode": true}', b'{"account": 5, "livemode": true}']
)
def test_a_post_that_names_nobody_is_malformed(body: bytes) -> None:
    with pytest.raises(MalformedDeliveryError):
        READER.claimed_store(RawDelivery({}, body))


@pytest.mark.parametrize(
    ("name", "field", "kind"),
    [
        ("customer_created", "account", CustomerSaved),
        ("account_application_deauthorized", "account", Uninstalled),
        ("promotion_code_fully_redeemed_thin", "context", LookAgain),
    ],
)
def test_only_this_accounts_events_change_anything(name: str, field: str, kind: type[Change]) -> None:
    """A merchant who is a platform may let an endpoint of theirs hear of other accounts."""
    assert isinstance(said(post(name, "token", **{field: "acct_ours"})), kind)
    assert isinstance(said(post(name, "token")), kind)
    assert isinstance(said(post(name, "token", **{field: "acct_another"})), Ignored)
    assert isinstance(said(post(name, "token", livemode=True)), Ignored)


def test_a_thin_event_says_which_code_to_look_at() -> None:
    change = said(post("promotion_code_fully_redeemed_thin", "token"))
    assert change == LookAgain("promotion_code", "promo_1Pgc76B7WZ01zgkWTHIN0001")


def test_taking_out_the_app_does_not_end_a_store_that_has_a_key() -> None:
    delivery = post("account_application_deauthorized", account="acct_ours")
    assert isinstance(said(delivery, access="key"), Ignored)
    assert isinstance(said(delivery), Uninstalled)


def test_a_thin_event_of_another_shape_is_malformed() -> None:
    with pytest.raises(MalformedDeliveryError):
        said(post("promotion_code_fully_redeemed_thin", "token", related_object=None))


@pytest.mark.parametrize("version", ["2020-08-27", "2025-08-27.basil", "2027-01-30.later"])
def test_an_event_in_a_version_that_we_do_not_read_is_looked_up_instead(version: str) -> None:
    """As in the list of events of an older account, and at an endpoint that was added without our version."""
    delivery = post("promotion_code_updated", "token", api_version=version)
    code = json.loads(delivery.body)["data"]["object"]["id"]
    assert said(delivery) == LookAgain("promotion_code.updated", code)
    assert isinstance(said(post("customer_deleted", "token", api_version=version)), CustomerDeleted)
    assert isinstance(
        said(post("account_application_deauthorized", "token", api_version=version)), Uninstalled
    )


@pytest.mark.parametrize("version", ["2025-09-30.clover", "2026-03-25.dahlia", "2026-10-28.endive", None])
def test_an_event_whose_shapes_are_ours_is_read_as_it_stands(version: str | None) -> None:
    assert isinstance(said(post("promotion_code_updated", "token", api_version=version)), CouponSaved)


async def test_what_changed_in_an_older_account_is_read_in_our_version(
    sandbox: StripeSandbox, store: Store
) -> None:
    """The list of events stays in the version in which each was written, whatever version is asked for."""
    account = sandbox.account
    account.api_version = "2020-08-27"
    since = sandbox.clock() - timedelta(minutes=5)
    account.create_coupon({"id": "ten", "percent_off": "10"})
    account.create_code({"promotion": {"type": "coupon", "coupon": "ten"}, "code": "ONCE"})
    placed = sandbox.place_order({"email": "guest@people.example", "subtotal_minor": 2_000, "code": "ONCE"})
    sandbox.sign_up("Ada", "ada@people.example")
    gone = sandbox.sign_up("Ben", "ben@people.example")
    account.delete_customer(gone)
    told: list[Change] = []
    for noun in Noun:
        windows = [w for w in await store.windows(noun, since) if w.spec["list"] == "events"]
        async for page in store.read(windows[0], None):
            told += page.changes
    assert {c.coupon.code for c in told if isinstance(c, CouponSaved) and c.coupon.code} == {"ONCE"}
    assert {c.order.external_id for c in told if isinstance(c, OrderSaved)} == {placed["order"]}
    assert [c.customer.email for c in told if isinstance(c, CustomerSaved)] == ["ada@people.example"]
    assert [c.external_id for c in told if isinstance(c, CustomerDeleted)] == [gone]
