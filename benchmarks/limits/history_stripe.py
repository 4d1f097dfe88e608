"""The limit of reading a Stripe account's history: eight connections, msgspec, batched SQL; see `history_rows`.

A purchase is told by its charge and by its Checkout session, in any order: a second row for an order is merged.
"""

import json
import re
import time
from datetime import UTC, datetime
from urllib.parse import urlencode

import msgspec
import uvloop
from history_rows import ORDERS, line, run, safe

PAGE = 100
PARTS = 16
REFUND = {
    "pending": "pending",
    "requires_action": "pending",
    "succeeded": "succeeded",
    "failed": "failed",
    "canceled": "failed",
}
BIRTHDAY = re.compile(r"(?:(\d{4})-|--)?(\d{1,2})-(\d{1,2})")
MERGED = """UPDATE SET
    status = CASE WHEN excluded.status = 'paid' THEN 'paid' ELSE o.status END,
    status_given = CASE WHEN excluded.status = 'paid' THEN excluded.status_given ELSE o.status_given END,
    subtotal_minor = greatest(o.subtotal_minor, excluded.subtotal_minor),
    tax_minor = greatest(o.tax_minor, excluded.tax_minor),
    shipping_minor = greatest(o.shipping_minor, excluded.shipping_minor),
    discount_minor = greatest(o.discount_minor, excluded.discount_minor),
    total_minor = greatest(o.total_minor, excluded.total_minor),
    placed_at = least(o.placed_at, excluded.placed_at), paid_at = least(o.paid_at, excluded.paid_at),
    codes = CASE WHEN excluded.codes = '{}' THEN o.codes ELSE excluded.codes END
"""


class Account(msgspec.Struct, gc=False):
    created: int


class Customer(msgspec.Struct, gc=False):
    id: str
    created: int
    email: str | None
    name: str | None
    preferred_locales: list[str] | None
    metadata: dict[str, str]


class Details(msgspec.Struct, gc=False):
    email: str | None


class Charge(msgspec.Struct, gc=False):
    id: str
    created: int
    currency: str
    status: str
    paid: bool
    captured: bool
    amount_captured: int
    customer: str | None
    payment_intent: str | None
    billing_details: Details
    receipt_email: str | None


class Totals(msgspec.Struct, gc=False):
    amount_discount: int
    amount_tax: int
    amount_shipping: int | None


class Discount(msgspec.Struct, gc=False):
    promotion_code: str | None


class Session(msgspec.Struct, gc=False):
    id: str
    created: int
    mode: str
    payment_status: str
    currency: str
    customer: str | None
    customer_details: Details
    payment_intent: str | None
    total_details: Totals
    discounts: list[Discount]


class Refund(msgspec.Struct, gc=False):
    id: str
    amount: int
    created: int
    status: str
    charge: str | None
    payment_intent: str | None


class Coupon(msgspec.Struct, gc=False):
    id: str
    created: int
    valid: bool
    times_redeemed: int
    name: str | None
    percent_off: float | None
    amount_off: int | None
    currency: str | None
    max_redemptions: int | None
    redeem_by: int | None


class Promotion(msgspec.Struct, gc=False):
    coupon: Coupon


class Code(msgspec.Struct, gc=False):
    id: str
    created: int
    code: str
    active: bool
    times_redeemed: int
    promotion: Promotion
    expires_at: int | None
    max_redemptions: int | None


def at(seconds):
    return datetime.fromtimestamp(seconds, UTC).isoformat()


def person(found):
    """A row of people."""
    day = BIRTHDAY.fullmatch(found.metadata.get("birthday", ""))
    md, year = (int(day[2]) * 100 + int(day[3]), int(day[1] or 0) or None) if day else (None, None)
    locale = found.preferred_locales[0] if found.preferred_locales else None
    metadata = json.dumps(found.metadata) if found.metadata else "{}"
    return line(
        found.id,
        safe(found.email),
        safe(found.name),
        None,
        locale,
        None,
        at(found.created),
        md,
        year,
        None,
        safe(metadata),
    )


def charged(found):
    """A row of sales from a charge."""
    moment = at(found.created)
    return line(
        found.payment_intent or found.id, found.customer, safe(found.billing_details.email or found.receipt_email),
        "paid", found.status, found.currency.upper(), found.amount_captured, 0, 0, 0, found.amount_captured, moment,
        moment, None, "f", "{}", None,
    )  # fmt: skip


