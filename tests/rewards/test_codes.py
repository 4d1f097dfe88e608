"""Promotion codes: repeatable for us, a secret for everybody else, readable on paper."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rewards.codes import ALPHABET, RANDOM_LENGTH, gift_card_code, grant_key, promotion_code
from rewards.errors import InvalidInputError

KEY = bytes(range(32))
prefixes = st.from_regex(r"[A-Za-z0-9-]{0,20}", fullmatch=True)


def test_one_grant_has_one_code_forever() -> None:
    # A stored code must be found again by a later version, so the way it is made never changes.
    assert promotion_code(KEY, "BDAY", grant_key(1, 2, 3, "birthday:2027")) == "BDAY-77MT7L8WEA4H"


@given(
    st.lists(
        st.tuples(st.integers(1), st.integers(1), st.integers(1), st.integers(0, 3)), unique=True, max_size=30
    )
)
def test_grants_and_attempts_have_codes_of_their_own(grants: list[tuple[int, int, int, int]]) -> None:
    codes = {promotion_code(KEY, "B", grant_key(p, r, m, "birthday:2027", a)) for p, r, m, a in grants}
    assert len(codes) == len(grants)


def test_another_key_gives_another_code() -> None:
    grant = grant_key(1, 2, 3, "birthday:2027")
    assert promotion_code(KEY, "B", grant) != promotion_code(KEY[::-1], "B", grant)


@given(prefixes, st.text(max_size=60))
def test_codes_are_safe_everywhere_and_easy_to_read(prefix: str, grant: str) -> None:
    code = promotion_code(KEY, prefix, grant)
    assert re.fullmatch(r"[A-Z0-9-]{12,33}", code)
    assert code == promotion_code(KEY, prefix, grant)
    assert code.startswith(prefix.upper().strip("-"))
    assert set(code[-RANDOM_LENGTH:]) <= set(ALPHABET)
    assert not set("01IO") & set(code[-RANDOM_LENGTH:])


def test_every_character_is_used_about_equally() -> None:
    text = "".join(promotion_code(KEY, "", str(n)) for n in range(4_000))
    counts = [text.count(character) for character in ALPHABET]
    assert len(ALPHABET) == len(set(ALPHABET)) == 32
    assert min(counts) > 0.85 * len(text) / 32
    assert max(counts) < 1.15 * len(text) / 32


@pytest.mark.parametrize("prefix", ["BDAY 27", "größe", "a/b", "B_1", "X" * 21, "BDAY\n"])
def test_a_prefix_that_some_platform_refuses_is_refused(prefix: str) -> None:
    with pytest.raises(InvalidInputError, match="prefix"):
        promotion_code(KEY, prefix, "grant")


def test_a_key_that_can_be_tried_out_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="16 bytes"):
        promotion_code(b"short", "B", "grant")


def test_a_gift_cards_code_is_its_grants_alone_and_one_that_gift_cards_take() -> None:
    grant = grant_key(1, 2, 3, "birthday:2027")
    code = gift_card_code(KEY, grant)
    assert code == gift_card_code(KEY, grant) == "P45RFA27NK4LE4J7"
    assert re.fullmatch(r"[A-Z0-9]{16}", code)
    assert (
        len(
            {code, gift_card_code(KEY[::-1], grant), gift_card_code(KEY, grant_key(1, 2, 4, "birthday:2027"))}
        )
        == 3
    )
    assert promotion_code(KEY, "", grant) not in code, "who knows one does not know the other"
    with pytest.raises(InvalidInputError, match="secret key"):
        gift_card_code(b"short", grant)
