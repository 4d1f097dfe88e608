"""Where a chunk of incoming records waits inside its transaction for the set-based SQL that merges it.

Temporary tables of the connection, filled by COPY and emptied by the commit: one statement then handles thousands of
rows, and a row costs the client a few microseconds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from typing import Any

import msgspec

from storage import plans
from storage.database import Connection

_PART = 500  # rows that are turned into text at once

_TABLES = {
    "incoming_people": """external_id text, is_full boolean, has_account boolean, email_given text, email text,
        name text, phone text, locale text, accepts_marketing boolean, joined_at timestamptz, joined_on date, joined_md smallint,
        birthday_md smallint, birthday_year smallint, source_updated_at timestamptz, metadata jsonb DEFAULT '{}'""",
    "incoming_orders": """external_id text, person text, status text, status_given text, currency text,
        subtotal_minor bigint, tax_minor bigint, shipping_minor bigint, discount_minor bigint, total_minor bigint,
        placed_at timestamptz, paid_at timestamptz, cancelled_at timestamptz, is_test boolean, codes text[],
        source_updated_at timestamptz""",
    "incoming_refunds": """order_external_id text, external_id text, total_minor bigint, subtotal_minor bigint,
        status text, refunded_at timestamptz""",
    "incoming_coupons": """external_id text, code text, title text, kind text, basis_points integer,
        amount_minor bigint, currency text, minimum_minor bigint, is_active boolean, starts_at timestamptz,
        ends_at timestamptz, usage_limit bigint, used_count bigint, customer_external_ids text[], emails text[],
        parent_external_id text, source_updated_at timestamptz""",
}


async def prepare(connection: Connection) -> None:
    """Makes the connection's staging tables if it has none yet, and empties them if this transaction used them."""
    cursor = await connection.execute(
        f"SELECT {plans.BY_KEY}, to_regclass('pg_temp.incoming_coupons') IS NOT NULL AS there"
    )
    found = await cursor.fetchone()
    if not found or not found["there"]:
        for name, columns in _TABLES.items():
            await connection.execute(f"CREATE TEMP TABLE {name} ({columns}) ON COMMIT DELETE ROWS")


async def empty(connection: Connection, *tables: str) -> None:
    """Takes staged rows out again within the transaction."""
    await connection.execute(f"TRUNCATE {', '.join(tables)}")


async def fill(connection: Connection, table: str, rows: Iterable[Sequence[object]]) -> None:
    """Copies rows into a staging table, columns in the table's order; all rows may leave out the same last ones.

    Written in parts: while one is sent, requests that came in meanwhile are answered.
    """
    rows = list(rows)
    if not rows:
        return
    names = ", ".join(name for name, _ in _columns(table)[: len(rows[0])])
    async with connection.cursor() as cursor, cursor.copy(f"COPY {table} ({names}) FROM STDIN") as copy:
        for first in range(0, len(rows), _PART):
            await copy.write(_text(table, rows[first : first + _PART]))


# -- rows as the text that COPY reads --------------------------------------------------------------------------------
#
# psycopg writes such text too, value by value, which took more time than everything else that an imported order cost
# the client; whole columns at a time take a tenth of that. (postgresql.org/docs/current/sql-copy.html, "Text Format")

_NULL = r"\N"
# What shops send may hold NUL, which PostgreSQL's text cannot.
_SPECIAL = {"\\": r"\\", "\t": r"\t", "\n": r"\n", "\r": r"\r", "\0": None}
_ESCAPED = str.maketrans(_SPECIAL)
_encode = msgspec.json.Encoder().encode


def _text(table: str, rows: Sequence[Sequence[object]]) -> str:
    """Rows as lines, a column at a time."""
    columns = zip(*rows, strict=True)
    texts = [_texts(kind, values) for (_, kind), values in zip(_columns(table), columns, strict=False)]
    return "\n".join(map("\t".join, zip(*texts, strict=True))) + "\n"


def _texts(kind: str, values: Sequence[Any]) -> list[str]:
    """One column's values as text; half the columns of a chunk hold one value all the way, which is written once."""
    first = values[0]
    if first == values[-1] and values.count(first) == len(values):
        return _WRITERS[kind]((first,)) * len(values)
    return _WRITERS[kind](values)


@cache
def _columns(table: str) -> list[tuple[str, str]]:
    """Name and type of each column of the table."""
    words = [column.split() for column in _TABLES[table].split(",")]
    return [(name, kind) for name, kind, *_ in words]


def _escaped(values: Sequence[Any]) -> list[str]:
    """Texts; most have nothing to escape, and one look at all of them tells."""
    has_nulls = None in values
    text = "".join(filter(None, values) if has_nulls else values)
    if any(special in text for special in _SPECIAL):
        return [_NULL if value is None else value.translate(_ESCAPED) for value in values]
    return [_NULL if value is None else value for value in values] if has_nulls else list(values)


def _plain(values: Sequence[Any]) -> list[str]:
    """Numbers, flags, dates and moments: none of them holds a comma or a quote, and as JSON they are soon written."""
    return _encode(values).decode()[1:-1].replace('"', "").replace("null", _NULL).split(",")


def _arrays(values: Sequence[Any]) -> list[str]:
    return _escaped([_array(value) if value else "{}" for value in values])


def _array(texts: Iterable[str]) -> str:
    quoted = [text.replace("\\", "\\\\").replace('"', '\\"') for text in texts]
    return '{"' + '","'.join(quoted) + '"}'


def _documents(values: Sequence[Any]) -> list[str]:
    return _escaped([_encode(value).decode() if value else "{}" for value in values])


_WRITERS: Mapping[str, Callable[[Sequence[Any]], list[str]]] = {
    "text": _escaped,
    "smallint": _plain,
    "integer": _plain,
    "bigint": _plain,
    "date": _plain,
    "timestamptz": _plain,
    "boolean": _plain,
    "text[]": _arrays,
    "jsonb": _documents,
}