def completed(found):
    """A row of sales from a Checkout session; the charge counts the money."""
    details = found.total_details
    codes = "{" + ",".join(f'"{d.promotion_code}"' for d in found.discounts if d.promotion_code) + "}"
    return line(
        found.payment_intent, found.customer, safe(found.customer_details.email), "pending", found.payment_status,
        found.currency.upper(), 0, details.amount_tax, details.amount_shipping or 0, details.amount_discount, 0,
        at(found.created), None, None, "f", codes, None,
    )  # fmt: skip


def repaid(found):
    """A row of repaid."""
    return line(
        found.payment_intent or found.charge, found.id, found.amount, REFUND[found.status], at(found.created)
    )


def discount(found, coupon, code=None):
    """A row of discounts."""
    is_percent = coupon.percent_off is not None
    ends = found.expires_at if code else coupon.redeem_by
    currency = coupon.currency.upper() if coupon.currency else None
    return line(
        found.id, code, safe(coupon.name), "percentage" if is_percent else "amount",
        round(coupon.percent_off * 100) if is_percent else None, None if is_percent else coupon.amount_off, currency,
        None, "t" if (found.active if code else coupon.valid) else "f", at(ends) if ends else None,
        found.max_redemptions, found.times_redeemed, coupon.id if code else None, None,
    )  # fmt: skip


LISTS = {
    "customers": (Customer, {}, lambda found: {"people": list(map(person, found))}),
    "coupons": (Coupon, {}, lambda found: {"discounts": [discount(coupon, coupon) for coupon in found]}),
    "promotion_codes": (
        Code,
        {"expand[]": "data.promotion.coupon"},
        lambda found: {"discounts": [discount(code, code.promotion.coupon, code.code) for code in found]},
    ),
    "charges": (
        Charge,
        {},
        lambda found: {
            "sales": [charged(c) for c in found if c.status == "succeeded" and c.paid and c.captured]
        },
    ),
    "checkout/sessions": (
        Session,
        {"status": "complete"},
        lambda found: {"sales": [completed(s) for s in found if s.mode == "payment" and s.payment_intent]},
    ),
    "refunds": (Refund, {}, lambda found: {"repaid": list(map(repaid, found))}),
}


async def read(limit, given):
    """Customers, coupons, then charges, sessions and refunds together, each in parts of equal time."""
    limit.session.headers["Authorization"] = f"Bearer {given['api-key']}"
    root = f"{given['api-base']}/v1"
    body, _ = await limit.get(f"{root}/account")
    opened = msgspec.json.decode(body, type=Account).created
    step = (int(time.time()) - opened) // PARTS // 3600 * 3600
    await limit.begin(3 * PARTS)

    async def reader(name, part, window):
        struct, params, rows = LISTS[name]
        decoder = msgspec.json.Decoder(
            msgspec.defstruct("Page", [("data", list[struct]), ("has_more", bool)])
        )
        params = {**params, "limit": PAGE}
        if part is not None:
            params |= {"created[gte]": opened + step * part} if part else {}
            params |= {"created[lt]": opened + step * (part + 1)} if part < PARTS - 1 else {}
        more = True
        while more:
            body, _ = await limit.get(f"{root}/{name}?{urlencode(params)}")
            page = decoder.decode(body)
            more = page.has_more
            if page.data:
                params["starting_after"] = page.data[-1].id
                await limit.put(window, page.data[-1].id, len(page.data), **rows(page.data))

    await limit.phase(*(reader("customers", part, part) for part in range(PARTS)))
    await limit.phase(reader("coupons", None, 0), reader("promotion_codes", None, 1))
    names = ("charges", "checkout/sessions", "refunds")
    await limit.phase(
        *(reader(name, part, n * PARTS + part) for part in range(PARTS) for n, name in enumerate(names))
    )


if __name__ == "__main__":
    # Charges and sessions of one batch one after the other: a statement may touch a row only once.
    both = [ORDERS.format(which=f"status = '{which}'", when_known=MERGED) for which in ("paid", "pending")]
    uvloop.run(run(read, orders=both))
