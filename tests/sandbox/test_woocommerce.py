"""The stand-in shop is worth trusting: it answers as the recorded one does."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from sandbox.server import CheckoutRefused
from sandbox.woocommerce import WooCommerceSandbox
from sandbox.woocommerce_auth import ApiKey
from sandbox.world import Seed, World

RECORDINGS = Path(__file__).parents[3] / "shared" / "reference" / "woocommerce"
needs_recordings = pytest.mark.skipif(not RECORDINGS.is_dir(), reason="shared/ is not there")
SEED = Seed(number=2, customers=30, orders=120, refund_share=0.3)


@dataclass
class Shop:
    """The stand-in as behind TLS, where a key is simply sent along."""

    sandbox: WooCommerceSandbox
    session: aiohttp.ClientSession
    heard: list[tuple[dict[str, str], bytes]] = field(default_factory=list)
    answer_with: int = 200
    address: str = ""

    async def call(
        self, method: str, path: str, body: object = None, *, key: ApiKey | None = None
    ) -> tuple[int, Any, Mapping[str, str]]:
        key = key or self.sandbox.read_write
        headers = {"Authorization": aiohttp.encode_basic_auth(key.key, key.secret)}
        url = f"{self.sandbox.url}/wp-json/wc/v3/{path}"
        async with self.session.request(method, url, json=body, headers=headers) as answer:
            return answer.status, await answer.json(), answer.headers

    async def get(self, path: str) -> Any:
        return (await self.call("GET", path))[1]

    async def hook(self, topic: str) -> dict[str, Any]:
        body = {"topic": topic, "delivery_url": self.address, "secret": "s"}
        made: dict[str, Any] = (await self.call("POST", "webhooks", body))[1]
        return made

    def topics(self) -> list[str]:
        return sorted(
            headers["X-WC-Webhook-Topic"] for headers, _ in self.heard if "X-WC-Webhook-Topic" in headers
        )

    async def _hear(self, request: web.Request) -> web.Response:
        self.heard.append((dict(request.headers), await request.read()))
        return web.Response(status=self.answer_with)


@contextlib.asynccontextmanager
async def open_shop(seed: Seed = SEED) -> AsyncIterator[Shop]:
    async with WooCommerceSandbox(World(seed)) as sandbox, aiohttp.ClientSession() as session:
        assert isinstance(sandbox, WooCommerceSandbox)
        sandbox.is_https = True
        shop = Shop(sandbox, session)
        app = web.Application()
        app.router.add_post("/hook", shop._hear)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        shop.address = "http://{}:{}/hook".format(*runner.addresses[0][:2])
        try:
            yield shop
        finally:
            await runner.cleanup()


# -- shape -----------------------------------------------------------------------------------------------------------


def recorded(name: str) -> Any:
    content = json.loads((RECORDINGS / f"{name}.json").read_text(encoding="utf-8"))
    return content["response"]["body"] if "response" in content else content["body"]


def assert_same_shape(ours: Any, theirs: Any, where: str) -> None:
    """The same keys with values of the same kind; null and lists without items say nothing of what they may hold."""
    if ours is None or theirs is None:
        return
    if isinstance(theirs, dict):
        assert isinstance(ours, dict), where
        assert set(ours) == set(theirs), where
        for key in theirs:
            assert_same_shape(ours[key], theirs[key], f"{where}.{key}")
    elif isinstance(theirs, list):
        assert isinstance(ours, list), where
        if ours and theirs:
            assert_same_shape(ours[0], theirs[0], f"{where}[0]")
    elif isinstance(theirs, bool) or not isinstance(theirs, int | float):
        assert type(ours) is type(theirs), where
        if isinstance(theirs, str):
            assert _kind(ours) == _kind(theirs) or not ours or not theirs, f"{where}: {ours!r}, {theirs!r}"
    else:
        assert isinstance(ours, int | float), where


def _kind(text: str) -> str:
    """Dates and amounts are texts of a form of their own."""
    if re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d", text):
        return "local date"
    return "amount" if re.fullmatch(r"-?\d+\.\d\d", text) else "text"


@needs_recordings
async def test_answers_have_the_keys_and_kinds_of_the_recorded_ones() -> None:
    async with open_shop() as shop:
        coupon = {
            "code": "X1",
            "discount_type": "percent",
            "amount": "10",
            "meta_data": [{"key": "k", "value": "v"}],
        }
        made = (
            await shop.call("POST", "coupons", {**coupon, "usage_limit": 5, "date_expires": "2099-01-31"})
        )[1]
        email = shop.sandbox.world.people[0].email
        placed = shop.sandbox.place_order({"email": email, "subtotal_minor": 5_000, "code": "x1"})
        number = next(s.number for s in shop.sandbox.world.sales if s.repayments and s.by_account)
        born = next(p.number for p in shop.sandbox.world.people if p.birthday)
        pairs = {
            "coupon-create-percent": made,
            "order-get-store-checkout-with-coupon": await shop.get(f"orders/{placed['order']}"),
            "order-get-with-refund": await shop.get(f"orders/{1001 + number}"),
            "customer-get": await shop.get(f"customers/{2 + born}"),
            "customers-list": await shop.get("customers?per_page=2"),
            "coupons-list": await shop.get("coupons"),
            "webhook-create-order-created": await shop.hook("order.created"),
            "webhooks-list": await shop.get("webhooks"),
            "data-currencies-current": await shop.get("data/currencies/current"),
        }
        skipped = {"shipping_lines", "meta_data"}  # what plugins and shipping methods add
        for name, ours in pairs.items():
            theirs = recorded(name)
            items = [(ours, theirs)] if isinstance(theirs, dict) else [(ours[0], theirs[0])]
            for one, other in items:
                for key in skipped if name.startswith("order") else ():
                    one.pop(key), other.pop(key)
                assert_same_shape(one, other, name)


@needs_recordings
async def test_refusals_have_the_status_and_code_of_the_recorded_ones() -> None:
    reading = ApiKey("ck_unknown", "cs_unknown")
    calls: dict[str, tuple[str, str, object]] = {
        "error-coupon-missing": ("GET", "coupons/999999", None),
        "error-coupon-update-missing": ("PUT", "coupons/999999", {"amount": "1"}),
        "error-coupon-delete-missing": ("DELETE", "coupons/999999?force=true", None),
        "error-coupon-bad-type": ("POST", "coupons", {"code": "zz1", "discount_type": "gift"}),
        "error-coupon-no-code": ("POST", "coupons", {"amount": "1"}),
        "error-coupon-percent-over-100": (
            "POST",
            "coupons",
            {"code": "z", "discount_type": "percent", "amount": "101"},
        ),
        "error-coupon-duplicate-code-other-case": ("POST", "coupons", {"code": "VERANO5"}),
        "error-coupons-batch-101": (
            "POST",
            "coupons/batch",
            {"create": [{"code": str(n)} for n in range(101)]},
        ),
        "error-customer-missing": ("GET", "customers/999999", None),
        "error-order-missing": ("GET", "orders/999999", None),
        "error-orders-status": ("GET", "orders?status=pagado", None),
        "error-orders-orderby": ("GET", "orders?orderby=total", None),
        "error-orders-after-bad-date": ("GET", "orders?after=ayer", None),
        "error-per-page-101": ("GET", "customers?per_page=101", None),
        "error-per-page-0": ("GET", "customers?per_page=0", None),
        "error-page-0": ("GET", "customers?page=0", None),
        "error-no-route": ("GET", "nope", None),
        "error-webhook-bad-topic": (
            "POST",
            "webhooks",
            {"topic": "order.paid", "delivery_url": "http://x.example"},
        ),
        "error-webhook-bad-url": ("POST", "webhooks", {"topic": "order.created", "delivery_url": "no-url"}),
        "error-auth-wrong-key": ("GET", "customers", None),
        "error-auth-read-only-key-writing": ("POST", "coupons", {"code": "zz"}),
    }
    async with open_shop() as shop:
        keys = {"error-auth-wrong-key": reading, "error-auth-read-only-key-writing": shop.sandbox.read_only}
        for name, (method, path, body) in calls.items():
            status, ours, _ = await shop.call(method, path, body, key=keys.get(name))
            theirs = recorded(name)
            assert (status, ours["code"]) == (theirs["data"]["status"], theirs["code"]), name
            assert ours["data"].keys() == theirs["data"].keys(), name


# -- access ----------------------------------------------------------------------------------------------------------


async def test_over_plain_http_only_signatures_count() -> None:
    async with open_shop() as shop:
        shop.sandbox.is_https = False
        status, body, _ = await shop.call("GET", "orders")
        assert (status, body["code"]) == (401, "woocommerce_rest_cannot_view")


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("oauth_consumer_key", "ck_other", "Consumer key is invalid."),
        ("oauth_signature", "AAAA", "Invalid signature - provided signature does not match."),
        ("oauth_timestamp", "1500000000", "Invalid signature - provided signature does not match."),
    ],
)
async def test_a_bent_signature_is_refused_in_words_of_the_real_shop(
    name: str, value: str, says: str
) -> None:
    async with open_shop() as shop:
        shop.sandbox.is_https = False
        url = _signed(shop, name, value)
        async with shop.session.get(url) as answer:
            body = await answer.json()
        assert answer.status == 401
        assert body["message"] == says


async def test_a_used_nonce_is_refused() -> None:
    async with open_shop() as shop:
        shop.sandbox.is_https = False
        url = _signed(shop)
        for status in (200, 401):
            async with shop.session.get(url) as answer:
                assert answer.status == status


def _signed(shop: Shop, name: str = "", value: str = "") -> Any:
    """An address signed by the official client, with one parameter bent afterwards."""
    from woocommerce.oauth import OAuth
    from yarl import URL

    key = shop.sandbox.read_write
    signer = OAuth(f"{shop.sandbox.url}/wp-json/wc/v3/orders?per_page=1&status=any", key.key, key.secret)
    url = URL(signer.get_oauth_url(), encoded=True)
    return url.update_query({name: value}) if name else url


# -- lists -----------------------------------------------------------------------------------------------------------


async def test_pages_count_end_and_link_as_wordpress_does() -> None:
    async with open_shop() as shop:
        status, body, headers = await shop.call("GET", "orders?per_page=50&page=2")
        assert (status, len(body), headers["X-WP-Total"], headers["X-WP-TotalPages"]) == (200, 50, "120", "3")
        assert [part.rpartition("=")[2] for part in headers["Link"].split(", ")] == ['"prev"', '"next"']
        status, body, headers = await shop.call("GET", "orders?per_page=50&page=9")
        assert (status, body) == (200, [])


async def test_fields_cut_the_answer() -> None:
    async with open_shop() as shop:
        (item,) = await shop.get("orders?per_page=1&_fields=id,billing.email,nothing")
        assert set(item) == {"id", "billing"}
        assert set(item["billing"]) == {"email"}


async def test_modified_after_is_strictly_later_and_local_unless_told_otherwise() -> None:
    async with open_shop() as shop:
        newest = max(shop.sandbox.world.sales, key=lambda sale: sale.updated_at)
        text = newest.updated_at.replace(tzinfo=None).isoformat()
        exact = await shop.get(f"orders?modified_after={text}&dates_are_gmt=true")
        assert exact == []
        assert len(await shop.get(f"orders?modified_after={text}")) >= 1  # an hour or two earlier


async def test_trashed_orders_vanish_from_lists() -> None:
    async with open_shop() as shop:
        shop.sandbox.trash_order("1001")
        assert (await shop.call("GET", "orders"))[2]["X-WP-Total"] == "119"
        assert (await shop.get("orders/1001"))["status"] == "trash"
        assert [order["id"] for order in await shop.get("orders?status=trash")] == [1001]


async def test_a_kept_answer_is_written_anew_when_its_order_changes() -> None:
    async with open_shop() as shop:
        shop.sandbox.orders.keep_rendered = True
        before = await shop.get("orders?include=1001")
        assert await shop.get("orders?include=1001") == before
        shop.sandbox.refund_order("1001", 100)
        after = await shop.get("orders?include=1001")
        assert after[0]["refunds"][-1]["total"] == "-1.00"


async def test_a_host_that_is_overrun_answers_503() -> None:
    async with open_shop() as shop:
        shop.sandbox.busy_seconds, shop.sandbox.most_in_flight = 0.05, 2

        async def status() -> int:
            async with shop.session.get(f"{shop.sandbox.url}/wp-json/wc/v3/orders") as answer:
                return answer.status

        assert 503 in await asyncio.gather(*(status() for _ in range(8)))


# -- coupons ---------------------------------------------------------------------------------------------------------


async def test_bad_values_are_taken_in_silence() -> None:
    async with open_shop() as shop:
        body = {
            "code": " ZZ Top ",
            "amount": "diez",
            "email_restrictions": ["no-es-email"],
            "date_expires": "mañana",
        }
        status, made, _ = await shop.call("POST", "coupons", body)
        assert status == 201
        assert (made["code"], made["amount"], made["email_restrictions"]) == ("zz top", "0.00", [])
        assert made["date_expires_gmt"] == "1970-01-01T00:00:00"


async def test_dates_of_coupons_are_local_and_gmt_is_ignored_on_write() -> None:
    async with open_shop() as shop:
        body = {"code": "d", "date_expires": "2027-01-31", "date_expires_gmt": "2030-01-01T00:00:00"}
        made = (await shop.call("POST", "coupons", body))[1]
        assert made["date_expires_gmt"] == "2027-01-30T23:00:00"
        path = f"coupons/{made['id']}"
        assert (await shop.call("PUT", path, {"date_expires": None}))[1]["date_expires"] is not None
        assert (await shop.call("PUT", path, {"date_expires": ""}))[1]["date_expires"] is None


async def test_a_batch_keeps_places_and_is_200_though_items_fail() -> None:
    async with open_shop() as shop:
        verano = (await shop.get("coupons?code=VERANO5"))[0]["id"]
        body = {
            "create": [{"code": "mix1"}, {"code": "mix2", "discount_type": "gift"}, {"code": "MIX1"}],
            "update": [{"id": verano, "amount": "6"}, {"id": 999_999, "amount": "1"}],
            "delete": [999_998],
        }
        status, answer, _ = await shop.call("POST", "coupons/batch", body)
        assert status == 200
        assert [item.get("error", {}).get("code") for item in answer["create"]] == [
            None,
            "coupon_invalid_discount_type",
            "woocommerce_rest_coupon_code_already_exists",
        ]
        assert [item["id"] for item in answer["update"]] == [verano, 999_999]
        assert answer["update"][1]["error"]["data"]["status"] == 400
        assert answer["delete"][0]["error"]["data"]["status"] == 404


async def test_variations_and_the_trash_are_in_no_list_of_products_and_found_by_their_number() -> None:
    async with open_shop() as shop:
        assert await shop.get("products?include=14,22,23,24,999&_fields=id,status") == [
            {"id": 14, "status": "publish"},
            {"id": 23, "status": "draft"},
        ]
        assert (await shop.get("products/22?_fields=id,type")) == {"id": 22, "type": "variation"}
        assert (await shop.get("products/24"))["status"] == "trash"
        assert (await shop.call("GET", "products/999"))[0] == 404
        assert [item["id"] for item in await shop.get("products/categories?include=16,99")] == [16]
        assert (await shop.call("GET", "products/categories/99"))[1][
            "code"
        ] == "woocommerce_rest_term_invalid"


async def test_a_list_from_which_something_was_dropped_is_an_object() -> None:
    async with open_shop() as shop:
        made = await shop.call(
            "POST", "coupons", {"code": "g", "email_restrictions": ["malo", "a@b.example"]}
        )
        assert made[1]["email_restrictions"] == {"1": "a@b.example"}


async def test_a_batch_of_nothing_is_answered_with_an_empty_list() -> None:
    """Seen on 8.0.3, 9.4.2 and 10.0.2; an object anywhere else."""
    async with open_shop() as shop:
        assert (await shop.call("POST", "coupons/batch", {"create": []}))[:2] == (200, [])


async def test_the_code_of_a_trashed_coupon_is_free_again() -> None:
    async with open_shop() as shop:
        made = (await shop.call("POST", "coupons", {"code": "again"}))[1]
        await shop.call("DELETE", f"coupons/{made['id']}")
        assert (await shop.get(f"coupons/{made['id']}"))["status"] == "trash"
        assert await shop.get("coupons?code=again") == []
        status, other, _ = await shop.call("POST", "coupons", {"code": "again"})
        assert status == 201
        assert other["id"] != made["id"]


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"status": "draft"}, "unknown_code"),
        ({"date_expires": "2020-01-01"}, "expired"),
        ({"email_restrictions": ["other@people.example"]}, "wrong_customer"),
    ],
)
async def test_checkout_keeps_the_rules_of_codes(fields: dict[str, Any], reason: str) -> None:
    async with open_shop() as shop:
        await shop.call(
            "POST", "coupons", {"code": "Rule", "discount_type": "percent", "amount": "10", **fields}
        )
        with pytest.raises(CheckoutRefused, match=reason):
            shop.sandbox.place_order({"email": "me@people.example", "subtotal_minor": 1_000, "code": "rule"})


async def test_a_cancelled_order_gives_the_use_back_and_a_refunded_one_does_not() -> None:
    async with open_shop() as shop:
        made = (await shop.call("POST", "coupons", {"code": "once", "amount": "2", "usage_limit": 1}))[1]
        ask = {"email": "Me@people.example", "subtotal_minor": 1_000, "code": "ONCE"}
        order = str(shop.sandbox.place_order(ask)["order"])
        used = await shop.get(f"coupons/{made['id']}")
        assert (used["usage_count"], used["used_by"]) == (1, ["Me@people.example"])
        assert used["date_modified"] == made["date_modified"]
        shop.sandbox.refund_order(order, 100)
        with pytest.raises(CheckoutRefused, match="used_up"):
            shop.sandbox.place_order(ask)
        shop.sandbox.cancel_order(order)
        shop.sandbox.cancel_order(order)
        assert shop.sandbox.place_order(ask)["discount_minor"] == 200


# -- webhooks --------------------------------------------------------------------------------------------------------


async def test_a_ping_is_sent_while_the_create_call_waits() -> None:
    async with open_shop() as shop:
        made = await shop.hook("order.created")
        ((headers, body),) = shop.heard
        assert body == f"webhook_id={made['id']}".encode()
        assert headers["Content-Type"].startswith("application/x-www-form-urlencoded")
        assert not [name for name in headers if name.lower().startswith("x-wc")]


async def test_a_webhook_is_made_though_its_ping_fails() -> None:
    async with open_shop() as shop:
        shop.answer_with = 500
        assert (await shop.hook("order.created"))["status"] == "active"


async def test_a_new_order_gives_created_and_updated_with_its_latest_state() -> None:
    async with open_shop() as shop:
        await shop.hook("order.created")
        await shop.hook("order.updated")
        shop.heard.clear()
        order = str(
            shop.sandbox.place_order({"email": "me@people.example", "subtotal_minor": 1_000})["order"]
        )
        for _ in range(3):  # while the queue has not run yet
            shop.sandbox.refund_order(order, 10)
        await shop.sandbox.hooks.quiet()
        assert shop.topics() == ["order.created", "order.updated"]
        for _, body in shop.heard:
            assert b"\\/" in body
            assert len(json.loads(body)["refunds"]) == 3


async def test_deliveries_of_one_second_share_their_id() -> None:
    async with open_shop() as shop:
        await shop.hook("order.created")
        shop.heard.clear()
        moment = shop.sandbox.now()
        shop.sandbox.clock = lambda: moment
        for _ in range(3):
            shop.sandbox.place_order({"email": "me@people.example", "subtotal_minor": 1_000})
        await shop.sandbox.hooks.quiet()
        assert len({headers["X-WC-Webhook-Delivery-ID"] for headers, _ in shop.heard}) == 1
        assert len({body for _, body in shop.heard}) == 3
        assert len(shop.sandbox.hooks.accepted) == 3


async def test_the_seventh_failure_in_a_row_switches_a_webhook_off_for_good() -> None:
    async with open_shop() as shop:
        made = await shop.hook("order.created")
        shop.answer_with = 500
        for number in range(1, 8):
            assert (await shop.get(f"webhooks/{made['id']}"))["status"] == "active", number
            shop.sandbox.place_order({"email": "me@people.example", "subtotal_minor": 1_000})
            await shop.sandbox.hooks.quiet()
        assert (await shop.get(f"webhooks/{made['id']}"))["status"] == "disabled"
        heard = len(shop.heard)
        shop.answer_with = 200
        shop.sandbox.place_order({"email": "me@people.example", "subtotal_minor": 1_000})
        await shop.sandbox.hooks.quiet()
        assert len(shop.heard) == heard


async def test_one_success_sets_the_count_of_failures_back() -> None:
    async with open_shop() as shop:
        made = await shop.hook("order.created")
        for answer in [500] * 6 + [200] + [500] * 6:
            shop.answer_with = answer
            shop.sandbox.place_order({"email": "me@people.example", "subtotal_minor": 1_000})
            await shop.sandbox.hooks.quiet()
        assert (await shop.get(f"webhooks/{made['id']}"))["status"] == "active"


async def test_an_order_that_is_trashed_tells_only_its_id() -> None:
    async with open_shop() as shop:
        await shop.hook("order.deleted")
        shop.heard.clear()
        shop.sandbox.trash_order("1001")
        await shop.sandbox.hooks.quiet()
        assert [body for _, body in shop.heard] == [b'{"id":1001}']


async def test_a_coupon_gone_before_its_post_is_built_gives_a_signed_error() -> None:
    async with open_shop() as shop:
        await shop.hook("coupon.created")
        shop.heard.clear()
        made = (await shop.call("POST", "coupons", {"code": "brief"}))[1]
        await shop.call("DELETE", f"coupons/{made['id']}?force=true")
        await shop.sandbox.hooks.quiet()
        ((headers, body),) = shop.heard
        assert json.loads(body)["code"] == "woocommerce_rest_shop_coupon_invalid_id"
        assert headers["X-WC-Webhook-Signature"]


async def test_a_changed_customer_is_told() -> None:
    async with open_shop() as shop:
        await shop.hook("customer.updated")
        shop.heard.clear()
        shop.sandbox.edit_customer(2, name="Otro Nombre", birthday=(4, 30, None))
        await shop.sandbox.hooks.quiet()
        body = json.loads(shop.heard[0][1])
        assert (body["first_name"], body["meta_data"][0]["value"]) == ("Otro", "--04-30")


# -- size and starting -------------------------------------------------------------------------------------------------


async def test_the_last_page_of_a_long_history_is_there() -> None:
    async with open_shop(Seed(customers=100, orders=20_000)) as shop:
        query = "orders?per_page=100&order=asc&orderby=id&page=200&_fields=id"
        body = await shop.get(query)
        assert body[-1] == {"id": 21_000}


async def test_the_command_starts_a_shop_and_ends_when_told() -> None:
    process = await asyncio.create_subprocess_exec(
        *(
            sys.executable,
            "-m",
            "sandbox",
            "woocommerce",
            "--customers",
            "5",
            "--orders",
            "7",
            "--no-limiter",
        ),
        stdout=asyncio.subprocess.PIPE,
        cwd=Path(__file__).parents[2],
    )
    try:
        assert process.stdout
        async with asyncio.timeout(30):
            said = json.loads(await process.stdout.readline())
        assert said["connect"]["url"] == said["url"]
        async with aiohttp.ClientSession() as session, session.get(f"{said['url']}/_sandbox/books") as answer:
            assert (await answer.json())["orders"] == 7
    finally:
        process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(30):
            status = await process.wait()
    assert status == 0
