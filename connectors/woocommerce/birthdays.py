"""Birthdays in customers' meta fields: no field of WooCommerce's own, but one of some plugin, in that plugin's form.

The merchant names the field (setting `birthday_key`) and the form (`birthday_format`). The keys and forms of common
plugins stand in the README.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from rewards.errors import InvalidInputError
from rewards.occasions import birthday as make_birthday
from rewards.records import Birthday

KEY, FORMAT = "birthday_key", "birthday_format"
DEFAULT_KEY, DEFAULT_FORMAT = "birthday", "y-m-d"

# 03/04 is two different days in two countries, so the order of the parts is never guessed at.
_SEPARATOR, _TIME = r"\s?[-/.\s]\s?", r"(?:[T ]\d{1,2}:\d{2}(?::\d{2})?)?"
_YEAR, _MONTH, _DAY = r"(?P<year>\d{4})", r"(?P<month>\d{1,2})", r"(?P<day>\d{1,2})"
_READ: Mapping[str, re.Pattern[str]] = {
    "y-m-d": re.compile(rf"(?:{_YEAR}{_SEPARATOR}|--)?{_MONTH}{_SEPARATOR}{_DAY}{_TIME}"),
    "d-m-y": re.compile(rf"{_DAY}{_SEPARATOR}{_MONTH}(?:{_SEPARATOR}{_YEAR})?{_TIME}"),
    "m-d-y": re.compile(rf"{_MONTH}{_SEPARATOR}{_DAY}(?:{_SEPARATOR}{_YEAR})?{_TIME}"),
    "ymd": re.compile(r"(?P<year>\d{4})?(?P<month>\d{2})(?P<day>\d{2})"),
}
# The year 0000, where none is known, is a date to plugins, which --04-30 is not to all of them.
_WRITE: Mapping[str, str] = {
    "y-m-d": "{year:04}-{month:02}-{day:02}",
    "d-m-y": "{day:02}/{month:02}/{year:04}",
    "m-d-y": "{month:02}/{day:02}/{year:04}",
    "ymd": "{year:04}{month:02}{day:02}",
}


def wrong_settings(settings: Mapping[str, str]) -> tuple[str, ...]:
    """What the merchant should put right for birthdays to be read and written."""
    wrong = []
    if settings.get(FORMAT, DEFAULT_FORMAT) not in _READ:
        wrong.append(
            f"No birthday is read: the setting {FORMAT} is one of {', '.join(_READ)}; give one of these."
        )
    if settings.get(KEY, DEFAULT_KEY).startswith("_"):
        wrong.append(
            f"No birthday is read: WooCommerce shows no customer field that begins with _; name another one as {KEY}, "
            "or let the plugin keep a copy."
        )
    return tuple(wrong)


_LOOKS_LIKE_ONE = re.compile(
    r"birth|bday|\bdob\b|geburt|cumple|nacimiento|naissance|nascita|geboort", re.IGNORECASE
)
_MOST_SHOWN = 3


def offers(found: Sequence[Mapping[str, str]], settings: Mapping[str, str]) -> tuple[str, ...]:
    """Which of some customers' fields look like birthdays, where the chosen one holds none of theirs.

    Fields are known by their names and by what they hold; a form that is in doubt (03/04) is left to the merchant.
    """
    key = settings.get(KEY, DEFAULT_KEY)
    if any(read_birthday(fields.get(key), settings) for fields in found):
        return ()
    texts: dict[str, list[str]] = {}
    for fields in found:
        for name, text in fields.items():
            if text and _LOOKS_LIKE_ONE.search(name):
                texts.setdefault(name, []).append(text)
    forms = {
        name: [form for form in _READ if all(read_birthday(text, {FORMAT: form}) for text in some)]
        for name, some in texts.items()
    }
    named = [f"{KEY}={name} and {FORMAT}={' or '.join(fit)}" for name, fit in forms.items() if fit]
    if not named:
        return ()
    return (
        f"No customer's field {key} holds a birthday, but another one seems to: set {'; or '.join(named[:_MOST_SHOWN])}, and "
        "read the shop anew.",
    )


def read_birthday(text: str | None, settings: Mapping[str, str]) -> Birthday | None:
    """A date in the merchant's form; None when it is none, as 31 April. The year 0000 stands for none."""
    form = _READ.get(settings.get(FORMAT, DEFAULT_FORMAT))
    found = form.fullmatch(text.strip()) if text and form else None
    if found is None:
        return None
    try:
        return make_birthday(int(found["month"]), int(found["day"]), int(found["year"] or 0) or None)
    except InvalidInputError:
        return None


def birthday_text(birthday: Birthday, settings: Mapping[str, str]) -> str:
    """The date in the merchant's form, with the year 0000 where none is known."""
    form = _WRITE[settings.get(FORMAT, DEFAULT_FORMAT)]
    return form.format(year=birthday.year or 0, month=birthday.month, day=birthday.day)
