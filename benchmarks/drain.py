"""How fast kept posts become orders, members and points, beside SQL alone that moves the same inbox rows."""

from __future__ import annotations

from benchmarks import posts
from benchmarks.harness import Bench, Connection
from benchmarks.results import Result, compared

NAMES = ("webhooks.drain",)

_OURS = ("-m", "benchmarks.programs.drain")
_LIMIT = ("benchmarks/limits/drain.py",)

# The same rows, whatever numbers they got and whenever they were written.
_MARK = """
SELECT (SELECT count(*) FROM deliveries WHERE state = 'handled' AND handled_at IS NOT NULL),
    (SELECT md5(string_agg(concat_ws(',', email, has_account, home_store_id, balance), ';'
         ORDER BY email, balance)) FROM members),
    (SELECT md5(string_agg(concat_ws(',', c.external_id, c.has_account, lower(c.email_given), c.email, m.email), ';'
         ORDER BY c.external_id)) FROM store_customers c JOIN members m ON m.id = c.member_id),
    (SELECT md5(string_agg(concat_ws(',', o.external_id, c.external_id, status, status_given, currency, subtotal_minor,
         tax_minor, shipping_minor, discount_minor, total_minor, placed_at, paid_at, cancelled_at, is_test, codes::text,
         o.source_updated_at), ';' ORDER BY o.external_id))
     FROM orders o JOIN store_customers c ON c.id = o.store_customer_id),
    (SELECT md5(string_agg(concat_ws(',', key, round, c.external_id, points, reason, actor, occurred_at), ';' ORDER BY key))
     FROM ledger_entries e JOIN store_customers c ON c.id = e.store_customer_id AND c.member_id = e.member_id)
"""


def run(bench: Bench) -> list[Result]:
    """Posts moved per second by one drain."""
    count = 15_000 if bench.quick else 30_000
    template = bench.copy(bench.migrated())
    with bench.connect(template) as connection:
        store_id = posts.install(connection)
        posts.fill_inbox(connection, store_id, count)
    marks: set[tuple[object, ...]] = set()

    def side(command: tuple[str, ...]) -> float:
        with bench.fresh(template) as name:
            said = bench.measure(*command, bench.url(name), str(store_id)).said
            assert said["settled"] == count, f"{said['settled']} of {count} posts settled"
            with bench.connect(name) as connection:
                marks.add(_mark(connection, count))
        assert len(marks) == 1, f"both sides write the same rows: {marks}"
        return count / float(said["seconds"])

    ours, limit = bench.alternate(lambda: side(_OURS), lambda: side(_LIMIT))
    bench.drop(template)
    return [compared(NAMES[0], "posts/s", ours, limit, 0.5)]


def _mark(connection: Connection, count: int) -> tuple[object, ...]:
    found = connection.execute(_MARK).fetchone()
    assert found is not None
    assert found[0] == count, f"{found[0]} rows of {count} are marked handled"
    return found
