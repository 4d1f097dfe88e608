"""A person who asks to be forgotten leaves nothing personal behind, wherever it was kept."""

from __future__ import annotations

from rewards.changes import CouponSaved, CustomerSaved, PrivacyRequested
from rewards.records import Benefit, BenefitKind, Coupon
from storage.database import Database
from tests.factories import customer, new_store
from tests.sync.test_apply import apply, rows

EMAIL = "ada.1@people.example"


def bound_to(external_id: str, *emails: str) -> CouponSaved:
    """A coupon that only these may use."""
    return CouponSaved(Coupon(external_id, None, None, Benefit(BenefitKind.OTHER), True, emails=emails))


async def test_coupons_bound_to_an_erased_person_forget_the_address(database: Database) -> None:
    store, twin = await new_store(database), await new_store(database)
    for one in (store, twin):
        await apply(
            database, one, CustomerSaved(customer()), bound_to("c1", EMAIL), bound_to("c2", EMAIL, "bo@x.y")
        )
    await apply(database, store, PrivacyRequested("erase", "1", None))
    found = await rows(database, "SELECT store_id, emails FROM coupons ORDER BY store_id, external_id")
    assert found == [
        (store.id, []),
        (store.id, ["bo@x.y"]),
        (twin.id, [EMAIL]),
        (twin.id, [EMAIL, "bo@x.y"]),
    ]
