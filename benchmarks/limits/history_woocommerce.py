"""The limit of reading a WooCommerce shop's history: eight connections, msgspec, batched SQL; see `history_rows`."""

import base64
import hashlib
import hmac
import os
import re
import time
from urllib.parse import quote, urlencode

import msgspec
import uvloop
from history_rows import line, run, safe

PAGE = 100
PAID = {"processing", "completed", "refunded"}
GONE = {"cancelled", "failed", "trash"}
BIRTHDAY = re.compile(r"(?:(\d{4})-|--)?(\d{1,2})-(\d{1,2})")


class Meta(msgspec.Struct, gc=False):
    key: str
    value: msgspec.Raw


class Customer(msgspec.Struct, gc=False):
    id: int
    email: str
    first_name: str
    last_name: str
    date_created_gmt: str | None
    date_modified_gmt: str | None
    meta_data: list[Meta]


class Billing(msgspec.Struct, gc=False):
    email: str = ""


class Amount(msgspec.Struct, gc=False):
    total: str
    id: int = 0


class Code(msgspec.Struct, gc=False):
    code: str


class Order(msgspec.Struct, gc=False):
    id: int
    status: str
    currency: str
    date_created_gmt: str
    date_modified_gmt: str
    total: str
    total_tax: str
    shipping_total: str
    discount_total: str
    line_items: list[Amount]
    date_paid_gmt: str | None
    customer_id: int
    billing: Billing
    coupon_lines: list[Code]
    refunds: list[Amount]


class Coupon(msgspec.Struct, gc=False):
    id: int
    code: str
    amount: str
    status: str
    discount_type: str
    date_modified_gmt: str | None
    date_expires_gmt: str | None
    description: str
    usage_count: int
    usage_limit: int | None
    minimum_amount: str


def fields(struct):
    return ",".join("billing.email" if name == "billing" else name for name in struct.__struct_fields__)


def signed(given, url):
    """OAuth 1.0a, which plain http asks for."""
    address, _, query = url.partition("?")
    params = dict(part.split("=", 1) for part in query.split("&"))
    params |= {
        "oauth_consumer_key": given["key"],
        "oauth_nonce": os.urandom(8).hex(),
        "oauth_signature_method": "HMAC-SHA256",
        "oauth_timestamp": str(int(time.time())),
    }
    pairs = quote("&".join(f"{name}={params[name]}" for name in sorted(params)), safe="")
    text = f"GET&{quote(address, safe='')}&{pairs}"
    digest = base64.b64encode(hmac.digest(f"{given['secret']}&".encode(), text.encode(), hashlib.sha256))
    return f"{address}?{'&'.join(f'{n}={v}' for n, v in params.items())}&oauth_signature={quote(digest, safe='')}"


def minor(text):
    """Two decimals: the shop sells in euros."""
    return int(text[:-3] + text[-2:])


def person(found):
    """A row of people."""
    md, year = None, None
    for meta in found.meta_data:
        if meta.key == "birthday":
            day = BIRTHDAY.fullmatch(msgspec.json.decode(meta.value))
            if day:
                md, year = int(day[2]) * 100 + int(day[3]), int(day[1] or 0) or None
    name = safe(f"{found.first_name} {found.last_name}")
    return line(
        found.id, safe(found.email), name, None, None, None, found.date_created_gmt, md, year,
        found.date_modified_gmt, "{}",
    )  # fmt: skip


def sale(found):
    """A row of sales."""
    status, paid_at = found.status, found.date_paid_gmt
    if paid_at is None and status in PAID:
        paid_at = found.date_created_gmt
    is_gone = status in GONE
    ours = (
        "cancelled" if is_gone else "refunded" if status == "refunded" else "paid" if paid_at else "pending"
    )
    codes = "{" + ",".join(f'"{code.code.lower()}"' for code in found.coupon_lines) + "}"
    return line(
        found.id, found.customer_id or None, safe(found.billing.email) or None, ours, status, found.currency,
        sum([minor(item.total) for item in found.line_items]), minor(found.total_tax), minor(found.shipping_total),
        minor(found.discount_total), minor(found.total), found.date_created_gmt, paid_at,
        found.date_modified_gmt if is_gone else None, "f", codes, found.date_modified_gmt,
    )  # fmt: skip


def repaid(order):
    """Rows of repaid."""
    return [line(order.id, r.id, abs(minor(r.total)), "succeeded", None) for r in order.refunds]


def discount(found):
    """A row of discounts."""
    is_percent = found.discount_type == "percent"
    hundredths = int(float(found.amount) * 100)
    return line(
        found.id, found.code, safe(found.description) or None, "percentage" if is_percent else "amount",
        hundredths if is_percent else None, None if is_percent else hundredths, "EUR",
        int(float(found.minimum_amount) * 100) or None, "t" if found.status == "publish" else "f",
        found.date_expires_gmt, found.usage_limit, found.usage_count, None, found.date_modified_gmt,
    )  # fmt: skip


async def read(limit, given):
    """Customers, coupons, orders: page numbers dealt out to the readers."""
    root = f"{given['url']}/wp-json/wc/v3"
    await limit.begin(8)

    async def noun(path, struct, rows):
        decoder, some = msgspec.json.Decoder(list[struct]), fields(struct)
        _, headers = await limit.get(signed(given, f"{root}/{path}?_fields=id&per_page=1"))
        pages = iter(range(1, -(-int(headers["X-WP-Total"]) // PAGE) + 1))

        async def reader(window):
            for page in pages:
                query = urlencode(
                    {"_fields": some, "order": "asc", "orderby": "id", "page": page, "per_page": PAGE}
                )
                url = f"{root}/{path}?{query}"
                body, _ = await limit.get(signed(given, url))
                limit.urls[-1] = url
                found = decoder.decode(body)
                await limit.put(window, page, len(found), **rows(found))

        await limit.phase(*(reader(window) for window in range(8)))

    await noun("customers", Customer, lambda found: {"people": list(map(person, found))})
    await noun("coupons", Coupon, lambda found: {"discounts": list(map(discount, found))})
    await noun(
        "orders",
        Order,
        lambda found: {
            "sales": list(map(sale, found)),
            "repaid": [row for order in found if order.refunds for row in repaid(order)],
        },
    )


if __name__ == "__main__":
    uvloop.run(run(read, signed=signed))
