"""How WooCommerce 11.0.1 writes orders and customers: text amounts, local times without offset, every key."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from sandbox.world import Person, Repayment, Sale, World

FIRST_ORDER = 1_001
FIRST_CUSTOMER = 2  # 1 is the shop's administrator
FIRST_REFUND = 10_000_000
_DECIMALS = {"JPY": 0, "KRW": 0, "CLP": 0, "BHD": 3, "JOD": 3, "KWD": 3, "OMR": 3, "TND": 3}
_ALLOW = ["GET", "POST", "PUT", "PATCH", "DELETE"]
Json = dict[str, Any]


def money(minor: int, currency: str) -> str:
    """An amount as text with the currency's decimals: "17.91"."""
    digits = decimals(currency)
    whole, part = divmod(abs(minor), 10**digits)
    sign = "-" if minor < 0 else ""
    return f"{sign}{whole}.{part:0{digits}d}" if digits else f"{sign}{whole}"


def decimals(currency: str) -> int:
    """How many decimals a shop of this currency is set to."""
    return _DECIMALS.get(currency, 2)


def local_text(moment: datetime | None, zone: ZoneInfo) -> str | None:
    """The shop's local time, without an offset."""
    return moment.astimezone(zone).replace(tzinfo=None).isoformat(timespec="seconds") if moment else None


def gmt_text(moment: datetime | None) -> str | None:
    """UTC, also without an offset."""
    return moment.replace(tzinfo=None).isoformat(timespec="seconds") if moment else None


def links(base: str, noun: str, number: int) -> Json:
    """What WordPress adds to each item."""
    root = f"{base}/wp-json/wc/v3/{noun}"
    return {
        "self": [{"href": f"{root}/{number}", "targetHints": {"allow": _ALLOW}}],
        "collection": [{"href": root}],
    }


def only(item: Json, fields: str) -> Json:
    """The item cut to `_fields`: names, or name.name within objects."""
    wanted: Json = {}
    for path in fields.split(","):
        head, _, tail = path.strip().partition(".")
        if head not in item:
            continue
        if not tail:
            wanted[head] = item[head]
        elif isinstance(item[head], dict) and tail in item[head]:
            wanted.setdefault(head, {})[tail] = item[head][tail]
        elif isinstance(item[head], dict):
            wanted.setdefault(head, {})
    # To PHP, nothing by name is an empty list.
    return {key: [] if wanted[key] == {} else wanted[key] for key in item if key in wanted}


def order_status(sale: Sale) -> str:
    """WooCommerce's word for where the sale stands."""
    if sale.cancelled_at:
        return "cancelled"
    if sale.paid_at is None:
        return "on-hold" if sale.number % 2 else "pending"
    if sale.repayments and sale.repaid_minor >= sale.total_minor:
        return "refunded"
    return "completed" if sale.in_history and sale.number % 4 else "processing"


