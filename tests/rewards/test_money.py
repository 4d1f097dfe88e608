"""Minor units against decimal arithmetic, for currencies with no, two and three decimals."""

from __future__ import annotations

from decimal import ROUND_HALF_UP, Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rewards.errors import InvalidInputError
from rewards.money import decimal_text, exact_minor_units, exponent, minor_units

currencies = st.sampled_from(["JPY", "EUR", "USD", "KWD", "ISK", "BHD", "CLP"])
amounts = st.integers(-(10**15), 10**15)


@given(amounts, currencies)
def test_an_amount_survives_being_written_and_read(amount_minor: int, currency: str) -> None:
    assert minor_units(decimal_text(amount_minor, currency), currency) == amount_minor


@given(amounts, currencies)
def test_the_text_is_the_amount(amount_minor: int, currency: str) -> None:
    text = decimal_text(amount_minor, currency)
    assert Decimal(text) * 10 ** exponent(currency) == amount_minor
    assert "E" not in text
    assert len(text.partition(".")[2]) == exponent(currency)


@given(st.decimals(-(10**12), 10**12, places=6), currencies)
def test_reading_rounds_half_away_from_zero(amount: Decimal, currency: str) -> None:
    expected = (amount * 10 ** exponent(currency)).quantize(Decimal(1), rounding=ROUND_HALF_UP)
    assert minor_units(format(amount, "f"), currency) == int(expected)


@given(st.decimals(-(10**9), 10**9, places=2))
def test_the_fast_way_reads_as_the_exact_one(amount: Decimal) -> None:
    text = format(amount, "f")
    assert minor_units(text, "EUR") == minor_units(text + "0", "EUR") == int(amount * 100)


@pytest.mark.parametrize(
    ("text", "currency", "expected"),
    [
        ("17.91", "EUR", 1_791), ("17.9", "EUR", 1_790), ("17", "EUR", 1_700), ("-0.50", "EUR", -50), ("0.005", "EUR", 1),
        ("-0.005", "EUR", -1), ("500", "JPY", 500), ("500.00", "JPY", 500), ("1.234", "KWD", 1_234), ("1.5", "kwd", 1_500),
        (".50", "EUR", 50), ("9999999999999999.99", "EUR", 10**18 - 1), ("1e3", "EUR", 100_000), ("1e-99", "EUR", 0),
    ],
)  # fmt: skip
def test_amounts_as_platforms_write_them(text: str, currency: str, expected: int) -> None:
    assert minor_units(text, currency) == expected


@given(amounts, currencies)
def test_a_chosen_amount_is_taken_as_it_is(amount_minor: int, currency: str) -> None:
    assert exact_minor_units(decimal_text(amount_minor, currency), currency) == amount_minor


@pytest.mark.parametrize(
    ("text", "currency"), [("10.005", "EUR"), ("0.001", "USD"), ("5.5", "JPY"), ("1.2345", "KWD")]
)
def test_a_chosen_amount_is_not_rounded(text: str, currency: str) -> None:
    with pytest.raises(InvalidInputError, match="decimals"):
        exact_minor_units(text, currency)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "free",
        "1,50",
        "NaN",
        "Infinity",
        "1.2.3",
        "--5.00",
        "€5.00",
        "²5.00",
        "5.0²",
        "9e99",
        "1" * 20,
        f"{10**17}.00",
        f"{10**16}.001",
    ],
)
def test_what_is_no_amount_is_refused_without_repeating_it(text: str) -> None:
    with pytest.raises(
        InvalidInputError, match=r"^An amount is not a decimal number; write it like 12\.50\.$"
    ):
        minor_units(text, "EUR")
