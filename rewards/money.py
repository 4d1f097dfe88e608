"""Amounts are integer minor units plus a currency; never a float.

Source: ISO 4217 minor units. A platform's own exceptions live in its `mapping.py`.
"""

from __future__ import annotations

from decimal import ROUND_HALF_UP, Decimal, InvalidOperation
from functools import lru_cache

from rewards.errors import InvalidInputError

_NO_DECIMALS = frozenset("BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF".split())
_THREE_DECIMALS = frozenset("BHD IQD JOD KWD LYD OMR TND".split())
# What a database's 64 bits hold in any case.
_MOST_DIGITS = 18


@lru_cache(maxsize=256)
def exponent(currency: str) -> int:
    """How many decimals the currency has: 0, 2 or 3."""
    code = currency.upper()
    if code in _NO_DECIMALS:
        return 0
    return 3 if code in _THREE_DECIMALS else 2


def minor_units(text: str, currency: str) -> int:
    """The amount "17.91" in minor units (1791 for EUR), rounded half away from zero.

    Raises InvalidInputError when the text is no plain decimal number, or one beyond all money.
    """
    digits = exponent(currency)
    # The common case, a plain amount with just the currency's decimals, without Decimal: a history holds millions.
    head, _, tail = text.partition(".")
    body = head + tail
    if len(tail) == digits and len(body) <= _MOST_DIGITS and body.isdigit() and body.isascii():
        return int(body)
    try:
        amount = Decimal(text)
        if not amount.is_finite() or amount.adjusted() + digits >= _MOST_DIGITS:
            raise InvalidOperation
        return int(amount.scaleb(digits).quantize(Decimal(1), rounding=ROUND_HALF_UP))
    except InvalidOperation:
        raise InvalidInputError("An amount is not a decimal number; write it like 12.50.") from None


def exact_minor_units(text: str, currency: str) -> int:
    """An amount that somebody chose, in minor units; nothing is rounded.

    Raises InvalidInputError as `minor_units`, and for more decimals than the currency has.
    """
    minor = minor_units(text, currency)
    if Decimal(text) != Decimal(minor).scaleb(-exponent(currency)):
        raise InvalidInputError(
            f"{currency} has {exponent(currency) or 'no'} decimals: write {decimal_text(minor, currency)}, or what you mean."
        )
    return minor


def decimal_text(amount_minor: int, currency: str) -> str:
    """The amount as platforms write it: 1791 EUR is "17.91", 500 JPY is "500"."""
    return format(Decimal(amount_minor).scaleb(-exponent(currency)), "f")