def order_json(sale: Sale, world: World, base: str, coupon: Mapping[str, Any] | None, status: str) -> Json:
    """The order as `GET orders/{id}` shows it; `coupon` is the used coupon's JSON."""
    currency, zone = world.seed.currency, ZoneInfo(world.seed.time_zone)
    number = FIRST_ORDER + sale.number
    given, _, family = sale.person.name.partition(" ")
    customer = FIRST_CUSTOMER + sale.person.number if sale.by_account else 0
    tax, discount = money(sale.tax_minor, currency), money(sale.discount_minor, currency)
    completed = sale.paid_at if status == "completed" else None
    item: Json = {
        "id": number,
        "parent_id": 0,
        "status": status,
        "currency": currency,
        "version": "11.0.1",
        "prices_include_tax": True,
        "date_created": local_text(sale.placed_at, zone),
        "date_modified": local_text(sale.updated_at, zone),
        "discount_total": discount,
        "discount_tax": money(sale.discount_minor * 21 // 100, currency),
        "shipping_total": money(sale.shipping_minor, currency),
        "shipping_tax": money(0, currency),
        "cart_tax": tax,
        "total": money(sale.total_minor, currency),
        "total_tax": tax,
        "customer_id": customer,
        "order_key": f"wc_order_{number:013d}",
        "billing": {**_address(given, family), "email": sale.email, "phone": "600123123"},
        "shipping": {**_address(given, family), "phone": ""},
        "payment_method": "cod" if sale.paid_at is None else "stripe",
        "payment_method_title": "",
        "transaction_id": "",
        "customer_ip_address": "",
        "customer_user_agent": "",
        "created_via": "checkout" if sale.in_history else "store-api",
        "customer_note": "",
        "date_completed": local_text(completed, zone),
        "date_paid": local_text(sale.paid_at, zone),
        "cart_hash": "",
        "number": str(number),
        "meta_data": [],
        "line_items": [_line(sale, number, currency)],
        "tax_lines": [_tax_line(number, tax, currency)],
        "shipping_lines": [],
        "fee_lines": [],
        "coupon_lines": [_coupon_line(number, sale, coupon, currency)] if coupon else [],
        "refunds": [_refund(repayment, currency) for repayment in sale.repayments],
        "payment_url": f"{base}/checkout/order-pay/{number}/?pay_for_order=true&key=wc_order_{number:013d}",
        "is_editable": status in ("pending", "on-hold"),
        "needs_payment": status == "pending",
        "needs_processing": True,
        "date_created_gmt": gmt_text(sale.placed_at),
        "date_modified_gmt": gmt_text(sale.updated_at),
        "date_completed_gmt": gmt_text(completed),
        "date_paid_gmt": gmt_text(sale.paid_at),
        "currency_symbol": "€" if currency == "EUR" else currency,
        "_links": {
            **links(base, "orders", number),
            "email_templates": [
                {
                    "embeddable": True,
                    "href": f"{base}/wp-json/wc/v3/orders/{number}/actions/email_templates",
                }
            ],
        },
    }
    if customer:
        item["_links"]["customer"] = [{"href": f"{base}/wp-json/wc/v3/customers/{customer}"}]
    return item


def _address(given: str, family: str) -> Json:
    return {
        "first_name": given,
        "last_name": family,
        "company": "",
        "address_1": "Calle 9",
        "address_2": "",
        "city": "Madrid",
        "state": "M",
        "postcode": "28001",
        "country": "ES",
    }


def _line(sale: Sale, number: int, currency: str) -> Json:
    full = sale.subtotal_minor + sale.discount_minor
    tax, full_tax = money(sale.tax_minor, currency), money(full * 21 // 100, currency)
    return {
        "id": 3 * number,
        "name": "Camiseta azul",
        "product_id": 10,
        "variation_id": 0,
        "quantity": 1,
        "tax_class": "",
        "subtotal": money(full, currency),
        "subtotal_tax": full_tax,
        "total": money(sale.subtotal_minor, currency),
        "total_tax": tax,
        "taxes": [{"id": 1, "total": tax, "subtotal": full_tax}],
        "meta_data": [],
        "sku": "SKU-1",
        "global_unique_id": "",
        "price": sale.subtotal_minor / 100,
        "image": {"id": "", "src": ""},
        "parent_name": None,
    }


def _tax_line(number: int, tax: str, currency: str) -> Json:
    return {
        "id": 3 * number + 1,
        "rate_code": "ES-IVA-1",
        "rate_id": 1,
        "label": "IVA",
        "compound": False,
        "tax_total": tax,
        "shipping_tax_total": money(0, currency),
        "rate_percent": 21,
        "meta_data": [],
    }


def _coupon_line(number: int, sale: Sale, coupon: Mapping[str, Any], currency: str) -> Json:
    amount = float(coupon["amount"])
    info = f'[{coupon["id"]},"{coupon["code"]}","{coupon["discount_type"]}",{amount:g}]'
    return {
        "id": 3 * number + 2,
        "code": coupon["code"],
        "discount": money(sale.discount_minor, currency),
        "discount_tax": money(sale.discount_minor * 21 // 100, currency),
        "meta_data": [
            {
                "id": 9 * number,
                "key": "coupon_info",
                "value": info,
                "display_key": "coupon_info",
                "display_value": info,
            }
        ],
        "discount_type": coupon["discount_type"],
        "nominal_amount": amount,
        "free_shipping": coupon["free_shipping"],
    }


def _refund(repayment: Repayment, currency: str) -> Json:
    return {
        "id": FIRST_REFUND + repayment.number,
        "reason": "",
        "total": money(-repayment.total_minor, currency),
        "total_tax": money(0, currency),
    }


def customer_json(person: Person, world: World, base: str) -> Json:
    """A registered customer; a birthday is a meta field, with the year or as --04-30."""
    zone = ZoneInfo(world.seed.time_zone)
    number = FIRST_CUSTOMER + person.number
    given, _, family = person.name.partition(" ")
    joined = person.joined_at
    meta = []
    if person.birthday:
        month, day, year = person.birthday
        text = f"{year}-{month:02d}-{day:02d}" if year else f"--{month:02d}-{day:02d}"
        meta = [{"id": 2 * number, "key": "birthday", "value": text}]
    return {
        "id": number,
        "date_created": local_text(joined, zone),
        "date_created_gmt": gmt_text(joined),
        # People whom WooCommerce has never saved have no modification time.
        "date_modified": local_text(joined, zone) if number % 5 else None,
        "date_modified_gmt": gmt_text(joined) if number % 5 else None,
        "email": person.email,
        "first_name": given,
        "last_name": family,
        "role": "administrator" if person.number < 0 else "customer",
        "username": person.email.partition("@")[0],
        "billing": _customer_address(given, family) | {"email": person.email, "phone": "+34600111222"},
        "shipping": _customer_address("", "") | {"phone": ""},
        "is_paying_customer": number % 3 == 0,
        "avatar_url": "https://secure.gravatar.com/avatar/0?s=96&d=mm&r=g",
        "meta_data": meta,
        "_links": links(base, "customers", number),
    }


def _customer_address(given: str, family: str) -> Json:
    """As in orders, but with the state after the country, and empty where nothing was ever typed."""
    filled = bool(given)
    return {
        "first_name": given,
        "last_name": family,
        "company": "",
        "address_1": "Calle 9" if filled else "",
        "address_2": "",
        "city": "Madrid" if filled else "",
        "postcode": "28001" if filled else "",
        "country": "ES" if filled else "",
        "state": "M" if filled else "",
    }
