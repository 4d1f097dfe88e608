"""Rows must come out of a staging table as they went in, whatever is in them."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from storage import staging
from storage.database import Database

TEXTS = st.text(
    st.one_of(
        st.sampled_from('\\\t\n\r"{},N '), st.characters(exclude_categories=["Cs"], exclude_characters="\0")
    )
)
MOMENTS = st.datetimes(
    datetime(1, 1, 3),  # noqa: DTZ001 - the zone is drawn beside it
    datetime(9999, 12, 29),  # noqa: DTZ001
    timezones=st.sampled_from([UTC, timezone(timedelta(hours=-9.5))]),
)
PEOPLE = st.tuples(
    TEXTS, st.booleans(), st.booleans(), *[st.none() | TEXTS] * 5, st.none() | st.booleans(), st.none() | MOMENTS,
    st.none() | st.dates(), *[st.none() | st.integers(-(2**15), 2**15 - 1)] * 3, st.none() | MOMENTS,
    st.dictionaries(TEXTS, TEXTS, max_size=3),
)  # fmt: skip
COUPONS = st.tuples(
    *[TEXTS] * 4, st.none() | st.integers(-(2**31), 2**31 - 1), st.none() | st.integers(-(2**63), 2**63 - 1), TEXTS,
    st.none() | st.integers(0, 2**63 - 1), st.booleans(), st.none() | MOMENTS, st.none() | MOMENTS,
    *[st.none() | st.integers(0, 2**63 - 1)] * 2, *[st.lists(TEXTS, max_size=3).map(tuple)] * 2, st.none() | TEXTS,
    st.none() | MOMENTS,
)  # fmt: skip
# The database is the same for all examples, and each empties what it filled.
EXAMPLES = settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])


async def _kept(database: Database, table: str, rows: list[tuple[object, ...]]) -> list[tuple[object, ...]]:
    async with database.transaction() as connection:
        await staging.prepare(connection)
        await staging.fill(connection, table, rows)
        found = await (await connection.execute(f"SELECT * FROM {table} ORDER BY ctid")).fetchall()
        await staging.empty(connection, table)
    return [tuple(row.values()) for row in found]


@EXAMPLES
@given(rows=st.lists(PEOPLE, max_size=4))
async def test_people_come_out_as_they_went_in(database: Database, rows: list[tuple[object, ...]]) -> None:
    assert await _kept(database, "incoming_people", rows) == rows


@EXAMPLES
@given(rows=st.lists(COUPONS, max_size=4))
async def test_lists_of_texts_come_out_as_they_went_in(
    database: Database, rows: list[tuple[object, ...]]
) -> None:
    kept = await _kept(database, "incoming_coupons", rows)
    assert [tuple(tuple(v) if isinstance(v, list) else v for v in row) for row in kept] == rows


async def test_a_character_that_the_database_cannot_hold_is_left_out(database: Database) -> None:
    nobody = (None,) * 9
    person = ("1", True, True, "a\0@b", "a@b", "N\0\tN", *nobody, {"key": "v"})
    (row,) = await _kept(database, "incoming_people", [person])
    assert row[:6] == ("1", True, True, "a@b", "a@b", "N\tN")


async def test_a_row_that_lacks_a_column_is_refused(database: Database) -> None:
    with pytest.raises(ValueError, match="shorter"):
        await _kept(
            database, "incoming_refunds", [("1", "2", 3, 3, "succeeded", date(2026, 1, 1)), ("1", "2")]
        )
