"""Birthdays in the forms that plugins keep them in, read and written back."""

from __future__ import annotations

import aiohttp
import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.base import Noun, StoreAccess
from connectors.besides import WritesBirthdays
from connectors.woocommerce.birthdays import birthday_text, offers, read_birthday
from connectors.woocommerce.store import open_store
from rewards.changes import CustomerSaved
from rewards.errors import InvalidInputError, RefusedError
from rewards.occasions import birthday
from rewards.records import Birthday
from sandbox.woocommerce_records import FIRST_CUSTOMER
from sandbox.world import Seed
from tests.connectors.woocommerce.shop import answering, keys_of, options, standing

SEED = Seed(number=8, customers=20, orders=0)
FORMS = ["y-m-d", "d-m-y", "m-d-y", "ymd"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1990-04-30", Birthday(4, 30, 1990)),
        ("1990/04/30", Birthday(4, 30, 1990)),
        ("1990-04-30 00:00:00", Birthday(4, 30, 1990)),
        ("04-30", Birthday(4, 30)),
        ("--04-30", Birthday(4, 30)),
        ("0000-04-30", Birthday(4, 30)),
        (" 1990-4-3 ", Birthday(4, 3, 1990)),
        ("2000-02-29", Birthday(2, 29, 2000)),
        ("--02-29", Birthday(2, 29)),
        ("2001-02-29", None),
        ("1990-04-31", None),
        ("--04-31", None),
        ("04-31", None),
        ("30/04/1990", None),
        ("90-04-30", None),
        ("1990", None),
        ("", None),
        (None, None),
    ],
)
def test_birthdays_with_the_year_first(text: str | None, expected: Birthday | None) -> None:
    assert read_birthday(text, {}) == expected


@pytest.mark.parametrize(
    ("form", "text", "expected"),
    [
        ("d-m-y", "03/04/1990", Birthday(4, 3, 1990)),
        ("d-m-y", "3.4.1990", Birthday(4, 3, 1990)),
        ("d-m-y", "3. 4. 1990", Birthday(4, 3, 1990)),
        ("d-m-y", "03/04", Birthday(4, 3)),
        ("d-m-y", "04/30/1990", None),
        ("d-m-y", "03/04/90", None),  # a century is not guessed at
        ("m-d-y", "03/04/1990", Birthday(3, 4, 1990)),
        ("m-d-y", "03/04", Birthday(3, 4)),
        ("m-d-y", "30/04/1990", None),
        ("ymd", "19900430", Birthday(4, 30, 1990)),
        ("ymd", "0430", Birthday(4, 30)),
        ("ymd", "1990-04-30", None),
        ("another", "1990-04-30", None),
    ],
)
def test_birthdays_in_the_merchants_form(form: str, text: str, expected: Birthday | None) -> None:
    assert read_birthday(text, {"birthday_format": form}) == expected


@st.composite
def birthdays(draw: st.DrawFn) -> Birthday:
    month, day = draw(st.integers(1, 12)), draw(st.integers(1, 31))
    year = draw(st.none() | st.integers(1900, 2020))
    try:
        return birthday(month, day, year)
    except InvalidInputError:
        return birthday(month, min(day, 28), year)


@given(born=birthdays(), form=st.sampled_from(FORMS))
def test_what_is_written_is_read_as_the_same_birthday(born: Birthday, form: str) -> None:
    settings = {"birthday_format": form}
    assert read_birthday(birthday_text(born, settings), settings) == born


@pytest.mark.parametrize("settings", [{"birthday_format": "d/m/Y"}, {"birthday_key": "_hidden"}])
async def test_a_field_or_form_that_cannot_be_is_said(settings: dict[str, str]) -> None:
    async with standing(SEED, **settings) as (_, store):
        (notice,) = (await store.facts()).notices
        assert next(iter(settings)) in notice
        with pytest.raises(RefusedError, match="No birthday is read"):
            await store.write_birthday("4", Birthday(4, 30))
    async with standing(SEED) as (_, store):
        assert (await store.facts()).notices == ()


