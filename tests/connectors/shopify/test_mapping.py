"""Shopify's two shapes of one thing become one record."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest

from connectors.shopify import CONNECTOR, customers, mapping
from rewards.records import Birthday, OrderStatus, RefundStatus

PAYLOADS = Path(__file__).parent / "payloads"


def body(name: str) -> Any:
    return json.loads((PAYLOADS / f"{name}.json").read_text())["body"]


def order_of(content: Any) -> Any:
    return mapping.order_from_body(msgspec.convert(content, mapping.OrderBody, strict=False))


def bag(amount: str, currency: str = "EUR") -> dict[str, Any]:
    return {"shopMoney": {"amount": amount, "currencyCode": currency}}


def line(**changes: Any) -> dict[str, Any]:
    """The order of payloads/orders-updated.json as GraphQL writes it."""
    return {
        "id": "gid://shopify/Order/820982911946154508",
        "email": "Ada.Berg@people.example",
        "createdAt": "2026-11-21T08:00:05Z",
        "processedAt": "2026-11-21T08:00:03Z",
        "updatedAt": "2026-11-21T11:00:01Z",
        "cancelledAt": None,
        "test": False,
        "displayFinancialStatus": "PARTIALLY_REFUNDED",
        "discountCodes": ["BDAY-7F3K9Q2M"],
        "customer": {"id": "gid://shopify/Customer/706405506930370084", "defaultEmailAddress": None},
        "subtotalPriceSet": bag("85.0"),
        "totalTaxSet": bag("17.85"),
        "totalShippingPriceSet": bag("4.95"),
        "totalDiscountsSet": bag("15.0"),
        "totalPriceSet": bag("107.8"),
        "refunds": [
            {
                "id": "gid://shopify/Refund/890088186047892319",
                "createdAt": "2026-11-21T11:00:00Z",
                "processedAt": "2026-11-21T11:00:00Z",
                "totalRefundedSet": bag("48.4"),
            }
        ],
    } | changes


def order_by_line(**changes: Any) -> Any:
    return mapping.order_from_line(msgspec.json.decode(json.dumps(line(**changes)), type=mapping.OrderLine))


def test_an_order_is_equal_in_both_shapes() -> None:
    by_webhook, by_export = order_of(body("orders-updated")), order_by_line()
    assert by_webhook == by_export
    assert by_export.external_id == "820982911946154508"
    assert by_export.customer_external_id == "706405506930370084"
    assert by_export.subtotal_minor == 8_500
    assert by_export.total_minor == 10_780
    assert by_export.discount_minor == 1_500
    assert by_export.codes == ("bday-7f3k9q2m",)
    assert by_export.placed_at == datetime(2026, 11, 21, 8, 0, 3, tzinfo=UTC)
    assert by_export.paid_at == by_export.placed_at
    assert by_webhook.placed_at.tzinfo is UTC
    [refund] = by_export.refunds
    assert (refund.total_minor, refund.subtotal_minor, refund.status) == (4_840, None, RefundStatus.SUCCEEDED)


def test_a_test_order_without_a_customer_is_marked_not_dropped() -> None:
    order = order_of(body("orders-updated-guest"))
    assert order.is_test
    assert order.customer_external_id is None
    assert order.email == "guest@people.example"
    assert order.currency == "EUR"
    assert order.placed_at == datetime(2026, 11, 21, 8, 0, 5, tzinfo=UTC)


@pytest.mark.parametrize(
    ("given", "cancelled", "status", "is_paid"),
    [
        ("PENDING", False, OrderStatus.PENDING, False),
        ("AUTHORIZED", False, OrderStatus.PENDING, False),
        ("PARTIALLY_PAID", False, OrderStatus.PENDING, False),
        ("PAID", False, OrderStatus.PAID, True),
        ("PARTIALLY_REFUNDED", False, OrderStatus.PAID, True),
        ("REFUNDED", False, OrderStatus.REFUNDED, True),
        ("REFUNDED", True, OrderStatus.CANCELLED, True),
        ("VOIDED", True, OrderStatus.CANCELLED, False),
        ("EXPIRED", False, OrderStatus.PENDING, False),
        (None, False, OrderStatus.PENDING, False),
        ("SOMETHING_NEW", False, OrderStatus.PENDING, False),
    ],
)
def test_the_financial_status_says_whether_an_order_counts_as_paid(
    given: str | None, cancelled: bool, status: OrderStatus, is_paid: bool
) -> None:
    at = "2026-11-21T12:00:00Z" if cancelled else None
    by_export = order_by_line(displayFinancialStatus=given, cancelledAt=at, refunds=[])
    content = body("orders-paid") | {"financial_status": given and given.lower(), "cancelled_at": at}
    by_webhook = order_of(content | {"updated_at": "2026-11-21T12:00:01+01:00"})
    assert by_webhook == by_export
    assert by_export.status is status
    assert (by_export.paid_at is not None) is is_paid
    assert by_export.status_given == (given or "").lower()


@pytest.mark.parametrize(
    ("text", "currency", "minor"),
    [
        ("12.5", "EUR", 1250),
        ("12.50", "EUR", 1250),
        ("0.0", "EUR", 0),
        ("1500.0", "JPY", 1500),
        ("1500", "JPY", 1500),
        ("1.25", "KWD", 1250),
        ("1.2345", "EUR", 123),
        ("7", "EUR", 700),
        ("-4.95", "EUR", -495),
    ],
)
def test_amounts_become_minor_units_of_their_currency(text: str, currency: str, minor: int) -> None:
    assert order_by_line(totalPriceSet=bag(text, currency), refunds=[]).total_minor == minor


def test_a_repayment_in_another_currency_counts_by_the_shops_amounts() -> None:
    refund = msgspec.convert(body("refunds-create-other-currency"), mapping.RefundBody, strict=False)
    assert mapping.refund_from_body(refund, "EUR").total_minor == 4_000 + 840 + 495
    plain = msgspec.convert(body("refunds-create"), mapping.RefundBody, strict=False)
    assert mapping.refund_from_body(plain, "EUR").total_minor == 4_840


def test_only_repayments_that_succeeded_count() -> None:
    content = body("refunds-create")
    content["transactions"] = [t | {"status": "failure"} for t in content["transactions"]]
    refund = mapping.refund_from_body(msgspec.convert(content, mapping.RefundBody, strict=False), "EUR")
    assert refund.total_minor == 0


def test_refunds_have_one_order_whatever_the_payloads() -> None:
    two = line()["refunds"] + [line()["refunds"][0] | {"id": "gid://shopify/Refund/17"}]
    assert [refund.external_id for refund in order_by_line(refunds=two).refunds] == [
        "17",
        "890088186047892319",
    ]


# -- customers -------------------------------------------------------------------------------------------------------


def customer_line(settings: dict[str, str] | None = None, **changes: Any) -> Any:
    content = {
        "id": "gid://shopify/Customer/706405506930370084",
        "firstName": "Ada",
        "lastName": "Berg",
        "defaultEmailAddress": {"emailAddress": "ada.berg@people.example", "marketingState": "SUBSCRIBED"},
        "defaultPhoneNumber": {"phoneNumber": "+34600100200"},
        "locale": "es",
        "createdAt": "2024-02-29T04:30:00Z",
        "updatedAt": "2026-11-20T14:15:00Z",
        "birthDate": {"value": "1988-02-29"},
    }
    text = json.dumps(content | changes)
    line = msgspec.json.decode(text, type=customers.CustomerLine)
    return customers.customer_from_line(line, customers.CustomerRules.of(settings or {}))


def customer_of(name: str, settings: dict[str, str] | None = None, **changes: Any) -> Any:
    content = msgspec.convert(body(name) | changes, customers.CustomerBody, strict=False)
    return customers.customer_from_body(content, customers.CustomerRules.of(settings or {}))


def test_a_customer_by_webhook_says_the_same_but_for_the_locale() -> None:
    by_webhook, by_export = customer_of("customers-create"), customer_line(locale=None)
    assert by_webhook == by_export
    assert by_export.birthday == Birthday(2, 29, 1988)
    assert by_export.joined_at == datetime(2024, 2, 29, 4, 30, tzinfo=UTC)
    assert by_export.accepts_marketing is True
    assert by_export.phone == "+34600100200"
    assert by_export.has_account
    assert customer_line().locale == "es"


def test_without_level_2_approval_the_personal_fields_say_nothing() -> None:
    customer = customer_of("customers-update")
    by_export = customer_line(
        firstName=None, lastName=None, defaultEmailAddress=None, defaultPhoneNumber=None, birthDate=None
    )
    for one in (customer, by_export):
        assert (one.email, one.name, one.phone, one.accepts_marketing, one.birthday) == (None,) * 5


@pytest.mark.parametrize(
    ("text", "birthday"),
    [
        ("1990-05-17", Birthday(5, 17, 1990)),
        ("1604-02-29", Birthday(2, 29, None)),
        ("31 April", None),
        ("2023-04-31", None),
    ],
)
def test_a_birth_date_keeps_its_day_even_if_the_year_cannot_be(text: str, birthday: Birthday | None) -> None:
    assert customer_line(birthDate={"value": text}).birthday == birthday


@pytest.mark.parametrize(
    ("text", "birthday"),
    [
        ("1990-05-17", Birthday(5, 17, 1990)),
        ("--05-17", Birthday(5, 17, None)),
        ("05-17", Birthday(5, 17, None)),
        ("17/05/1990", None),
    ],
)
def test_a_birthday_in_a_metafield_of_the_merchants_own_is_read(text: str, birthday: Birthday | None) -> None:
    settings = {"birthday_key": "loyalty.born_on"}
    field = {"namespace": "loyalty", "key": "born_on", "value": text}
    assert customer_of("customers-create", settings, metafields=[field]).birthday == birthday
    assert customer_of("customers-create", {}, metafields=[field]).birthday is None


def test_a_birthday_without_a_year_comes_back_without_one() -> None:
    for day in (Birthday(2, 29), Birthday(5, 17, 1990), Birthday(12, 31)):
        assert customers.read_birthday(customers.birthday_text(day)) == day


@pytest.mark.parametrize(
    ("settings", "state", "tags", "consent", "has_account"),
    [
        ({}, "DISABLED", [], "NOT_SUBSCRIBED", True),
        ({"accounts": "every"}, "DISABLED", [], "NOT_SUBSCRIBED", True),
        ({"accounts": "consent"}, "DISABLED", [], "SUBSCRIBED", True),
        ({"accounts": "consent"}, "ENABLED", ["club"], "UNSUBSCRIBED", False),
        ({"accounts": "tag:Club"}, "DISABLED", ["vip", "club"], "NOT_SUBSCRIBED", True),
        ({"accounts": "tag:Club"}, "ENABLED", ["clubs"], "SUBSCRIBED", False),
        ({"customer_accounts": "CLASSIC"}, "ENABLED", [], "NOT_SUBSCRIBED", True),
        ({"customer_accounts": "CLASSIC"}, "INVITED", [], "SUBSCRIBED", False),
        ({"customer_accounts": "CLASSIC", "accounts": "consent"}, "ENABLED", [], "NOT_SUBSCRIBED", True),
        ({"customer_accounts": "NEW_CUSTOMER_ACCOUNTS"}, "DISABLED", [], "NOT_SUBSCRIBED", True),
    ],
)
def test_whose_record_is_an_account(
    settings: dict[str, str], state: str, tags: list[str], consent: str, has_account: bool
) -> None:
    address = {"emailAddress": "ada@people.example", "marketingState": consent}
    by_export = customer_line(settings, state=state, tags=tags, defaultEmailAddress=address)
    assert by_export.has_account is has_account
    if "tag" not in settings.get("accounts", ""):
        body_consent = {"state": consent.lower()}
        by_post = customer_of(
            "customers-create", settings, state=state.lower(), email_marketing_consent=body_consent
        )
        assert by_post.has_account is has_account


def test_a_setting_that_cannot_be_meant_is_told_and_counts_as_its_default() -> None:
    wrong = {"accounts": "tag:", "birthday_key": "born on"}
    told = " ".join(customers.complaints(wrong))
    assert "tag" in told
    assert "NAMESPACE.KEY" in told
    assert " ".join(CONNECTOR.wrong_settings(wrong)) == told, "and refused when it is chosen"
    assert customers.CustomerRules.of(wrong) == customers.CustomerRules.of({})
    assert customers.complaints({"accounts": "tag:club", "birthday_key": "loyalty.born_on"}) == []
