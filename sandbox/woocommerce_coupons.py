"""WooCommerce's coupons with their thin checks: what is refused, and what is taken in silence and bent."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import Any
from zoneinfo import ZoneInfo

from sandbox.woocommerce_records import Json, gmt_text, links, local_text

_FIRST_ID = 5_000_001
_TYPES = ("percent", "fixed_cart", "fixed_product")
_EMAIL = re.compile(r"[^@\s]+@[^@\s]+\.[^@\s]+")
_PLAIN = (
    "description individual_use product_ids excluded_product_ids usage_limit usage_limit_per_user "
    "limit_usage_to_x_items free_shipping product_categories excluded_product_categories exclude_sale_items"
).split()


_LIMITS = ("usage_limit", "usage_limit_per_user", "limit_usage_to_x_items")  # 0 is none, and shown as null
_IDS = ("product_ids", "excluded_product_ids", "product_categories", "excluded_product_categories")


class Problem(Exception):
    """An error answer: {"code", "message", "data": {"status", …}}."""

    def __init__(self, status: int, code: str, message: str, **data: object) -> None:
        super().__init__(message)
        self.status = status
        self.body: Json = {"code": code, "message": message, "data": {"status": status, **data}}


@dataclass
class Coupon:
    """One coupon; `fields` are those of the API that hold no date."""

    id: int
    created: datetime
    modified: datetime
    fields: Json
    expires: datetime | None = None
    used_by: list[str] = field(default_factory=list)


class CouponShelf:
    """All coupons of one shop, by id and by code.

    `ignores_status`: as before late 2025, a written status is ignored. `plugin` has its hands on the fields of each coupon
    that is written.
    """

    def __init__(self, zone: ZoneInfo, base: str = "") -> None:
        self.zone = zone
        self.base = base
        self.ignores_status = False
        self.plugin: Callable[[Json], None] = lambda fields: None
        self.by_id: dict[int, Coupon] = {}
        # Only published ones: codes of drafts and of the trash are free, and nobody finds a coupon by them.
        self.by_code: dict[str, Coupon] = {}
        self._next_id = _FIRST_ID
        self._next_meta = 1

    # -- what the API does -------------------------------------------------------------------------------------------

    def create(self, body: Mapping[str, Any], now: datetime, *, in_batch: bool = False) -> Coupon:
        """Makes a coupon, or raises Problem."""
        if not isinstance(body.get("code"), str):
            raise Problem(400, "rest_missing_callback_param", "Missing parameter(s): code", params=["code"])
        coupon = Coupon(self._next_id, now, now, _blank())
        self._write(coupon, body, in_batch)
        self._next_id += 1
        self.by_id[coupon.id] = coupon
        self._index(coupon)
        return coupon

    def update(
        self, number: int, body: Mapping[str, Any], now: datetime, *, in_batch: bool = False
    ) -> Coupon:
        """Changes a coupon in place. A missing one is 400 here, though 404 elsewhere."""
        coupon = self.get(number, status=400)
        before = coupon.fields["code"]
        self._write(coupon, body, in_batch)
        coupon.modified = now
        if self.by_code.get(before) is coupon:
            del self.by_code[before]
        self._index(coupon)
        return coupon

    def delete(self, number: int, *, force: bool) -> Coupon:
        """Moves it to the trash, or removes it for good."""
        coupon = self.get(number, status=404)
        if self.by_code.get(coupon.fields["code"]) is coupon:
            del self.by_code[coupon.fields["code"]]
        if force:
            del self.by_id[number]
        else:
            coupon.fields["status"] = "trash"
        return coupon

    def _index(self, coupon: Coupon) -> None:
        if coupon.fields["status"] == "publish":
            self.by_code[coupon.fields["code"]] = coupon

    def get(self, number: int, *, status: int) -> Coupon:
        """By id, the trash included."""
        if number not in self.by_id:
            raise Problem(status, "woocommerce_rest_shop_coupon_invalid_id", "Invalid ID.")
        return self.by_id[number]

    def json(self, coupon: Coupon) -> Json:
        """As the API shows it."""
        fields, zone = coupon.fields, self.zone
        return {
            "id": coupon.id,
            "code": fields["code"],
            "amount": fields["amount"],
            "status": fields["status"],
            "date_created": local_text(coupon.created, zone),
            "date_created_gmt": gmt_text(coupon.created),
            "date_modified": local_text(coupon.modified, zone),
            "date_modified_gmt": gmt_text(coupon.modified),
            "discount_type": fields["discount_type"],
            "description": fields["description"],
            "date_expires": local_text(coupon.expires, zone),
            "date_expires_gmt": gmt_text(coupon.expires),
            "usage_count": len(coupon.used_by),
            **{name: fields[name] for name in _PLAIN if name not in ("description", *_LIMITS)},
            **{name: fields[name] or None for name in _LIMITS},
            "minimum_amount": fields["minimum_amount"],
            "maximum_amount": fields["maximum_amount"],
            "email_restrictions": fields["email_restrictions"],
            "used_by": list(coupon.used_by),
            "meta_data": fields["meta_data"],
            "_links": links(self.base, "coupons", coupon.id),
        }

    def _write(self, coupon: Coupon, body: Mapping[str, Any], in_batch: bool) -> None:
        fields = {**coupon.fields, "meta_data": [dict(entry) for entry in coupon.fields["meta_data"]]}
        if isinstance(body.get("code"), str):
            fields["code"] = body["code"].strip().lower()
            other = self.by_code.get(fields["code"])
            if other is not None and other is not coupon:
                raise Problem(
                    400, "woocommerce_rest_coupon_code_already_exists", "The coupon code already exists"
                )
        kind = body.get("discount_type", fields["discount_type"])
        if kind not in _TYPES:
            raise _bad_type(in_batch)
        fields["discount_type"] = kind
        if "amount" in body:
            fields["amount"] = _amount(body["amount"])
        if kind == "percent" and Decimal(fields["amount"]) > 100:
            raise Problem(400, "coupon_invalid_amount", "Invalid discount amount.")
        fields |= {name: body[name] for name in _PLAIN if body.get(name) is not None}
        fields |= {name: _ids(body[name]) for name in _IDS if name in body}
        fields |= {name: _amount(body[name]) for name in ("minimum_amount", "maximum_amount") if name in body}
        if "status" in body and not self.ignores_status:
            fields["status"] = body["status"]
        if "email_restrictions" in body:  # what is no e-mail is dropped in silence: a coupon for everybody
            given = [str(email).lower() for email in body["email_restrictions"]]
            fields["email_restrictions"] = _kept(given, _EMAIL.fullmatch)
        for entry in body.get("meta_data", []):
            self._write_meta(fields["meta_data"], entry)
        if body.get("date_expires") is not None:  # null is ignored, "" clears
            coupon.expires = self._moment(str(body["date_expires"]))
        self.plugin(fields)
        coupon.fields = fields

    def _write_meta(self, entries: list[Json], entry: Mapping[str, Any]) -> None:
        for known in entries:
            if known["key"] == entry["key"]:
                known["value"] = entry["value"]
                return
        entries.append({"id": self._next_meta, "key": entry["key"], "value": entry["value"]})
        self._next_meta += 1

    def _moment(self, text: str) -> datetime | None:
        """Shop local time; a date alone is 00:00 of that day; what cannot be read is 1970."""
        if not text:
            return None
        try:
            moment = datetime.fromisoformat(text)
        except ValueError:
            return datetime(1970, 1, 1, tzinfo=UTC)
        return (moment if moment.tzinfo else moment.replace(tzinfo=self.zone)).astimezone(UTC)


def _kept(values: list[Any], fits: Callable[[Any], object]) -> list[Any] | dict[str, Any]:
    """What fits. PHP keeps the places of what is left, and a list with a gap is written as an object."""
    kept = {place: value for place, value in enumerate(values) if fits(value)}
    is_whole = list(kept) == list(range(len(kept)))
    return list(kept.values()) if is_whole else {str(place): value for place, value in kept.items()}


def _blank() -> Json:
    return {
        "code": "",
        "amount": "0.00",
        "status": "publish",
        "discount_type": "fixed_cart",
        "description": "",
        "individual_use": False,
        "product_ids": [],
        "excluded_product_ids": [],
        "usage_limit": None,
        "usage_limit_per_user": None,
        "limit_usage_to_x_items": None,
        "free_shipping": False,
        "product_categories": [],
        "excluded_product_categories": [],
        "exclude_sale_items": False,
        "minimum_amount": "0.00",
        "maximum_amount": "0.00",
        "email_restrictions": [],
        "meta_data": [],
    }


def _ids(values: Iterable[object]) -> list[int]:
    """Each once; what is no number is dropped in silence, and so is 0."""
    numbers = [int(str(value)) if str(value).isdigit() else 0 for value in values]
    return [number for number in dict.fromkeys(numbers) if number]


def _amount(value: object) -> str:
    """Two decimals; what cannot be read becomes nothing."""
    try:
        return format(Decimal(str(value)).quantize(Decimal("0.01")), "f")
    except InvalidOperation:
        return "0.00"


def _bad_type(in_batch: bool) -> Problem:
    if in_batch:
        return Problem(400, "coupon_invalid_discount_type", "Invalid discount type.")
    reason = "discount_type is not one of percent, fixed_cart, and fixed_product."
    return Problem(
        400,
        "rest_invalid_param",
        "Invalid parameter(s): discount_type",
        params={"discount_type": reason},
        details={"discount_type": {"code": "rest_not_in_enum", "message": reason, "data": None}},
    )
