"""One made-up Stripe account: its objects, Stripe's rules for changing them, and the events that tell of it."""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from sandbox.stripe_billing import DisputeRow, InvoiceRow, ProductRow
from sandbox.stripe_coupons import CodeRow, CouponRow
from sandbox.stripe_endpoints import Endpoints
from sandbox.stripe_objects import ChargeRow, CustomerRow, EventRow, Json, RefundRow, Row, SessionRow
from sandbox.stripe_seed import shop
from sandbox.stripe_shelf import Shelf, StripeRefusal, boolean, check_names, integer, merged
from sandbox.world import World

_CODE = re.compile(r"[A-Za-z0-9-]{1,500}")
_COUPON = {
    "id",
    "name",
    "percent_off",
    "amount_off",
    "currency",
    "duration",
    "duration_in_months",
    "metadata",
}
_COUPON |= {"max_redemptions", "redeem_by", "applies_to", "currency_options"}
_CODE_NEW = {
    "promotion",
    "code",
    "customer",
    "max_redemptions",
    "expires_at",
    "active",
    "metadata",
    "restrictions",
}
_RESTRICTIONS = {
    "first_time_transaction",
    "minimum_amount",
    "minimum_amount_currency",
    "currency_options",
}
_CUSTOMER = {"email", "name", "metadata", "phone", "description", "preferred_locales"}


