"""A made-up shop as Stripe would hold it: customers, charges, Checkout sessions, refunds, coupons and codes.

Seven of ten paid sales went through Checkout, the rest through payment intents or, some, old direct charges. Beside
them lies what must not count: declined attempts, expired sessions, refunds that failed or are still under way.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta

from sandbox.stripe_billing import ProductRow
from sandbox.stripe_coupons import CodeRow, CouponRow
from sandbox.stripe_objects import ChargeRow, CustomerRow, RefundRow, SessionRow
from sandbox.world import Person, Sale, World

_SECOND_LIFE = timedelta(days=20)  # how long after the first a person's second Customer is made


@dataclass
class Shop:
    """Everything in the account before the app comes."""

    customers: list[CustomerRow] = field(default_factory=list)
    charges: list[ChargeRow] = field(default_factory=list)
    sessions: list[SessionRow] = field(default_factory=list)
    refunds: list[RefundRow] = field(default_factory=list)
    coupons: list[CouponRow] = field(default_factory=list)
    codes: list[CodeRow] = field(default_factory=list)
    products: list[ProductRow] = field(default_factory=list)


def shop(world: World) -> Shop:
    """The account of a world."""
    made = Shop()
    second: dict[int, CustomerRow] = {}
    for person in world.people:
        if person.joined_at is not None:
            made.customers.append(_customer(person, person.joined_at))
            if person.number % 50 == 17:
                second[person.number] = _second_customer(person, person.joined_at, world.seed.now)
    made.customers += second.values()
    for sale in world.sales:
        _add_sale(made, sale, world.seed.currency.lower(), second.get(sale.person.number))
    _add_coupons(made, world)
    start = _seconds(world.seed.now - timedelta(days=500))
    made.products += [
        ProductRow(f"prod_Sbx{n:011d}", start + n, name) for n, name in enumerate(("Bread", "Cake"))
    ]
    return made


def _customer(person: Person, joined_at: datetime) -> CustomerRow:
    metadata = (
        {"birthday": birthday_text(person.birthday, dashes=person.number % 2 == 0)} if person.birthday else {}
    )
    locale = "es-ES" if person.number % 3 else None
    return CustomerRow(
        f"cus_Sbx{person.number:011d}", _seconds(joined_at), person.email, person.name, metadata, locale
    )


def _second_customer(person: Person, joined_at: datetime, now: datetime) -> CustomerRow:
    """The same person once more, as Checkout makes one when the shop does not say who is paying."""
    at = min(joined_at + _SECOND_LIFE, now - timedelta(hours=1))
    return CustomerRow(f"cus_Sby{person.number:011d}", _seconds(at), person.email.title(), person.name, {})


def birthday_text(birthday: tuple[int, int, int | None], *, dashes: bool = False) -> str:
    """As merchants write it; without a year in one of the two ways that are in use."""
    month, day, year = birthday
    if year:
        return f"{year}-{month:02d}-{day:02d}"
    return f"--{month:02d}-{day:02d}" if dashes else f"{month:02d}-{day:02d}"


def _add_sale(made: Shop, sale: Sale, currency: str, second: CustomerRow | None) -> None:
    number, placed = sale.number, _seconds(sale.placed_at)
    customer = f"cus_Sbx{sale.person.number:011d}" if sale.by_account else None
    if customer and second and placed > second.created and number % 2:
        customer = second.id
    intent: str | None = f"pi_3Sbx{number:015d}"
    through_checkout = number % 10 < 7
    if sale.paid_at and not through_checkout and number % 5 == 3:
        intent = None  # an old direct charge
    if not sale.paid_at or number % 20 == 4:
        made.charges.append(
            ChargeRow(
                f"ch_3Sbf{number:015d}", placed + 5, sale.total_minor, currency, customer, sale.email,
                sale.person.name, intent, succeeded=False,
            )
        )  # fmt: skip
    if through_checkout:
        made.sessions.append(
            SessionRow(
                f"cs_test_Sbx{number:020d}", placed, currency, customer, sale.email,
                intent if sale.paid_at else None, sale.subtotal_minor + sale.discount_minor, sale.discount_minor,
                sale.tax_minor, sale.shipping_minor, status="complete" if sale.paid_at else "expired",
                payment_status="paid" if sale.paid_at else "unpaid",
            )
        )  # fmt: skip
    if sale.paid_at:
        charge = ChargeRow(
            f"ch_3Sbx{number:015d}", _seconds(sale.paid_at), sale.total_minor, currency, customer, sale.email,
            sale.person.name, intent,
        )  # fmt: skip
        made.charges.append(charge)
        _add_refunds(made, sale, charge)


def _add_refunds(made: Shop, sale: Sale, charge: ChargeRow) -> None:
    """A cancelled sale is a full refund here; a few more failed, or the bank has not done them yet."""
    number = sale.number * 10
    given = [(r.number, r.total_minor, _seconds(r.at), "succeeded") for r in sale.repayments]
    if sale.cancelled_at:
        given = [(number, sale.total_minor, _seconds(sale.cancelled_at), "succeeded")]
    elif not given and sale.number % 53 == 9:
        given = [(number, sale.total_minor // 2, charge.created + 600, "failed")]
    elif not given and sale.number % 59 == 9:
        given = [(number, sale.total_minor // 2, charge.created + 600, "pending")]
    for number, amount, at, status in given:
        refund = RefundRow(
            f"re_3Sbx{number:015d}", at, amount, charge.currency, charge.id, charge.payment_intent, status
        )
        charge.refunds.append(refund)
        made.refunds.append(refund)


def _add_coupons(made: Shop, world: World) -> None:
    """What the merchant had before: a shared code, an amount off, one that has ended."""
    currency, start = world.seed.currency.lower(), _seconds(world.seed.now - timedelta(days=400))
    welcome = CouponRow("WELCOME", start, "Welcome", percent_off=10.0)
    summer = CouponRow(
        "SUMMER5", start + 60, "Five off", amount_off=500, currency=currency, max_redemptions=1000
    )
    ended = CouponRow("OLDSALE", start + 120, "Old sale", percent_off=25.5, redeem_by=start + 90 * 86_400)
    made.coupons += [welcome, summer, ended]
    made.codes += [
        CodeRow("promo_1Sbx00000000000001", start + 10, "WELCOME10", welcome),
        CodeRow("promo_1Sbx00000000000002", start + 70, "SUMMER5", summer, max_redemptions=500, minimum_amount=2000,
                minimum_amount_currency=currency),
        CodeRow("promo_1Sbx00000000000003", start + 130, "OLDSALE", ended, expires_at=ended.redeem_by),
        CodeRow("promo_1Sbx00000000000004", start + 80, "PRESS-2025", welcome, switched_on=False),
    ]  # fmt: skip


def _seconds(moment: datetime) -> int:
    return int(moment.timestamp())
