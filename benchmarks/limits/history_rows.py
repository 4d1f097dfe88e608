"""What the three history limits share: staged rows, one transaction for about 2,000 of them, the same rows as ours.

Imports nothing of the project. Rows reach temporary tables as the text of one COPY; then one statement a table.
"""

import asyncio
import json
import resource
import sys
import time

import aiohttp
import psycopg

BATCH = 2_000
BACKLOG = 6_000
CONNECTIONS = 8

STAGES = """
CREATE TEMP TABLE people (external_id text, email_given text, name text, phone text, locale text, accepts boolean,
    joined_at timestamptz, birthday_md smallint, birthday_year smallint, updated_at timestamptz, metadata jsonb)
    ON COMMIT DELETE ROWS;
CREATE TEMP TABLE sales (external_id text, customer text, email_given text, status text, status_given text,
    currency text, subtotal bigint, tax bigint, shipping bigint, discount bigint, total bigint, placed_at timestamptz,
    paid_at timestamptz, cancelled_at timestamptz, is_test boolean, codes text[], updated_at timestamptz)
    ON COMMIT DELETE ROWS;
CREATE TEMP TABLE repaid (order_id text, external_id text, total bigint, status text, at timestamptz)
    ON COMMIT DELETE ROWS;
CREATE TEMP TABLE discounts (external_id text, code text, title text, kind text, points integer, amount bigint,
    currency text, minimum bigint, is_active boolean, ends_at timestamptz, usage_limit bigint, used bigint,
    parent text, updated_at timestamptz) ON COMMIT DELETE ROWS;
"""
# New tables have no statistics: look-ups by key are the right plan for every batch.
PLANS = (
    "SET enable_seqscan = off; SET enable_hashjoin = off; SET enable_mergejoin = off; SET timezone = 'UTC'"
)

MEMBERS = """
INSERT INTO members AS m (program_id, match_store_id, email, name, has_account, home_store_id, joined_on, joined_md,
    joined_set_by, birthday_md, birthday_year, birthday_set_by, birthday_set_at, dates_changed_at, balance, created_at)
SELECT %(program)s, %(store)s, email, name, true, %(store)s, joined_on,
    extract(month FROM joined_on) * 100 + extract(day FROM joined_on), 'store', birthday_md, birthday_year,
    CASE WHEN birthday_md IS NOT NULL THEN 'store' END, CASE WHEN birthday_md IS NOT NULL THEN now() END, now(), 0, now()
FROM (SELECT DISTINCT ON (lower(email_given)) lower(email_given) AS email, name,
          (joined_at AT TIME ZONE %(zone)s)::date AS joined_on, birthday_md, birthday_year
      FROM people ORDER BY lower(email_given), joined_at) AS p
ON CONFLICT (program_id, match_store_id, email) WHERE email IS NOT NULL DO UPDATE SET
    joined_on = least(m.joined_on, excluded.joined_on),
    joined_md = CASE WHEN excluded.joined_on < m.joined_on THEN excluded.joined_md ELSE m.joined_md END,
    birthday_md = coalesce(m.birthday_md, excluded.birthday_md),
    birthday_year = CASE WHEN m.birthday_md IS NULL THEN excluded.birthday_year ELSE m.birthday_year END,
    birthday_set_by = coalesce(m.birthday_set_by, excluded.birthday_set_by),
    birthday_set_at = coalesce(m.birthday_set_at, excluded.birthday_set_at)
"""

CUSTOMERS = """
INSERT INTO store_customers (program_id, store_id, member_id, external_id, has_account, email_given, email, name, phone,
    locale, accepts_marketing, joined_at, source_updated_at, metadata)
SELECT %(program)s, %(store)s, (SELECT id FROM members m WHERE m.program_id = %(program)s
        AND m.match_store_id = %(store)s AND m.email = lower(p.email_given)), external_id, true, email_given,
    lower(email_given), p.name, p.phone, locale, accepts, joined_at, updated_at, p.metadata
FROM people p
ON CONFLICT (store_id, external_id) DO NOTHING
"""

