"""Whose event it is: told by our token in the address, or by the account and mode that the event names."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest

from connectors.base import RawDelivery, Secret, StoreClaim, StoreOptions
from connectors.stripe.webhooks import StripeWebhooks
from rewards.changes import Change, CustomerSaved, Ignored, LookAgain, Uninstalled
from rewards.errors import MalformedDeliveryError
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
