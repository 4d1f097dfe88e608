"""Every recorded call that our code would make, answered over loopback HTTP as the real shop answered it.

A request is matched by method, path and the parts of its query that decide what is meant; `_fields` cuts the recorded
answer as the shop would have. Calls that are not ours to make are named below, each with its reason, so that no
recording is left out by accident.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import aiohttp
import pytest
from aiohttp import web

from connectors.base import AWAITS_PING, Noun, Secret, StoreAccess, Window
from connectors.besides import MARK
from connectors.woocommerce.history import DRAFT as DRAFT_STATUS
from connectors.woocommerce.store import WooCommerceStore, open_store
from connectors.woocommerce.webhooks import TOPICS
from rewards.changes import CouponSaved, CustomerSaved, Ignored, OrderSaved
from rewards.errors import AccessRevokedError, PlatformError, RefusedError
from rewards.records import Benefit, BenefitKind, Birthday, CodeDraft, KnownCode
from sandbox.woocommerce_records import only
from tests.connectors.woocommerce.shop import KEYS, RECORDINGS, options, server

pytestmark = pytest.mark.skipif(not RECORDINGS.is_dir(), reason="shared/ is not there")

# How a list is cut and sorted, and who asks: not what is asked for.
_HOW = {"_fields", "per_page", "page", "order", "orderby", "dates_are_gmt"}
_WHO = ("oauth_", "consumer_")
_API = "/wp-json/wc/v3"
HOOK = "https://app.example/webhooks/woocommerce/token"
BORN = Birthday(3, 1, 1991)
DRAFT = CodeDraft(
    code="",
    idempotency_key="grant-1",
    reward_key="reward-1",
    title="Birthday",
    benefit=Benefit(BenefitKind.PERCENTAGE, basis_points=1000),
    starts_at=datetime(2026, 11, 21, tzinfo=UTC),
    ends_at=datetime(2099, 1, 31, 22, 59, 59, tzinfo=UTC),
    customer_external_id="4",
    email="cliente48@ejemplo.example",
)

NOT_OURS = {
    r".* /wp-json/wc/store/": "what a shopper does",
    r"POST .*/(customers|orders|orders/\d+/refunds|customers/batch|shipping/zones)$": "we make no customers or orders",
    r"(PUT|DELETE) .*/orders/": "we change no orders",
    r"DELETE .*/customers": "we remove no customers",
    r"GET .*/customers/\d+": "customers are read by lists",
    r"GET .*/orders/\d+/refunds": "refunds are read with their order",
    r"GET .*/customers\?.*(email|search)=": "we look nobody up",
    r"GET .*/orders\?(.*&)?(after|coupon|customer|search)=": "we list orders by change alone, and count between two dates",
    r"GET .*/orders\?status=(?!checkout-draft$)": "we ask for one status only, that of drafts",
    r".*/(wc-analytics|taxes|payment_gateways|reports|nope)": "no part of ours",
    r".*/settings/general": "of the settings we ask for one, which was not recorded",
    r".*/products": "products and categories are asked for by their numbers",
    r"GET /wp-json/wc/v3$": "the index of one namespace",
    r".* /\?rest_route": "keys do not work there",
    r"POST .*/coupons$": "coupons are made in batches; what the shop made of these is read as a batch's below",
    r"DELETE .*/coupons": "coupons are removed in batches",
    r"GET .*/webhooks/\d+": "webhooks are read by lists",
    r"DELETE .*/webhooks/\d+$": "we remove webhooks for good",
}


@dataclass(frozen=True)
class Recorded:
    """One call of the real shop."""

    name: str
    method: str
    path: str
    query: Mapping[str, str]
    given: Any
    status: int
    headers: Mapping[str, str]
    body: Any

    @property
    def line(self) -> str:
        asked = "&".join(f"{name}={value}" for name, value in self.query.items())
        return f"{self.method} {self.path}{f'?{asked}' if asked else ''}"


def meaning(query: list[tuple[str, str]]) -> dict[str, str]:
    return {name: value for name, value in query if name not in _HOW and not name.startswith(_WHO)}


def recordings() -> list[Recorded]:
    found = []
    for path in sorted(RECORDINGS.glob("*.json")):
        content = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(content, dict) or "request" not in content:
            continue
        asked, told = content["request"], content["response"]
        url = urlsplit(asked["url"])
        found.append(
            Recorded(
                path.stem,
                asked["method"],
                url.path,
                meaning(parse_qsl(url.query)),
                asked.get("body"),
                told["status"],
                told["headers"],
                told.get("body"),
            )
        )
    return found


@dataclass
class Replay:
    """What our code asked for."""

    seen: list[str] = field(default_factory=list)
    removed: list[int] = field(default_factory=list)


@contextlib.asynccontextmanager
async def replaying(*known: Recorded) -> AsyncIterator[tuple[WooCommerceStore, Replay]]:
    """A store on a server that gives recorded answers; lists and removals that were not recorded are empty and good."""
    replay = Replay()

    async def answer(request: web.Request) -> web.StreamResponse:
        asked = meaning(list(request.query.items()))
        body = await request.json() if request.can_read_body else {}
        if request.path.endswith("/batch") and not body.get("create"):
            replay.removed += body["delete"]
            return web.json_response({"delete": [{"id": number} for number in body["delete"]]})
        for one in known:
            if (one.method, one.path, one.query) == (request.method, request.path, asked):
                replay.seen.append(one.name)
                return _told(one, request.query.get("_fields", ""))
        if request.method == "GET" and request.path in (
            f"{_API}/coupons",
            f"{_API}/orders",
            f"{_API}/webhooks",
        ):
            return web.json_response([], headers={"X-WP-Total": "0"})
        return web.json_response(
            {"code": "rest_no_route", "message": "", "data": {"status": 404}}, status=404
        )

    keys = options(birthday_key="birth_date", **{AWAITS_PING: "1"})
    async with server(answer) as base, aiohttp.ClientSession() as session:
        yield open_store(StoreAccess(base, KEYS, keys, base), session), replay


def _told(one: Recorded, fields: str) -> web.Response:
    body = one.body
    if fields and one.status < 300:
        body = [only(item, fields) for item in body] if isinstance(body, list) else only(body, fields)
    headers = {
        name: value for name, value in one.headers.items() if name.startswith("X-WP-") or name == "Link"
    }
    return web.json_response(body, status=one.status, headers=headers)


def reason_not_ours(one: Recorded) -> str | None:
    if not isinstance(one.body, dict | list):
        return "its answer was too long to keep"
    is_by_name = "include" in one.query or one.query.get("status") == DRAFT_STATUS
    if one.method == "GET" and one.path == f"{_API}/orders" and _lacks_fields(one) and not is_by_name:
        return "recorded with fewer fields than we ask for"
    return next((why for pattern, why in NOT_OURS.items() if re.match(pattern, one.line)), None)


def _lacks_fields(one: Recorded) -> bool:
    return isinstance(one.body, list) and any("line_items" not in item for item in one.body)


ALL = recordings() if RECORDINGS.is_dir() else []
OURS = [one for one in ALL if reason_not_ours(one) is None]


def _is_new_coupon(one: Recorded) -> bool:
    return (one.method, one.path, one.status) == ("POST", f"{_API}/coupons", 201)


def params(pattern: str) -> list[Any]:
    return [pytest.param(one, id=one.name) for one in OURS if re.match(pattern, one.line)]


_LISTS, _BY_CODE, _BY_ID = (
    rf"GET {_API}/(customers|orders|coupons)(\?(?!code|include|status=checkout-draft)|$)",
    rf"GET {_API}/coupons\?code",
    rf"GET {_API}/coupons/\d+",
)
_BATCHES, _CHANGES, _BIRTHDAYS = (
    rf"POST {_API}/coupons/batch",
    rf"PUT {_API}/coupons/\d+",
    rf"PUT {_API}/customers/\d+",
)
_FACTS, _HOOKS = (
    rf"GET (/wp-json/|{_API}/data/currencies/current|{_API}/system_status)$",
    rf"GET {_API}/webhooks",
)
_ORDERS, _DRAFTS = rf"GET {_API}/orders(/\d+|\?include=)", rf"GET {_API}/orders\?status=checkout-draft"
_NEW_HOOKS, _HOOK_SAVED, _HOOK_GONE = (
    rf"POST {_API}/webhooks",
    rf"PUT {_API}/webhooks/\d+",
    rf"DELETE {_API}/webhooks/\d+\?force=true",
)


def test_no_recorded_call_is_forgotten() -> None:
    kinds = (_LISTS, _BY_CODE, _BY_ID, _BATCHES, _CHANGES, _BIRTHDAYS, _FACTS, _HOOKS)
    kinds += (_ORDERS, _DRAFTS, _NEW_HOOKS, _HOOK_SAVED, _HOOK_GONE)
    forgotten = [one.name for one in OURS if not any(re.match(kind, one.line) for kind in kinds)]
    forgotten += [
        one.name for one in ALL if one.method == "DELETE" and one.path == f"{_API}/customers" and one in OURS
    ]
    assert forgotten == []
    assert len(OURS) > 75


def error_of(one: Recorded) -> type[PlatformError]:
    return AccessRevokedError if one.status in (401, 403) else RefusedError


@pytest.mark.parametrize("one", params(_LISTS))
async def test_recorded_lists_are_read(one: Recorded) -> None:
    noun = Noun(one.path.rpartition("/")[2])
    total = int(one.headers.get("X-WP-Total", "0"))
    async with replaying(one) as (store, replay):
        window = Window(noun, {"from": 1, "to": 1, "total": total, "filter": dict(one.query)})
        if one.status >= 300:
            with pytest.raises(error_of(one)):
                [page async for page in store.read(window, None)]
            assert replay.seen == [one.name]
            return
        changes = [change async for page in store.read(window, None) for change in page.changes]
    assert replay.seen[0] == one.name
    assert len(changes) == len(one.body)
    for change, body in zip(changes, one.body, strict=True):
        match change:
            case CustomerSaved(customer=customer):
                assert (customer.external_id, customer.email) == (str(body["id"]), body["email"] or None)
            case OrderSaved(order=order):
                assert (order.external_id, order.status_given) == (str(body["id"]), body["status"])
            case CouponSaved(coupon=coupon):
                assert (coupon.external_id, coupon.code) == (str(body["id"]), body["code"])
            case Ignored():
                assert body["status"] == "checkout-draft"
            case _:
                raise AssertionError(change)


@pytest.mark.parametrize("one", params(_BY_CODE))
async def test_recorded_coupons_are_found_by_their_code(one: Recorded) -> None:
    # We ask in lower case, and the shop finds either.
    one = replace(one, query={"code": one.query["code"].lower()})
    async with replaying(one) as (store, replay):
        (found,) = await store.find([KnownCode(one.query["code"].upper(), None, None)])
    assert replay.seen == [one.name]
    expected = one.body[0] if one.body else None
    assert (found and found.external_id) == (expected and str(expected["id"]))
    if found is not None and expected is not None:
        assert (found.used_count, found.usage_limit) == (expected["usage_count"], expected["usage_limit"])


@pytest.mark.parametrize("one", params(_BY_ID))
async def test_recorded_coupons_are_found_by_their_id(one: Recorded) -> None:
    number = one.path.rpartition("/")[2]
    async with replaying(one) as (store, replay):
        (found,) = await store.find([KnownCode("CODE", number, None)])
    assert replay.seen == [one.name]
    is_there = one.status == 200 and one.body["status"] != "trash"
    assert (found is not None) is is_there
    if found is not None:
        assert (found.external_id, found.used_count) == (number, one.body["usage_count"])


@pytest.mark.parametrize("one", params(_BATCHES))
async def test_recorded_batches_are_read_item_by_item(one: Recorded) -> None:
    """None of these coupons is as we would have asked for it: all go again, and each says why."""
    drafts = [replace(DRAFT, code=item["code"]) for item in one.given["create"]]
    async with replaying(one) as (store, replay):
        if one.status >= 300:
            with pytest.raises(RefusedError):
                await store.push(drafts)
            return
        pushed = await store.push(drafts)
    assert replay.seen == [one.name]
    assert replay.removed == [item["id"] for item in one.body["create"] if "error" not in item]
    for told, item in zip(pushed, one.body["create"], strict=True):
        assert told.refused
        assert ("expiry" in told.refused) is ("error" not in item)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("coupon-bad-email-accepted", "e-mail"),
        ("coupon-bad-date-accepted", "expiry"),
        ("coupon-date-only", "expiry"),
        ("coupon-past-date", "expiry"),
        ("coupon-amount-text-accepted", "amount"),
        ("coupon-create-fixed-cart", "expiry"),  # sent as date_expires_gmt, which is ignored
    ],
)
async def test_what_the_real_shop_took_in_silence_is_noticed_and_removed(name: str, says: str) -> None:
    (made,) = [one for one in ALL if one.name == name]
    batch = replace(made, path=f"{_API}/coupons/batch", status=200, body={"create": [made.body]})
    async with replaying(batch) as (store, replay):
        (pushed,) = await store.push([replace(DRAFT, code=made.given["code"])])
    assert pushed.refused
    assert says in pushed.refused
    assert replay.removed == [made.body["id"]]


@pytest.mark.parametrize("made", [pytest.param(one, id=one.name) for one in ALL if _is_new_coupon(one)])
async def test_coupons_of_the_real_shop_that_are_not_as_asked_never_stay(made: Recorded) -> None:
    batch = replace(made, path=f"{_API}/coupons/batch", status=200, body={"create": [made.body]})
    async with replaying(batch) as (store, replay):
        (pushed,) = await store.push([replace(DRAFT, code=made.given["code"])])
    assert pushed.refused
    assert replay.removed == [made.body["id"]]


@pytest.mark.parametrize("one", params(_CHANGES))
async def test_recorded_changes_of_a_coupon_are_read_back(one: Recorded) -> None:
    """Only an answer that shows the coupon as a draft, or gone, is taken for switched off."""
    async with replaying(one) as (store, replay):
        known = KnownCode("CODE", one.path.rpartition("/")[2], None)
        if one.status < 300 and one.body["status"] != "draft":
            with pytest.raises(RefusedError, match="by hand"):
                await store.revoke(known)
            assert replay.seen == [one.name, one.name]
            return
        await store.revoke(known)
    assert replay.seen == [one.name]


@pytest.mark.parametrize("one", params(_BIRTHDAYS))
async def test_recorded_changes_of_a_customer_are_read_back(one: Recorded) -> None:
    number = one.path.rpartition("/")[2]
    shown = {entry["key"]: entry["value"] for entry in one.body.get("meta_data", [])}
    async with replaying(one) as (store, replay):
        if shown.get("birth_date") == "1991-03-01":
            await store.write_birthday(number, BORN)
        else:
            with pytest.raises(RefusedError):
                await store.write_birthday(number, BORN)
    assert replay.seen == [one.name]


async def test_the_recorded_facts_of_the_shop_are_read() -> None:
    left_out = ("index-wp-json", "system-status-fields")  # the same with more, and with less
    answers = [one for one in OURS if re.match(_FACTS, one.line) and one.name not in left_out]
    async with replaying(*answers) as (store, replay):
        facts = await store.facts()
    assert sorted(replay.seen) == ["data-currencies-current", "index-wp-json-fields", "system-status"]
    assert (facts.time_zone, facts.currency, facts.notices) == ("Europe/Madrid", "EUR", ())
    assert facts.settings == {MARK: "(left out)"}  # in the recording


@pytest.mark.parametrize("one", params(_ORDERS))
async def test_recorded_orders_are_gone_only_when_the_shop_says_so(one: Recorded) -> None:
    """An order in the trash is in no list, and found by its number."""
    is_list = "include" in one.query
    numbers = one.query["include"].split(",") if is_list else [one.path.rpartition("/")[2]]
    async with replaying(one) as (store, replay):
        if is_list and len(one.body) < len(numbers):  # then they are asked for one by one
            with pytest.raises(RefusedError, match="does not know"):
                await store.vanished(numbers)
        else:
            gone = await store.vanished(numbers)
            is_gone = one.status == 404 or (not is_list and one.body["status"] == "trash")
            assert gone == (numbers if is_gone else [])
    assert replay.seen == [one.name]


@pytest.mark.parametrize("one", params(_DRAFTS))
async def test_recorded_drafts_are_looked_for_in_the_lists_of_orders(one: Recorded) -> None:
    async with replaying(one) as (store, replay):
        assert (
            await store.count_orders(datetime(2026, 1, 1, tzinfo=UTC), datetime(2027, 1, 1, tzinfo=UTC)) == 0
        )
    assert replay.seen == [one.name]


@pytest.mark.parametrize("one", params(_NEW_HOOKS))
async def test_recorded_webhooks_are_made_and_refused(one: Recorded) -> None:
    async with replaying(one) as (store, replay):
        if one.status >= 300:
            with pytest.raises(RefusedError) as caught:
                await store.subscribe(HOOK, Secret("s"))
            assert caught.value.code == one.body["code"]
            return
        made = await store.subscribe(HOOK, Secret("s"))
    assert replay.seen == [one.name] * len(TOPICS)
    assert set(made.external_ids) == {str(one.body["id"])}


@pytest.mark.parametrize("one", params(_HOOK_SAVED))
async def test_a_recorded_webhook_that_is_saved_again_pings(one: Recorded) -> None:
    number = int(one.path.rpartition("/")[2])
    async with replaying(one, _hooks(number)) as (store, replay):
        assert await store.is_subscribed(HOOK)
    assert replay.seen == ["hooks", one.name]


@pytest.mark.parametrize("one", params(_HOOK_GONE))
async def test_a_recorded_webhook_is_removed(one: Recorded) -> None:
    number = int(one.path.rpartition("/")[2])
    async with replaying(one, _hooks(number, topics=["order.created"])) as (store, replay):
        await store.unsubscribe(HOOK)
    assert replay.seen == ["hooks", one.name]


def _hooks(number: int, topics: Sequence[str] = tuple(sorted(TOPICS))) -> Recorded:
    """A list of our webhooks, of which the first has this number."""
    found = [
        {"id": number + place, "status": "active", "topic": topic, "delivery_url": HOOK}
        for place, topic in enumerate(topics)
    ]
    return Recorded("hooks", "GET", f"{_API}/webhooks", {}, None, 200, {"X-WP-Total": str(len(found))}, found)


@pytest.mark.parametrize("one", params(_HOOKS))
async def test_recorded_webhooks_of_others_are_left_alone(one: Recorded) -> None:
    async with replaying(one) as (store, replay):
        await store.unsubscribe("https://app.example/webhooks/woocommerce/token")
    assert replay.seen == [one.name]