# Who bought without an account.
GUESTS = """
WITH fresh AS MATERIALIZED (
    SELECT DISTINCT ON (email) lower(email_given) AS email, email_given FROM sales s
    WHERE customer IS NULL AND email_given IS NOT NULL AND (SELECT c.id FROM store_customers c
        WHERE c.store_id = %(store)s AND c.external_id = 'guest:' || lower(s.email_given)) IS NULL
), made AS (
    INSERT INTO members (program_id, match_store_id, email, has_account, home_store_id, balance, created_at)
    SELECT %(program)s, %(store)s, email, false, %(store)s, 0, now() FROM fresh
    ON CONFLICT (program_id, match_store_id, email) WHERE email IS NOT NULL DO NOTHING
    RETURNING id, email
)
INSERT INTO store_customers (program_id, store_id, member_id, external_id, has_account, email_given, email, metadata)
SELECT %(program)s, %(store)s, id, 'guest:' || email, false, email_given, email, '{}'
FROM (SELECT f.*, coalesce(made.id, (SELECT id FROM members m WHERE m.program_id = %(program)s
          AND m.match_store_id = %(store)s AND m.email = f.email)) AS id
      FROM fresh f LEFT JOIN made ON made.email = f.email) AS known
"""

ORDERS = """
INSERT INTO orders AS o (program_id, store_id, external_id, store_customer_id, status, status_given, currency,
    subtotal_minor, tax_minor, shipping_minor, discount_minor, total_minor, placed_at, paid_at, cancelled_at, is_test,
    codes, source_updated_at)
SELECT %(program)s, %(store)s, external_id, (SELECT id FROM store_customers c WHERE c.store_id = %(store)s
        AND c.external_id = coalesce(s.customer, 'guest:' || lower(s.email_given))), status, status_given, currency,
    subtotal, tax, shipping, discount, total, placed_at, paid_at, cancelled_at, is_test, codes, updated_at
FROM sales s WHERE {which}
ON CONFLICT (store_id, external_id) DO {when_known}
"""
ONCE = (ORDERS.format(which="true", when_known="NOTHING"),)

REFUNDS = """
INSERT INTO refunds (store_id, order_external_id, external_id, total_minor, status, refunded_at)
SELECT %(store)s, order_id, external_id, total, status, at FROM repaid
ON CONFLICT (store_id, order_external_id, external_id) DO NOTHING
"""

COUPONS = """
INSERT INTO coupons (program_id, store_id, external_id, code, title, kind, basis_points, amount_minor, currency,
    minimum_minor, is_active, ends_at, usage_limit, used_count, customer_external_ids, emails, parent_external_id,
    source_updated_at, verified_at)
SELECT %(program)s, %(store)s, external_id, code, title, kind, points, amount, currency, minimum, is_active, ends_at,
    usage_limit, used, '{}', '{}', parent, updated_at, now() FROM discounts
ON CONFLICT (store_id, external_id) DO NOTHING
"""

WINDOWS = """
UPDATE import_windows w SET cursor = d.cursor::jsonb, records = w.records + d.records, done_at = now()
FROM (SELECT id, max(cursor) AS cursor, sum(records) AS records
      FROM unnest(%(windows)s::bigint[], %(cursors)s::text[], %(records)s::bigint[]) AS t (id, cursor, records)
      GROUP BY id) AS d
WHERE w.store_id = %(store)s AND w.id = d.id
"""

STATEMENTS = {"people": (MEMBERS, CUSTOMERS), "repaid": (REFUNDS,), "discounts": (COUPONS,)}


def line(*values):
    """One row of a COPY's text; None is NULL."""
    return "\t".join(["\\N" if value is None else str(value) for value in values])


def safe(text):
    """Free text within a COPY."""
    if text is None or ("\\" not in text and text.isprintable()):
        return text
    return text.replace("\\", "\\\\").replace("\t", "\\t").replace("\n", "\\n").replace("\r", "\\r")


