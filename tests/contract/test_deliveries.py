"""What every connector does with a webhook post: trusts only the signature, and reads every topic it asks for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from connectors.base import RawDelivery, Secret, StoreOptions
from rewards.errors import BadSignatureError, MalformedDeliveryError
from tests.contract.case import ContractCase, Payload, load_payloads
from tests.contract.shops import TOKEN

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
SECRET = Secret("whsec_of_the_tests")
OPTIONS = StoreOptions("EUR", "Europe/Madrid")


def genuine(case: ContractCase, payload: Payload, *, signed_at: datetime = NOW) -> RawDelivery:
    delivery = case.deliver(payload.topic, payload.body, SECRET, signed_at, TOKEN)
    return replace(delivery, headers={**payload.headers, **delivery.headers})


def options(case: ContractCase) -> StoreOptions:
    return replace(OPTIONS, settings=case.connector.default_settings)


@pytest.fixture
def payload(case: ContractCase) -> Payload:
    """Any one of the platform's payloads."""
    return load_payloads(case.payloads)[0]


def test_a_genuine_signature_passes(case: ContractCase, payload: Payload) -> None:
    delivery = genuine(case, payload)
    case.connector.webhooks.verify(delivery, [SECRET], NOW)
    case.connector.webhooks.verify(delivery, [Secret("an older one"), SECRET], NOW)
    assert not case.connector.webhooks.is_ping(delivery)


@pytest.mark.parametrize("bend", [lambda body: body + b" ", lambda body: body[:-1], lambda body: b""])
def test_an_altered_body_is_refused(case: ContractCase, payload: Payload, bend) -> None:  # type: ignore[no-untyped-def]
    delivery = genuine(case, payload)
    with pytest.raises(BadSignatureError):
        case.connector.webhooks.verify(replace(delivery, body=bend(delivery.body)), [SECRET], NOW)


@pytest.mark.parametrize("secrets", [[], [Secret("another shop's secret")]])
def test_another_secret_is_refused(case: ContractCase, payload: Payload, secrets: list[Secret]) -> None:
    with pytest.raises(BadSignatureError):
        case.connector.webhooks.verify(genuine(case, payload), secrets, NOW)


@pytest.mark.parametrize("value", [None, "", "x", "ñ", "t=1,v1=00"])
def test_a_missing_or_broken_signature_is_refused(
    case: ContractCase, payload: Payload, value: str | None
) -> None:
    delivery = genuine(case, payload)
    with pytest.raises(BadSignatureError):
        case.connector.webhooks.verify(
            replace(delivery, headers=_resigned(delivery.headers, value)), [SECRET], NOW
        )


def _resigned(headers: Mapping[str, str], value: str | None) -> dict[str, str]:
    kept = {name: text for name, text in headers.items() if "signature" not in name and "hmac" not in name}
    assert len(kept) < len(headers)
    if value is not None:
        kept |= {name: value for name in headers if name not in kept}
    return kept


def test_an_old_post_is_refused_where_time_is_signed(case: ContractCase, payload: Payload) -> None:
    delivery = genuine(case, payload, signed_at=NOW - timedelta(days=2))
    if case.time_is_signed:
        with pytest.raises(BadSignatureError):
            case.connector.webhooks.verify(delivery, [SECRET], NOW)
    else:
        case.connector.webhooks.verify(delivery, [SECRET], NOW)


def test_every_topic_has_a_payload_and_every_payload_a_topic(case: ContractCase) -> None:
    assert {payload.topic for payload in load_payloads(case.payloads)} == case.connector.webhooks.topics


def test_every_payload_parses(case: ContractCase) -> None:
    for payload in load_payloads(case.payloads):
        delivery = genuine(case, payload)
        assert case.connector.webhooks.topic(delivery) == payload.topic, payload.name
        assert case.connector.webhooks.parse(delivery, options(case)), payload.name
        claim = case.connector.webhooks.claimed_store(delivery)
        assert claim.token == TOKEN or claim.external_id, payload.name


def test_a_signed_body_that_is_no_json_is_malformed(case: ContractCase, payload: Payload) -> None:
    broken = case.deliver(payload.topic, b'{"id": 1, "half', SECRET, NOW, TOKEN)
    case.connector.webhooks.verify(broken, [SECRET], NOW)
    with pytest.raises(MalformedDeliveryError):
        case.connector.webhooks.parse(broken, options(case))


def test_a_repeat_has_the_same_delivery_key(case: ContractCase) -> None:
    reader = case.connector.webhooks
    deliveries = [genuine(case, payload) for payload in load_payloads(case.payloads)]
    keys = [reader.delivery_key(delivery) for delivery in deliveries]
    assert keys == [reader.delivery_key(replace(delivery)) for delivery in deliveries]
    assert all(0 < len(key) <= 200 for key in keys)


@pytest.mark.parametrize("body", [b"", b"\xff\xfe", b"[]", b"null", b'{"id": {}}', b"webhook_id=x"])
def test_garbage_is_keyed_named_and_refused_without_a_crash(case: ContractCase, body: bytes) -> None:
    reader = case.connector.webhooks
    delivery = RawDelivery({}, body, "")
    assert len(reader.delivery_key(delivery)) <= 200
    assert isinstance(reader.topic(delivery), str)
    assert not reader.is_ping(delivery)
    with pytest.raises(BadSignatureError):
        reader.verify(delivery, [SECRET], NOW)
