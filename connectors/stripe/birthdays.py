"""Birthdays as merchants write them: into a metadata key of the Customer, or asked for in a field of Checkout.

Settings of a store: `birthday_key` (metadata key, "birthday"), `birthday_format` (like DD.MM.YYYY or MM/DD/YYYY; without
it YYYY-MM-DD), `birthday_field` (key of a Checkout custom field; none unless set).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache

from rewards.errors import InvalidInputError
from rewards.occasions import birthday, parse_birthday
from rewards.records import Birthday

KEY, FORMAT, FIELD = "birthday_key", "birthday_format", "birthday_field"

_PART = re.compile(r"YYYY|MM|DD|M|D")
_DIGITS = {"YYYY": "[0-9]{4}", "MM": "[0-9]{1,2}", "M": "[0-9]{1,2}", "DD": "[0-9]{1,2}", "D": "[0-9]{1,2}"}


def key_of(settings: Mapping[str, str]) -> str:
    """The metadata key that holds birthdays."""
    return settings.get(KEY) or "birthday"


def read(text: str | None, settings: Mapping[str, str]) -> Birthday | None:
    """The day, or None: a field that people type into holds anything, and a wrong day is worse than none.

    The merchant's format with or without its year, and always YYYY-MM-DD, which cannot be mistaken for another.
    """
    if not text:
        return None
    text = text.strip()
    try:
        for pattern in _patterns(settings.get(FORMAT, "")):
            if found := pattern.fullmatch(text):
                year = found.groupdict().get("year")
                return birthday(int(found["month"]), int(found["day"]), int(year) if year else None)
        return parse_birthday(text)
    except InvalidInputError:
        return None


def write(day: Birthday, settings: Mapping[str, str]) -> str:
    """The day in the merchant's format; without a year where nobody gave one."""
    form = settings.get(FORMAT, "")
    if not _patterns(form):
        year = f"{day.year:04d}-" if day.year else ""
        return f"{year}{day.month:02d}-{day.day:02d}"
    values = {"DD": f"{day.day:02d}", "MM": f"{day.month:02d}", "D": str(day.day), "M": str(day.month)}
    if day.year:
        values["YYYY"] = f"{day.year:04d}"
    else:
        form = _without_year(form)
    return _PART.sub(lambda part: values[part[0]], form)


def problem(settings: Mapping[str, str]) -> str | None:
    """What is wrong with the merchant's format, with a way out; None when it can be used."""
    form = settings.get(FORMAT)
    if not form or _patterns(form):
        return None
    return (
        f"The store's setting {FORMAT} needs one day and one month, and may have a year: like DD.MM.YYYY or "
        "MM/DD/YYYY. Until then birthdays are read as YYYY-MM-DD."
    )


@lru_cache(maxsize=64)
def _patterns(form: str) -> tuple[re.Pattern[str], ...]:
    """What the format's texts look like, with the year and without; none for a format that cannot be meant."""
    parts = [part[0] for part in _PART.findall(form)]
    if sorted(parts) not in (["D", "M"], ["D", "M", "Y"]):
        return ()
    forms = dict.fromkeys((form, _without_year(form)))
    return tuple(_pattern(each) for each in forms)


def _pattern(form: str) -> re.Pattern[str]:
    names = {"Y": "year", "M": "month", "D": "day"}
    pieces, end = [], 0
    for part in _PART.finditer(form):
        pieces += [re.escape(form[end : part.start()]), f"(?P<{names[part[0][0]]}>{_DIGITS[part[0]]})"]
        end = part.end()
    return re.compile("".join(pieces) + re.escape(form[end:]))


def _without_year(form: str) -> str:
    """DD.MM.YYYY as DD.MM. (the dot belongs to the number), MM/DD/YYYY as MM/DD, YYYY/MM/DD as MM/DD."""
    return re.sub(r"[^\w.]*YYYY$|^YYYY\W*|YYYY", "", form)
