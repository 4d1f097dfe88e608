"""What stands in the log: one line for each record, and nothing that an error quotes."""

from __future__ import annotations

import io
import logging

from app.logs import OneLine
from rewards.money import minor_units


def _logged(error: Exception | None, message: str, *words: object) -> str:
    told = io.StringIO()
    handler = logging.StreamHandler(told)
    handler.setFormatter(OneLine("%(levelname)s %(name)s: %(message)s"))
    logger = logging.Logger("test")
    logger.addHandler(handler)
    logger.error(message, *words, exc_info=error)
    return told.getvalue()


def test_a_record_of_several_lines_becomes_one() -> None:
    assert _logged(None, "away:\n\tis %s running?", "it") == "ERROR test: away: is it running?\n"


def test_an_error_of_others_is_named_and_not_quoted() -> None:
    error = ValueError("Key (email)=(ada@people.example) already exists.")
    assert _logged(error, "It failed") == "ERROR test: It failed (ValueError)\n"


def test_an_error_of_ours_says_what_to_do() -> None:
    try:
        minor_units("free", "EUR")
    except Exception as error:
        said = _logged(error, "It failed")
    assert said == "ERROR test: It failed (An amount is not a decimal number; write it like 12.50.)\n"


def test_where_an_error_came_up_in_our_code_is_said() -> None:
    try:
        minor_units(None, "EUR")  # type: ignore[arg-type]
    except AttributeError as error:
        said = _logged(error, "It failed")
    assert said.startswith("ERROR test: It failed (AttributeError at rewards.money:")