class Account:
    """The objects of one account. `emit` is told of every change: topic, object, the request that made it."""

    def __init__(self, world: World, clock: Callable[[], datetime], emit: Callable[[EventRow], None]) -> None:
        seeded, seed = shop(world), world.seed
        self.id = f"acct_1Sbx{seed.number:012d}"
        self.is_live = False
        self.api_version = (
            "2026-10-28.endive"  # its default: the list of events is in it, whatever is asked for
        )
        self.created = int(min(seeded.customers, key=lambda c: c.created).created) if seeded.customers else 0
        self.currency, self.time_zone = seed.currency.lower(), seed.time_zone
        self.customers: Shelf[CustomerRow] = Shelf(seeded.customers)
        self.charges: Shelf[ChargeRow] = Shelf(seeded.charges)
        self.sessions: Shelf[SessionRow] = Shelf(seeded.sessions)
        self.refunds: Shelf[RefundRow] = Shelf(seeded.refunds)
        self.coupons: Shelf[CouponRow] = Shelf(seeded.coupons)
        self.codes: Shelf[CodeRow] = Shelf()
        self.products: Shelf[ProductRow] = Shelf(seeded.products)
        self.invoices: Shelf[InvoiceRow] = Shelf()
        self.disputes: Shelf[DisputeRow] = Shelf()
        self.endpoints = Endpoints(lambda: self.now, lambda: self.is_live)
        self.events: Shelf[EventRow] = Shelf()
        self.codes_by_text: dict[str, list[CodeRow]] = {}
        self.customers_by_email: dict[str, list[CustomerRow]] = {}
        self.charges_by_order: dict[str, ChargeRow] = {}
        self._clock = clock
        self._emit = emit
        self._numbers: dict[str, int] = {}
        for code in seeded.codes:
            self._keep_code(code)
        for customer in seeded.customers:
            self._know_email(customer)
        for charge in seeded.charges:
            if charge.succeeded:
                self.charges_by_order[charge.payment_intent or charge.id] = charge

    @property
    def now(self) -> int:
        return int(self._clock().timestamp())

    def new_id(self, prefix: str) -> str:
        """The next id of a kind; what was there before the app came has other ids."""
        self._numbers[prefix] = number = self._numbers.get(prefix, 0) + 1
        return f"{prefix}New{number:012d}"

    def show(self) -> Json:
        return {
            "id": self.id,
            "object": "account",
            "business_profile": {"name": "Made-up Shop", "mcc": None, "url": None},
            "charges_enabled": True,
            "country": "ES",
            "created": self.created,
            "default_currency": self.currency,
            "details_submitted": True,
            "email": "shop@example.com",
            "payouts_enabled": True,
            "settings": {
                "branding": {"icon": None, "logo": None, "primary_color": None, "secondary_color": None},
                "card_payments": {
                    "statement_descriptor_prefix": None,
                    "statement_descriptor_prefix_kana": None,
                    "statement_descriptor_prefix_kanji": None,
                },
                "dashboard": {"display_name": "Made-up Shop", "timezone": self.time_zone},
                "payments": {
                    "statement_descriptor": None,
                    "statement_descriptor_kana": None,
                    "statement_descriptor_kanji": None,
                },
            },
            "type": "standard",
        }

    def tell(self, topic: str, row: Row, request_id: str | None = None) -> None:
        """Makes the event of a change, and sends it."""
        self._emit(self.make_event(topic, self.shown(row), request_id))

    def make_event(self, topic: str, shown: Json, request_id: str | None = None) -> EventRow:
        """An event for the list of events; nothing is sent."""
        event = EventRow(self.new_id("evt_1"), self.now, topic, shown, request_id)
        self.events.add(event)
        return event

    def shown(self, row: Row, expand: frozenset[str] = frozenset()) -> Json:
        """The object as it is now."""
        if isinstance(row, (CouponRow, CodeRow)):
            return row.show(expand, now=self.now)
        if isinstance(row, EventRow):
            return self._event_as_written(row)
        shown = row.show(expand)
        if isinstance(row, SessionRow) and row.customer and "customer" in expand:
            shown["customer"] = self._customer_or_what_is_left(row.customer)
        return shown

    def _customer_or_what_is_left(self, external_id: str) -> Json:
        held = self.customers.by_id.get(external_id)
        return held.show() if held else {"id": external_id, "object": "customer", "deleted": True}

    def _event_as_written(self, event: EventRow) -> Json:
        """An event in the account's version; promotion codes had another shape before 2025-09-30."""
        shown = event.show(api_version=self.api_version)
        if event.data.get("object") == "promotion_code" and self.api_version < "2025-09-30":
            older = {name: value for name, value in event.data.items() if name != "promotion"}
            coupon = self.coupons.by_id.get(event.data["promotion"]["coupon"])
            shown["data"] = {"object": {**older, "coupon": coupon.show(now=self.now) if coupon else None}}
        return shown

    # -- customers ---------------------------------------------------------------------------------------------------

    def create_customer(self, params: Mapping[str, Any], request_id: str | None = None) -> CustomerRow:
        check_names(params, _CUSTOMER)
        customer = CustomerRow(self.new_id("cus_"), self.now, None, None, {})
        self._fill(customer, params)
        self.customers.add(customer)
        self.tell("customer.created", customer, request_id)
        return customer

    def update_customer(
        self, external_id: str, params: Mapping[str, Any], request_id: str | None = None
    ) -> CustomerRow:
        check_names(params, _CUSTOMER)
        customer = self.customers.get(external_id, "customer")
        self._forget_email(customer)
        self._fill(customer, params)
        self.tell("customer.updated", customer, request_id)
        return customer

    def delete_customer(self, external_id: str, request_id: str | None = None) -> Json:
        customer = self.customers.get(external_id, "customer")
        self.customers.remove(customer)
        self._forget_email(customer)
        self.tell("customer.deleted", customer, request_id)
        return {"id": customer.id, "object": "customer", "deleted": True}

    def _fill(self, customer: CustomerRow, params: Mapping[str, Any]) -> None:
        customer.email = params.get("email", customer.email) or None
        customer.name = params.get("name", customer.name) or None
        customer.phone = params.get("phone", customer.phone) or None
        customer.metadata = merged(customer.metadata, params.get("metadata"))
        self._know_email(customer)

    def _know_email(self, customer: CustomerRow) -> None:
        if customer.email:
            self.customers_by_email.setdefault(customer.email.lower(), []).append(customer)

    def _forget_email(self, customer: CustomerRow) -> None:
        if customer.email:
            self.customers_by_email[customer.email.lower()].remove(customer)

    # -- coupons -----------------------------------------------------------------------------------------------------

    def create_coupon(self, params: Mapping[str, Any], request_id: str | None = None) -> CouponRow:
        check_names(params, _COUPON)
        external_id = str(params.get("id") or self.new_id("cpn_"))
        if external_id in self.coupons.by_id:
            raise StripeRefusal("Coupon already exists.", code="resource_already_exists", param="id")
        if ("percent_off" in params) == ("amount_off" in params):
            raise StripeRefusal(
                "You must pass either `percent_off` or `amount_off`.", code="parameter_missing"
            )
        percent = float(params["percent_off"]) if "percent_off" in params else None
        if percent is not None and not 0 < percent <= 100:
            raise StripeRefusal("percent_off must be above 0 and at most 100", param="percent_off")
        if "amount_off" in params and "currency" not in params:
            raise StripeRefusal(
                "Missing required param: currency.", code="parameter_missing", param="currency"
            )
        if len(params.get("name", "")) > 40:
            raise StripeRefusal("Invalid string: must be at most 40 characters", param="name")
        coupon = CouponRow(
            external_id,
            self.now,
            params.get("name"),
            percent_off=percent,
            amount_off=integer(params, "amount_off"),
            currency=params.get("currency"),
            duration=params.get("duration", "once"),
            max_redemptions=integer(params, "max_redemptions"),
            redeem_by=integer(params, "redeem_by"),
            metadata=dict(params.get("metadata", {})),
            products=self._known_products(params.get("applies_to", {})),
        )
        self._add_amounts(coupon, params)
        self.coupons.add(coupon)
        self.tell("coupon.created", coupon, request_id)
        return coupon

    def update_coupon(
        self, external_id: str, params: Mapping[str, Any], request_id: str | None = None
    ) -> CouponRow:
        check_names(params, {"name", "metadata", "currency_options"})
        coupon = self.coupons.get(external_id, "coupon")
        coupon.name = params.get("name", coupon.name)
        coupon.metadata = merged(coupon.metadata, params.get("metadata"))
        self._add_amounts(coupon, params)
        self.tell("coupon.updated", coupon, request_id)
        return coupon

    def _known_products(self, applies_to: Mapping[str, Any]) -> list[str]:
        check_names(applies_to, {"products"})
        return [self.products.get(str(each), "product").id for each in applies_to.get("products", [])]

    def _add_amounts(self, coupon: CouponRow, params: Mapping[str, Any]) -> None:
        """Amounts in further currencies; only what takes an amount off can have them."""
        options = params.get("currency_options", {})
        if options and coupon.amount_off is None:
            raise StripeRefusal(
                "currency_options is only supported with amount_off.", param="currency_options"
            )
        for name, option in options.items():
            check_names(option, {"amount_off"})
            coupon.amounts[name] = int(option["amount_off"])

    def delete_coupon(self, external_id: str, request_id: str | None = None) -> Json:
        """The coupon goes, and its codes are inactive for good; a coupon of the same id later is another one."""
        coupon = self.coupons.get(external_id, "coupon")
        coupon.is_deleted = True
        self.coupons.remove(coupon)
        self.tell("coupon.deleted", coupon, request_id)
        return {"id": coupon.id, "object": "coupon", "deleted": True}

    # -- promotion codes ---------------------------------------------------------------------------------------------

    def create_code(self, params: Mapping[str, Any], request_id: str | None = None) -> CodeRow:
        check_names(params, _CODE_NEW)
        coupon = self._promoted_coupon(params.get("promotion"))
        text = str(params.get("code") or secrets.token_hex(4).upper())
        if not _CODE.fullmatch(text):
            raise StripeRefusal("Invalid promotion code: letters, digits and dashes only", param="code")
        customer = params.get("customer")
        if customer is not None:
            self.customers.get(str(customer), "customer")
        expires_at, limit = integer(params, "expires_at"), integer(params, "max_redemptions")
        self._check_limits(coupon, expires_at, limit)
        self._check_unique(text, customer)
        restrictions = params.get("restrictions", {})
        check_names(restrictions, _RESTRICTIONS)
        code = CodeRow(
            self.new_id("promo_1"),
            self.now,
            text,
            coupon,
            switched_on=boolean(params, "active") is not False,
            customer=customer,
            expires_at=expires_at or coupon.redeem_by,
            max_redemptions=limit,
            minimum_amount=integer(restrictions, "minimum_amount"),
            minimum_amount_currency=restrictions.get("minimum_amount_currency"),
            minimum_amounts={
                name: int(option["minimum_amount"])
                for name, option in restrictions.get("currency_options", {}).items()
            },
            first_time=bool(boolean(restrictions, "first_time_transaction")),
            metadata=dict(params.get("metadata", {})),
        )
        self._keep_code(code)
        self.tell("promotion_code.created", code, request_id)
        return code

    def update_code(
        self, external_id: str, params: Mapping[str, Any], request_id: str | None = None
    ) -> CodeRow:
        check_names(params, {"active", "metadata", "restrictions"})
        code = self.codes.get(external_id, "promotion_code")
        active = boolean(params, "active")
        if active and not code.active(self.now):
            if not code.redeemable(self.now):
                raise StripeRefusal("This promotion code cannot be reactivated.", param="active")
            self._check_unique(code.code, code.customer)
        if active is not None:
            code.switched_on = active
        code.metadata = merged(code.metadata, params.get("metadata"))
        self.tell("promotion_code.updated", code, request_id)
        return code

    def _promoted_coupon(self, promotion: Any) -> CouponRow:
        if not isinstance(promotion, dict) or promotion.get("type") != "coupon":
            raise StripeRefusal(
                "Missing required param: promotion.", code="parameter_missing", param="promotion"
            )
        check_names(promotion, {"type", "coupon"})
        coupon = self.coupons.get(str(promotion.get("coupon")), "coupon")
        if not coupon.valid(self.now):
            raise StripeRefusal("This coupon is not valid.", param="promotion[coupon]", is_kept=True)
        return coupon

    def _check_limits(self, coupon: CouponRow, expires_at: int | None, limit: int | None) -> None:
        if expires_at is not None and expires_at <= self.now:
            raise StripeRefusal("The expires_at timestamp must be in the future.", param="expires_at")
        if expires_at is not None and coupon.redeem_by is not None and expires_at > coupon.redeem_by:
            raise StripeRefusal("expires_at must not be after the coupon's redeem_by.", param="expires_at")
        if limit is not None and (limit < 1 or (coupon.max_redemptions or limit) < limit):
            raise StripeRefusal(
                "max_redemptions must be at least 1 and within the coupon's.", param="max_redemptions"
            )

    def _check_unique(self, text: str, customer: str | None) -> None:
        """Among active codes: one text for everybody, or once for each customer."""
        for other in self.codes_by_text.get(text.lower(), ()):
            clashes = other.customer is None or customer is None or other.customer == customer
            if clashes and other.active(self.now):
                raise StripeRefusal(
                    f"An active promotion code with `code: {text}` already exists.",
                    code="resource_already_exists",
                    param="code",
                    is_kept=True,
                )

    def _keep_code(self, code: CodeRow) -> None:
        self.codes.add(code)
        self.codes_by_text.setdefault(code.code.lower(), []).append(code)