class Limit:
    """Fetches with so many connections and writes what comes in batches."""

    def __init__(self, session, connection, store, orders):
        self.session = session
        self.connection = connection
        self.store = store
        self.values = {"store": store}
        self.statements = STATEMENTS | {"sales": (GUESTS, *orders)}
        self.urls = []  # of the noun that was read last
        self.read = self.read_of_noun = 0
        self.pages = asyncio.Queue()
        self.room = asyncio.Condition()
        self.waiting = 0

    async def get(self, url):
        """A page's bytes."""
        self.urls.append(url)
        async with self.session.get(url) as answer:
            body = await answer.read()
        assert answer.status == 200, f"{answer.status}"
        return body, answer.headers

    async def put(self, window, cursor, records, **rows):
        """Hands a page on to the writer; waits while much is unwritten."""
        async with self.room:
            await self.room.wait_for(lambda: self.waiting < BACKLOG)
        self.waiting += records
        self.read += records
        self.read_of_noun += records
        await self.pages.put((window, cursor, records, rows))

    async def begin(self, windows):
        """The run and its windows, as many as are read."""
        async with self.connection.transaction():
            found = await self._one("SELECT program_id, time_zone FROM stores WHERE id = %s", (self.store,))
            self.values |= {"program": found[0], "zone": found[1]}
            (self.run,) = await self._one(
                """INSERT INTO import_runs (program_id, store_id, kind, state, preview, counts, started_at)
                   VALUES (%s, %s, 'history', 'running', '{}', '{}', now()) RETURNING id""",
                (found[0], self.store),
            )
            made = await self.connection.execute(
                """INSERT INTO import_windows (store_id, run_id, noun, position, spec, records)
                   SELECT %s, %s, 'orders', n, '{}', 0 FROM generate_series(1, %s) AS n RETURNING id""",
                (self.store, self.run, windows),
            )
            self.windows = [row[0] for row in await made.fetchall()]

    async def phase(self, *readers):
        """Reads one noun, `CONNECTIONS` readers at a time, and writes meanwhile."""
        self.urls.clear()
        self.read_of_noun = 0
        slots = asyncio.Semaphore(CONNECTIONS)

        async def limited(reader):
            async with slots:
                await reader

        async def read():
            await asyncio.gather(*map(limited, readers))
            await self.pages.put(None)

        async with asyncio.TaskGroup() as group:
            group.create_task(self.write())
            group.create_task(read())

    async def write(self):
        """Batches of about 2,000 rows until the readers have ended."""
        is_over = False
        while not is_over:
            batch, records = [], 0
            while records < BATCH and not is_over:
                page = await self.pages.get()
                if page is None:
                    is_over = True
                else:
                    batch.append(page)
                    records += page[2]
            if batch:
                await self.commit(batch)
                self.waiting -= records
                async with self.room:
                    self.room.notify_all()

    async def commit(self, batch):
        """One transaction."""
        staged = {}
        for _, _, _, rows in batch:
            for name, lines in rows.items():
                staged.setdefault(name, []).extend(lines)
        values = self.values | {
            "windows": [self.windows[page[0]] for page in batch],
            "cursors": [json.dumps({"at": page[1]}) for page in batch],
            "records": [page[2] for page in batch],
        }
        async with self.connection.transaction():
            for name, lines in staged.items():
                if lines:
                    await self.stage(name, lines)
                    for statement in self.statements[name]:
                        await self.connection.execute(statement, values)
            await self.connection.execute(WINDOWS, values)

    async def stage(self, name, lines):
        """Copies rows into a stage."""
        async with self.connection.cursor() as cursor, cursor.copy(f"COPY {name} FROM STDIN") as copy:
            await copy.write("\n".join(lines) + "\n")

    async def finish(self):
        """Marks the run as done."""
        await self.connection.execute(
            """UPDATE import_runs SET state = 'done', finished_at = now() WHERE id = %s""", (self.run,)
        )
        await self.connection.execute("UPDATE stores SET synced_at = now() WHERE id = %s", (self.store,))

    async def _one(self, query, values):
        return await (await self.connection.execute(query, values)).fetchone()


async def bare_read(session, urls, signed):
    """Fetches the same addresses once more without looking into the answers; seconds."""
    waiting = iter(urls)
    started_at = time.perf_counter()

    async def one():
        for url in waiting:
            async with session.get(signed(url)) as answer:
                async for _ in answer.content.iter_chunked(1 << 18):
                    pass

    await asyncio.gather(*(one() for _ in range(CONNECTIONS)))
    return time.perf_counter() - started_at


def cpu():
    """Processor seconds of this process so far."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


async def run(read, *, orders=ONCE, signed=lambda _, url: url):
    """Arguments of the process: the database's connection string, the store's id, the answers to connect as JSON.

    `read(limit, given)` does the work. With `--bare` at the end the sandbox's own rate is measured afterwards.
    """
    url, store, given = sys.argv[1], int(sys.argv[2]), json.loads(sys.argv[3])
    connector = aiohttp.TCPConnector(limit=CONNECTIONS)
    async with aiohttp.ClientSession(connector=connector) as session:
        connection = await psycopg.AsyncConnection.connect(url, autocommit=True)
        await connection.execute(PLANS)
        await connection.execute(STAGES)
        limit = Limit(session, connection, store, orders)
        used, started_at = cpu(), time.perf_counter()
        await read(limit, given)
        await limit.finish()
        said = {"seconds": time.perf_counter() - started_at, "cpu": cpu() - used, "records": limit.read}
        if sys.argv[-1] == "--bare":
            took = await bare_read(session, limit.urls, lambda url: signed(given, url))
            said["bare_per_second"] = limit.read_of_noun / took
        print(json.dumps(said), flush=True)
        await asyncio.to_thread(sys.stdin.read)
        await connection.close()
