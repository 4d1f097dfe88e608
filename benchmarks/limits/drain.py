"""The limit of draining: SQL alone that moves the inbox into the same tables, in chunks of the same size.

Imports nothing of the project. PostgreSQL reads the JSON; one transaction a chunk, each row written once. Arguments: the
database's connection string, the store's id.
"""

import json
import sys
import time

import psycopg

CHUNK = 500

CLAIM = """
CREATE TEMP TABLE chunk ON COMMIT DROP AS
WITH claimed AS (
    SELECT id, convert_from(body, 'UTF8')::jsonb AS b FROM deliveries
    WHERE store_id = %(store)s AND state = 'waiting' AND (try_after IS NULL OR try_after <= now())
    ORDER BY id LIMIT %(chunk)s FOR UPDATE SKIP LOCKED)
SELECT id, b->>'id' AS external_id,
    CASE WHEN b->>'customer_id' = '0' THEN lower(b#>>'{billing,email}') END AS email,
    CASE WHEN b->>'customer_id' = '0' THEN b#>>'{billing,email}' END AS email_given,
    CASE WHEN b->>'customer_id' <> '0' THEN b->>'customer_id'
         ELSE 'guest:' || lower(b#>>'{billing,email}') END AS person,
    b->>'status' AS status_given, b->>'currency' AS currency,
    ((b#>>'{line_items,0,total}')::numeric * 100)::bigint AS subtotal_minor,
    ((b->>'total_tax')::numeric * 100)::bigint AS tax_minor,
    ((b->>'shipping_total')::numeric * 100)::bigint AS shipping_minor,
    ((b->>'discount_total')::numeric * 100)::bigint AS discount_minor,
    ((b->>'total')::numeric * 100)::bigint AS total_minor,
    (b->>'date_created_gmt')::timestamp AT TIME ZONE 'UTC' AS placed_at,
    (b->>'date_paid_gmt')::timestamp AT TIME ZONE 'UTC' AS paid_at,
    (b->>'date_modified_gmt')::timestamp AT TIME ZONE 'UTC' AS source_updated_at
FROM claimed
"""

PEOPLE = """
WITH fresh AS (
    SELECT DISTINCT ON (person) person, email, email_given FROM chunk c
    WHERE email IS NOT NULL
        AND NOT EXISTS (SELECT FROM store_customers s WHERE s.store_id = %(store)s AND s.external_id = c.person)
    ORDER BY person, id
), made AS (
    INSERT INTO members (program_id, match_store_id, email, has_account, home_store_id, balance, created_at)
    SELECT DISTINCT ON (email) %(program)s, %(store)s, email, false, %(store)s, 0, now() FROM fresh
    ON CONFLICT (program_id, match_store_id, email) WHERE merged_into IS NULL AND email IS NOT NULL DO NOTHING
    RETURNING id, email
)
INSERT INTO store_customers (program_id, store_id, member_id, external_id, has_account, email_given, email, metadata)
SELECT %(program)s, %(store)s, coalesce(made.id, m.id), person, false, email_given, fresh.email, '{}'
FROM fresh LEFT JOIN made ON made.email = fresh.email
LEFT JOIN members m ON m.program_id = %(program)s AND m.match_store_id = %(store)s AND m.email = fresh.email
"""

# An order by a customer's record that is not here yet says nothing of whose it is.
NAMELESS = """
WITH fresh AS MATERIALIZED (
    SELECT person, nextval(pg_get_serial_sequence('members', 'id')) AS member_id FROM (
        SELECT DISTINCT person FROM chunk c WHERE email IS NULL
            AND NOT EXISTS (SELECT FROM store_customers s WHERE s.store_id = %(store)s AND s.external_id = c.person)
    ) AS people
), made AS (
    INSERT INTO members (id, program_id, match_store_id, has_account, home_store_id, balance, created_at)
    SELECT member_id, %(program)s, %(store)s, false, %(store)s, 0, now() FROM fresh
)
INSERT INTO store_customers (program_id, store_id, member_id, external_id, has_account, metadata)
SELECT %(program)s, %(store)s, member_id, person, false, '{}' FROM fresh
"""

ORDERS = """
INSERT INTO orders (program_id, store_id, external_id, store_customer_id, status, status_given, currency,
    subtotal_minor, tax_minor, shipping_minor, discount_minor, total_minor, placed_at, paid_at, cancelled_at, is_test,
    codes, source_updated_at)
SELECT %(program)s, %(store)s, c.external_id, s.id, CASE WHEN paid_at IS NULL THEN 'pending' ELSE 'paid' END,
    status_given, currency, subtotal_minor, tax_minor, shipping_minor, discount_minor, total_minor, placed_at, paid_at,
    NULL, false, '{}', c.source_updated_at
FROM chunk c JOIN store_customers s ON s.store_id = %(store)s AND s.external_id = c.person
ON CONFLICT (store_id, external_id) DO NOTHING
"""

AWARDS = """
WITH added AS (
    INSERT INTO ledger_entries (program_id, key, round, member_id, store_customer_id, store_id, points, reason,
        rule_version_id, actor, occurred_at, created_at)
    SELECT %(program)s, 'order_paid:' || %(store)s || ':' || c.external_id, 0, s.member_id, s.id, %(store)s,
        subtotal_minor * w.points / w.per_minor, 'order', w.id, 'webhook', paid_at, now()
    FROM chunk c JOIN store_customers s ON s.store_id = %(store)s AND s.external_id = c.person
    JOIN ways_to_earn w ON w.program_id = %(program)s AND w.kind = 'place_order' AND w.superseded_at IS NULL
    WHERE paid_at IS NOT NULL
    ON CONFLICT (program_id, key, round) DO NOTHING
    RETURNING member_id, points
)
UPDATE members m SET balance = m.balance + sums.points
FROM (SELECT member_id, sum(points) AS points FROM added GROUP BY 1) AS sums WHERE m.id = sums.member_id
"""

HANDLED = """
UPDATE deliveries d SET state = 'handled', handled_at = now() FROM chunk c WHERE d.store_id = %(store)s AND d.id = c.id
"""


def main(url, store):
    """Drains until nothing waits."""
    with psycopg.connect(url, autocommit=True) as connection:
        (program,) = connection.execute("SELECT program_id FROM stores WHERE id = %s", (store,)).fetchone()
        values = {"store": store, "program": program, "chunk": CHUNK}
        settled, moved, started_at = 0, 1, time.perf_counter()
        while moved:
            with connection.transaction():
                moved = connection.execute(CLAIM, values).rowcount
                for statement in (PEOPLE, NAMELESS, ORDERS, AWARDS, HANDLED) if moved else ():
                    connection.execute(statement, values)
            settled += moved
        took = time.perf_counter() - started_at
        print(json.dumps({"settled": settled, "seconds": took}), flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
