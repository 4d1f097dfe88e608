"""Birthdays in a metadata key and format of the merchant's choice, typed at Checkout, and written back."""

from __future__ import annotations

import json

import pytest

from connectors.base import Noun, RawDelivery, Store, StoreOptions
from connectors.besides import LooksAgain, WritesBirthdays
from connectors.stripe import CONNECTOR, birthdays
from rewards.changes import Change, CustomerSaved, LookAgain, OrderSaved
from rewards.errors import RefusedError
from rewards.records import Birthday
from sandbox.stripe import StripeSandbox
from tests.connectors.stripe.conftest import Opener

FORMATS = [
    "",
    "YYYY-MM-DD",
    "DD.MM.YYYY",
    "MM/DD/YYYY",
    "D/M/YYYY",
    "YYYY年M月D日",
    "DD.MM.",
    "MM-DD",
    "YYYYMMDD",
]
DAYS = [Birthday(4, 3, 1990), Birthday(2, 29, 2000), Birthday(12, 31), Birthday(2, 29)]
CUSTOMER = "cus_Sbx00000000003"


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("day", DAYS)
def test_what_is_written_is_read_back(form: str, day: Birthday) -> None:
    settings = {"birthday_format": form}
    read = birthdays.read(birthdays.write(day, settings), settings)
    assert read == (day if "YYYY" in form or not form else day._replace(year=None))


@pytest.mark.parametrize(
    ("form", "text", "day"),
    [
        ("DD.MM.YYYY", "03.04.1990", (4, 3, 1990)),
        ("DD.MM.YYYY", " 3.4.1990 ", (4, 3, 1990)),
        ("DD.MM.YYYY", "03.04.", (4, 3, None)),
        ("MM/DD/YYYY", "03/04/1990", (3, 4, 1990)),
        ("MM/DD/YYYY", "3/4", (3, 4, None)),
        ("MM/DD/YYYY", "1990-03-04", (3, 4, 1990)),  # cannot be mistaken
        ("DD/MM/YYYY", "31/12/1990", (12, 31, 1990)),
        ("DD.MM.YYYY", "31.02.1990", None),
        ("DD.MM.YYYY", "03/04/1990", None),
        ("DD.MM.YYYY", "03.04.90", None),
        ("DD.MM.YYYY", "1990", None),
        ("nonsense", "1990-03-04", (3, 4, 1990)),
        ("nonsense", "03.04.1990", None),
        ("", "03.04.1990", None),
    ],
)
def test_a_birthday_is_read_as_the_merchant_writes_it_or_not_at_all(
    form: str, text: str, day: tuple[int, int, int | None] | None
) -> None:
    found = birthdays.read(text, {"birthday_format": form})
    assert found == (Birthday(*day) if day else None)


@pytest.mark.parametrize(
    ("form", "is_fine"),
    [("DD.MM", True), ("D/M", True), ("MM-DD-YYYY", True), ("", True), ("YYYY", False), ("DD DD MM", False),
     ("yyyy-mm-dd", False)],
)  # fmt: skip
def test_a_format_that_cannot_be_meant_is_told_with_an_example(form: str, is_fine: bool) -> None:
    said = birthdays.problem({"birthday_format": form})
    assert said is None if is_fine else said and "DD.MM.YYYY" in said


async def birthday_of(store: Store, customer: str) -> Birthday | None:
    for window in await store.windows(Noun.CUSTOMERS, None):
        async for page in store.read(window, None):
            for change in page.changes:
                if isinstance(change, CustomerSaved) and change.customer.external_id == customer:
                    return change.customer.birthday
    raise AssertionError("no such customer")


async def test_a_birthday_is_written_where_and_how_it_is_read(
    sandbox: StripeSandbox, open_store: Opener
) -> None:
    store = open_store(birthday_key="born", birthday_format="DD.MM.YYYY")
    assert isinstance(store, WritesBirthdays)
    await store.write_birthday(CUSTOMER, Birthday(4, 3, 1990))
    metadata = sandbox.account.customers.by_id[CUSTOMER].metadata
    assert metadata["born"] == "03.04.1990"
    assert await birthday_of(store, CUSTOMER) == Birthday(4, 3, 1990)
    await store.write_birthday(CUSTOMER, Birthday(2, 29))
    assert await birthday_of(store, CUSTOMER) == Birthday(2, 29)
    with pytest.raises(RefusedError):
        await store.write_birthday("cus_gone", Birthday(4, 3))


def told(sandbox: StripeSandbox, **settings: str) -> list[Change]:
    """What the events so far say."""
    options = StoreOptions("EUR", "UTC", {"mode": "test", "birthday_key": "birthday", **settings})
    return [
        change
        for event in sandbox.account.events
        for change in CONNECTOR.webhooks.parse(
            RawDelivery({}, json.dumps(event.show()).encode(), "token"), options
        )
    ]


async def test_a_birthday_typed_at_checkout_is_the_customers(
    sandbox: StripeSandbox, open_store: Opener
) -> None:
    made = sandbox.account.create_customer({"email": "new@people.example", "name": "New"}).id
    sandbox.place_order({"customer": made, "subtotal_minor": 900, "field": ["dob", "03.04.1990"]})
    settings = {"birthday_field": "dob", "birthday_format": "DD.MM.YYYY"}
    store = open_store(**settings)
    assert not [change for change in told(sandbox) if isinstance(change, LookAgain)]
    (asked,) = [change for change in told(sandbox, **settings) if isinstance(change, LookAgain)]
    assert isinstance(store, LooksAgain)
    (change,) = await store.look(asked)
    assert isinstance(change, CustomerSaved)
    assert (change.customer.external_id, change.customer.name) == (made, "New")
    assert change.customer.birthday == Birthday(4, 3, 1990)
    # What stands in the Customer is the merchant's word.
    sandbox.account.update_customer(made, {"metadata": {"birthday": "05.06.1991"}})
    (change,) = await store.look(asked)
    assert isinstance(change, CustomerSaved)
    assert change.customer.birthday == Birthday(6, 5, 1991)
    sandbox.account.delete_customer(made)
    assert await store.look(asked) == []


async def test_birthdays_typed_in_the_past_come_with_the_history_where_they_are_asked_for(
    sandbox: StripeSandbox, open_store: Opener
) -> None:
    sandbox.place_order({"customer": CUSTOMER, "subtotal_minor": 900, "field": ["dob", "1990-04-03"]})
    sandbox.place_order({"customer": CUSTOMER, "subtotal_minor": 900, "field": ["dob", "none of it"]})
    sandbox.place_order(
        {"email": "guest@people.example", "subtotal_minor": 900, "field": ["dob", "1990-04-03"]}
    )
    sandbox.account.update_customer(CUSTOMER, {"metadata": {"birthday": ""}})

    async def read(**settings: str) -> list[Change]:
        store = open_store(**settings)
        windows = [w for w in await store.windows(Noun.ORDERS, None) if w.spec["list"] == "sessions"]
        return [c for w in windows async for page in store.read(w, None) for c in page.changes]

    plain, asked = await read(), await read(birthday_field="dob")
    assert [change for change in asked if isinstance(change, OrderSaved)] == plain
    (saved,) = [change for change in asked if isinstance(change, CustomerSaved)]
    assert (saved.customer.external_id, saved.customer.birthday) == (CUSTOMER, Birthday(4, 3, 1990))