async def test_a_birthday_is_written_where_it_is_read_from() -> None:
    async with standing(SEED, birthday_key="yith_birthday", birthday_format="d-m-y") as (sandbox, store):
        assert isinstance(store, WritesBirthdays)
        await store.write_birthday("4", Birthday(4, 30))
        assert {"key": "yith_birthday", "value": "30/04/0000"} in [
            {"key": entry["key"], "value": entry["value"]} for entry in sandbox.customer(4)["meta_data"]
        ]
        (window,) = await store.windows(Noun.CUSTOMERS, None)
        (page,) = [page async for page in store.read(window, None)]
        saved = {c.customer.external_id: c.customer for c in page.changes if isinstance(c, CustomerSaved)}
        assert saved["4"].birthday == Birthday(4, 30)
        await store.write_birthday("4", Birthday(5, 1, 1990))
        written = [entry for entry in sandbox.customer(4)["meta_data"] if entry["key"] == "yith_birthday"]
        assert [entry["value"] for entry in written] == ["01/05/1990"]


async def test_a_birthday_of_somebody_who_is_gone_is_refused() -> None:
    async with standing(SEED) as (_, store):
        with pytest.raises(RefusedError):
            await store.write_birthday("999999", Birthday(4, 30))


async def test_a_birthday_that_the_shop_does_not_keep_is_said() -> None:
    async with answering((200, {"id": 4, "email": "a@b.example", "meta_data": []})) as (store, _):
        with pytest.raises(RefusedError, match="birthday_key"):
            await store.write_birthday("4", Birthday(4, 30))


async def test_a_field_that_the_shop_hides_is_never_written() -> None:
    async with standing(SEED, birthday_key="_automatewoo_birthday_md") as (sandbox, store):
        before = sandbox.requests
        with pytest.raises(RefusedError, match="begins with _"):
            await store.write_birthday("4", Birthday(4, 30))
        assert sandbox.requests == before


@pytest.mark.parametrize(
    ("found", "says"),
    [
        ([{"yith_birthday": "1990-04-30"}], "birthday_key=yith_birthday and birthday_format=y-m-d"),
        (
            [{"geburtstag": "30.04.1990"}, {"geburtstag": "01.02.1990"}],
            "=geburtstag and birthday_format=d-m-y",
        ),
        ([{"dob": "19900430", "shoe_size": "43"}], "birthday_key=dob and birthday_format=ymd"),
        ([{"billing_birth_date": "03/04/1990"}], "birthday_format=d-m-y or m-d-y"),
        ([{"birth_place": "Madrid"}, {"birth_date": ""}], None),
        ([{"birthday": "1990-04-30", "yith_birthday": "1990-04-30"}], None),
        ([{"last_update": "1990-04-30"}], None),
        ([], None),
    ],
)
def test_a_field_that_looks_like_a_birthday_is_offered_where_the_chosen_one_is_empty(
    found: list[dict[str, str]], says: str | None
) -> None:
    told = offers(found, {})
    assert bool(told) is bool(says)
    assert says is None or says in told[0]


async def test_the_shops_own_field_is_offered_until_it_is_chosen() -> None:
    async with standing(Seed(number=8, customers=20, orders=0, birthday_share=0.0)) as (sandbox, store):
        assert (await store.facts()).notices == ()
        number = FIRST_CUSTOMER + sandbox.accounts[-1].number
        sandbox.write_customer_meta(number, [{"key": "fecha_nacimiento", "value": "30/04/1990"}])
        (notice,) = (await store.facts()).notices
        assert "birthday_key=fecha_nacimiento and birthday_format=d-m-y" in notice
        assert "1990" not in notice
        chosen = options(birthday_key="fecha_nacimiento", birthday_format="d-m-y")
        async with aiohttp.ClientSession() as session:
            access = StoreAccess(sandbox.url, keys_of(sandbox), chosen, sandbox.url)
            assert (await open_store(access, session).facts()).notices == ()
