"""Promotion codes: the same for the same grant, so that a retry asks for the same one, and a secret for everybody else."""

from __future__ import annotations

import hashlib
import hmac
import re

from rewards.errors import InvalidInputError

# 32 characters, five bits each; nothing that reads as something else on paper (0 and O, 1 and I).
ALPHABET = "ABCDEFGHJKLMNPQRSTUVWXYZ23456789"
RANDOM_LENGTH = 12  # 60 bits: nobody finds one of a million codes by trying
GIFT_CARD_LENGTH = 16  # 80 bits

_PREFIX = re.compile(r"[A-Za-z0-9-]{0,20}")
_SMALLEST_KEY = 16


def grant_key(program_id: int, reward_id: int, member_id: int, occasion: str, attempt: int = 0) -> str:
    """Names one grant. `attempt` counts the codes that a store would not take because it had them already."""
    return f"grant:{program_id}:{reward_id}:{member_id}:{occasion}:{attempt}"


def gift_card_code(key: bytes, grant_key: str) -> str:
    """The code of a grant's gift card: 16 characters, because it is money; only the holder of `key` can work it out.

    Letters and digits alone, which is what gift cards take. Raises InvalidInputError.
    """
    return _characters(key, "gift_card_code", grant_key, GIFT_CARD_LENGTH)


def promotion_code(key: bytes, prefix: str, grant_key: str) -> str:
    """The code of a grant: the prefix, a dash, and 12 characters that only the holder of `key` can work out.

    Letters, digits and dashes in capitals, which every platform takes and no shopper misreads. Raises InvalidInputError.
    """
    check_prefix(prefix)
    random_part = _characters(key, "promotion_code", grant_key, RANDOM_LENGTH)
    lead = prefix.upper().strip("-")
    return f"{lead}-{random_part}" if lead else random_part


def check_prefix(prefix: str) -> None:
    """Raises InvalidInputError for what cannot stand before a code."""
    if not _PREFIX.fullmatch(prefix):
        raise InvalidInputError("A code's prefix is at most 20 letters, digits and dashes.")


def _characters(key: bytes, use: str, grant_key: str, length: int) -> str:
    if len(key) < _SMALLEST_KEY:
        raise InvalidInputError(f"Codes need a secret key of at least {_SMALLEST_KEY} bytes.")
    digest = hmac.new(key, f"{use}\0{grant_key}".encode(), hashlib.sha256).digest()
    number = int.from_bytes(digest, "big")
    return "".join(ALPHABET[number >> 5 * place & 31] for place in range(length))
