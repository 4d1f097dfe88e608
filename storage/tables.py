"""The tables. Words as in docs/architecture.md; every row carries its program or store, and every key starts with it.

What a model cannot say (partial indexes, checks) stands in EXTRA_SQL. Tables that history fills by the million hold
plain ids instead of foreign keys: they are written by set-based SQL that takes the ids from the same transaction.
"""

from __future__ import annotations

from tortoise import fields
from tortoise.contrib.postgres.fields import ArrayField
from tortoise.models import Model


class Program(Model):
    """One merchant's rules."""

    id = fields.BigIntField(primary_key=True)
    name = fields.TextField()
    is_on = fields.BooleanField(default=True)  # off: webhooks award nothing; a confirmed run still does
    currency = fields.TextField()
    leap_rule = fields.CharField(max_length=6, default="feb_28")
    match_across_stores = fields.BooleanField(default=False)
    code_key = fields.BinaryField(null=True)  # sealed; promotion codes come from it, so it never changes
    created_at = fields.DatetimeField(auto_now_add=True)

    class Meta:
        table = "programs"


class Store(Model):
    """An installation on a platform: the unit of access, credentials, time zone, currency and health."""

    id = fields.BigIntField(primary_key=True)
    program: fields.ForeignKeyRelation[Program] = fields.ForeignKeyField("models.Program")
    platform = fields.CharField(max_length=32)
    external_id = fields.TextField()
    token = fields.CharField(max_length=64, unique=True)  # names the store in its webhook address
    name = fields.TextField()
    time_zone = fields.TextField()
    currency = fields.TextField()
    api_base = fields.TextField(null=True)
    credentials = fields.BinaryField(null=True)  # sealed JSON; dropped on uninstall
    webhook_secrets = fields.BinaryField(null=True)  # sealed JSON list, newest first
    settings: dict[str, str] = fields.JSONField(default=dict)
    status = fields.CharField(max_length=16, default="active")  # active | paused | uninstalled
    status_reason = fields.TextField(null=True)
    webhook_address = fields.TextField(null=True)
    subscription_ids: list[str] = fields.JSONField(default=list)
    polled_because = fields.TextField(
        null=True
    )  # why changes are read on a schedule; None: webhooks bring them
    # What the merchant should know, as the platform last said.
    notices: list[str] | None = fields.JSONField(null=True)
    earning_from = fields.DatetimeField(null=True)  # webhooks award what happened from here on; None: nothing
    synced_at = fields.DatetimeField(null=True)
    last_reconciled_on = fields.DateField(null=True)
    installed_at = fields.DatetimeField(auto_now_add=True)
    # The program's ledger entry up to which the store shows all balances; None: everybody's is to be compared.
    points_shown_through = fields.BigIntField(null=True)

    class Meta:
        table = "stores"
        unique_together = (("platform", "external_id"),)


class Member(Model):
    """A person in a program. A guest is a member none of whose store customers has an account."""

    id = fields.BigIntField(primary_key=True)
    program_id = fields.BigIntField()
    match_store_id = fields.BigIntField()  # e-mails are matched within this store; 0: across the program
    email = fields.TextField(null=True)  # normalised
    name = fields.TextField(null=True)
    has_account = fields.BooleanField(default=False)
    home_store_id = fields.BigIntField()  # decides the time zone and which store gets the code
    joined_on = fields.DateField(null=True)
    joined_md = fields.SmallIntField(null=True)
    joined_set_by = fields.TextField(null=True)
    birthday_md = fields.SmallIntField(null=True)  # month x 100 + day
    birthday_year = fields.SmallIntField(null=True)
    birthday_set_by = fields.TextField(null=True)
    birthday_set_at = fields.DatetimeField(null=True)
    dates_changed_at = fields.DatetimeField(null=True)
    merged_into = fields.BigIntField(null=True)
    balance = fields.BigIntField(default=0)  # a copy of the sum of the member's own entries
    created_at = fields.DatetimeField(auto_now_add=True)

    class Meta:
        table = "members"


class StoreCustomer(Model):
    """A person's record in one store; a guest's is made from their e-mail (`guest:…`)."""

    id = fields.BigIntField(primary_key=True)
    program_id = fields.BigIntField()
    store_id = fields.BigIntField()
    member_id = fields.BigIntField()
    external_id = fields.TextField()
    has_account = fields.BooleanField()
    email_given = fields.TextField(null=True)
    email = fields.TextField(null=True)
    name = fields.TextField(null=True)
    phone = fields.TextField(null=True)
    locale = fields.TextField(null=True)
    accepts_marketing = fields.BooleanField(null=True)
    joined_at = fields.DatetimeField(null=True)
    source_updated_at = fields.DatetimeField(null=True)
    deleted_at = fields.DatetimeField(null=True)
    metadata: dict[str, str] = fields.JSONField(default=dict)

    class Meta:
        table = "store_customers"
        unique_together = (("store_id", "external_id"),)


class Order(Model):
    """A purchase as last seen, merged from everything the platform said of it."""

    id = fields.BigIntField(primary_key=True)
    program_id = fields.BigIntField()
    store_id = fields.BigIntField()
    external_id = fields.TextField()
    store_customer_id = fields.BigIntField(null=True)
    status = fields.CharField(max_length=16)
    status_given = fields.TextField()
    currency = fields.TextField()  # shops make up their own: points, coins
    subtotal_minor = fields.BigIntField()
    tax_minor = fields.BigIntField()
    shipping_minor = fields.BigIntField()
    discount_minor = fields.BigIntField()
    total_minor = fields.BigIntField()
    placed_at = fields.DatetimeField()
    paid_at = fields.DatetimeField(null=True)
    cancelled_at = fields.DatetimeField(null=True)
    is_test = fields.BooleanField(default=False)
    codes = ArrayField(element_type="text", default=list)
    source_updated_at = fields.DatetimeField(null=True)
    deleted_at = fields.DatetimeField(null=True)  # the store removed it; only a later version brings it back

    class Meta:
        table = "orders"
        unique_together = (("store_id", "external_id"),)


class Refund(Model):
    """One repayment; its order may come later, so it is tied by the order's external id."""

    id = fields.BigIntField(primary_key=True)
    store_id = fields.BigIntField()
    order_external_id = fields.TextField()
    external_id = fields.TextField()
    total_minor = fields.BigIntField()
    subtotal_minor = fields.BigIntField(null=True)
    status = fields.CharField(max_length=16)
    refunded_at = fields.DatetimeField(null=True)

    class Meta:
        table = "refunds"
        unique_together = (("store_id", "order_external_id", "external_id"),)


class WayToEarn(Model):
    """One version of a way to earn; a change closes it and opens the next."""

    id = fields.BigIntField(primary_key=True)
    program: fields.ForeignKeyRelation[Program] = fields.ForeignKeyField("models.Program")
    kind = fields.CharField(max_length=16)  # sign_up | place_order
    version = fields.IntField()
    is_enabled = fields.BooleanField()
    points = fields.BigIntField()
    per_minor = fields.BigIntField(
        null=True
    )  # None: fixed points; else `points` for each so many minor units
    created_at = fields.DatetimeField(auto_now_add=True)
    superseded_at = fields.DatetimeField(null=True)

    class Meta:
        table = "ways_to_earn"
        unique_together = (("program_id", "kind", "version"),)


class LedgerEntry(Model):
    """Signed whole points with the key of the fact they are for. Appended, never changed."""

    id = fields.BigIntField(primary_key=True)
    program_id = fields.BigIntField()
    key = fields.TextField()
    round = fields.IntField(default=0)
    member_id = fields.BigIntField()
    store_customer_id = fields.BigIntField(null=True)
    store_id = fields.BigIntField()
    points = fields.BigIntField()
    reason = fields.CharField(max_length=32)  # sign_up | order | refund | correction | undo
    rule_version_id = fields.BigIntField(null=True)
    run_id = fields.BigIntField(null=True)
    reverses_id = fields.BigIntField(null=True)
    actor = fields.CharField(max_length=64)  # webhook | run | merchant…
    occurred_at = fields.DatetimeField()
    created_at = fields.DatetimeField(auto_now_add=True)

    class Meta:
        table = "ledger_entries"
        unique_together = (("program_id", "key", "round"),)


class Reward(Model):
    """What members get on an occasion. Its terms as of each change are kept as versions."""

    id = fields.BigIntField(primary_key=True)
    program: fields.ForeignKeyRelation[Program] = fields.ForeignKeyField("models.Program")
    name = fields.TextField()
    trigger = fields.CharField(max_length=16)  # birthday | joining
    is_on = fields.BooleanField(default=True)
    version = fields.IntField(default=1)
    changed_at = fields.DatetimeField()
    created_at = fields.DatetimeField(auto_now_add=True)

    class Meta:
        table = "rewards"


class RewardVersion(Model):
    """A reward's terms from one change to the next."""

    id = fields.BigIntField(primary_key=True)
    program_id = fields.BigIntField()
    reward: fields.ForeignKeyRelation[Reward] = fields.ForeignKeyField("models.Reward")
    version = fields.IntField()
    benefit: dict[str, object] = fields.JSONField()  # fields of rewards.records.Benefit
    lead_days = fields.IntField(default=0)
    validity_days = fields.IntField(default=30)
    code_prefix = fields.CharField(max_length=20, default="")
    generic_coupon_id = fields.BigIntField(null=True)
    rules: dict[str, object] = fields.JSONField(default=dict)
    created_at = fields.DatetimeField(auto_now_add=True)

    class Meta:
        table = "reward_versions"
        unique_together = (("program_id", "reward_id", "version"),)


class RewardProgress(Model):
    """Up to which local day a reward has been decided for a store."""

    id = fields.BigIntField(primary_key=True)
    store_id = fields.BigIntField()
    reward: fields.ForeignKeyRelation[Reward] = fields.ForeignKeyField("models.Reward")
    done_through = fields.DateField()
    ran_at = fields.DatetimeField()  # members and rewards changed after this are looked at again

    class Meta:
        table = "reward_progress"
        unique_together = (("store_id", "reward_id"),)


class Grant(Model):
    """One reward given to one member for one occasion."""

    id = fields.BigIntField(primary_key=True)
    program_id = fields.BigIntField()
    reward: fields.ForeignKeyRelation[Reward] = fields.ForeignKeyField("models.Reward")
    reward_version_id = fields.BigIntField()
    member_id = fields.BigIntField()
    store_id = fields.BigIntField()
    store_customer_id = fields.BigIntField(null=True)
    occasion = fields.CharField(max_length=32)
    occasion_on = fields.DateField()
    due_on = fields.DateField()
    valid_until = fields.DatetimeField()
    # decided → pushed → notified → redeemed | delivered | expired | revoked | failed; redeemed → returned → decided
    state = fields.CharField(max_length=16, default="decided")
    state_reason = fields.TextField(null=True)
    attempts = fields.IntField(default=0)
    try_after = fields.DatetimeField(null=True)
    decided_at = fields.DatetimeField()
    pushed_at = fields.DatetimeField(null=True)
    notified_at = fields.DatetimeField(null=True)
    redeemed_at = fields.DatetimeField(null=True)
    redeemed_order_id = fields.BigIntField(null=True)

    class Meta:
        table = "grants"
        unique_together = (("program_id", "reward_id", "member_id", "occasion"),)


class PromotionCode(Model):
    """A grant's code in one store: what the shopper types. A code that was used and given back is replaced by the next."""

    id = fields.BigIntField(primary_key=True)
    program_id = fields.BigIntField()
    store_id = fields.BigIntField()
    grant: fields.ForeignKeyRelation[Grant] = fields.ForeignKeyField("models.Grant")
    code = fields.TextField()
    code_key = fields.TextField()  # lower case: shoppers and platforms do not mind the case
    external_id = fields.TextField(null=True)
    coupon_external_id = fields.TextField(null=True)
    pushed_at = fields.DatetimeField(null=True)
    revoked_at = fields.DatetimeField(null=True)
    verified_at = fields.DatetimeField(null=True)
    difference = fields.TextField(null=True)
    is_shared = fields.BooleanField(
        default=False
    )  # the code of a coupon of the store's own, the same for all
    attempt = fields.SmallIntField(default=0)  # counts the codes that were replaced before this one
    # Store credit or a gift card: when the store was last asked to give it; committed before the request goes out.
    asked_at = fields.DatetimeField(null=True)
    replaced_at = fields.DatetimeField(null=True)

    class Meta:
        table = "promotion_codes"
        unique_together = (("store_id", "grant_id", "attempt"),)


class Coupon(Model):
    """A store's discount as last seen."""

    id = fields.BigIntField(primary_key=True)
    program_id = fields.BigIntField()
    store_id = fields.BigIntField()
    external_id = fields.TextField()
    code = fields.TextField(null=True)
    title = fields.TextField(null=True)
    kind = fields.CharField(max_length=16)
    basis_points = fields.IntField(null=True)
    amount_minor = fields.BigIntField(null=True)
    currency = fields.TextField(null=True)
    minimum_minor = fields.BigIntField(null=True)
    is_active = fields.BooleanField()
    starts_at = fields.DatetimeField(null=True)
    ends_at = fields.DatetimeField(null=True)
    usage_limit = fields.BigIntField(null=True)
    used_count = fields.BigIntField(null=True)
    customer_external_ids = ArrayField(element_type="text", default=list)
    emails = ArrayField(element_type="text", default=list)
    parent_external_id = fields.TextField(null=True)
    source_updated_at = fields.DatetimeField(null=True)
    deleted_at = fields.DatetimeField(null=True)
    verified_at = fields.DatetimeField(null=True)
    difference = fields.TextField(null=True)

    class Meta:
        table = "coupons"
        unique_together = (("store_id", "external_id"),)


class BackfillRun(Model):
    """One past-action run: preview, confirmation, progress, undo."""

    id = fields.BigIntField(primary_key=True)
    program_id = fields.BigIntField()
    store_id = fields.BigIntField()
    # previewed → confirmed → done → undoing → undone
    state = fields.CharField(max_length=16, default="previewed")
    rule_version_ids: list[int] = fields.JSONField(default=list)
    preview: dict[str, object] = fields.JSONField(default=dict)
    cursor: dict[str, object] = fields.JSONField(default=dict)
    counts: dict[str, object] = fields.JSONField(default=dict)
    actor = fields.CharField(max_length=64)
    created_at = fields.DatetimeField()
    confirmed_at = fields.DatetimeField(null=True)
    finished_at = fields.DatetimeField(null=True)
    undone_at = fields.DatetimeField(null=True)

    class Meta:
        table = "backfill_runs"


class ImportRun(Model):
    """One reading of a store's history (or, later, of an uploaded file)."""

    id = fields.BigIntField(primary_key=True)
    program_id = fields.BigIntField()
    store_id = fields.BigIntField()
    kind = fields.CharField(max_length=16, default="history")
    state = fields.CharField(max_length=16, default="running")  # running | done | failed | undone
    since = fields.DatetimeField(null=True)
    preview: dict[str, object] = fields.JSONField(default=dict)
    counts: dict[str, int] = fields.JSONField(default=dict)
    error = fields.TextField(null=True)
    started_at = fields.DatetimeField()
    confirmed_at = fields.DatetimeField(null=True)
    finished_at = fields.DatetimeField(null=True)
    undone_at = fields.DatetimeField(null=True)

    class Meta:
        table = "import_runs"


class ImportWindow(Model):
    """A part of an import run and how far it has come; the cursor is written with the rows it stands for."""

    id = fields.BigIntField(primary_key=True)
    store_id = fields.BigIntField()
    run: fields.ForeignKeyRelation[ImportRun] = fields.ForeignKeyField("models.ImportRun")
    noun = fields.CharField(max_length=16)
    position = fields.IntField()
    spec: dict[str, object] = fields.JSONField()
    cursor: dict[str, object] | None = fields.JSONField(null=True)
    records = fields.BigIntField(default=0)
    done_at = fields.DatetimeField(null=True)

    class Meta:
        table = "import_windows"
        unique_together = (("store_id", "run_id", "noun", "position"),)


class Delivery(Model):
    """One webhook post in the inbox."""

    id = fields.BigIntField(primary_key=True)
    store_id = fields.BigIntField()
    delivery_key = fields.TextField()
    topic = fields.TextField()
    headers: dict[str, str] = fields.JSONField()
    body = fields.BinaryField()
    received_at = fields.DatetimeField()
    state = fields.CharField(max_length=16, default="waiting")  # waiting | handled | broken
    attempts = fields.IntField(default=0)
    try_after = fields.DatetimeField(null=True)
    handled_at = fields.DatetimeField(null=True)
    note = fields.TextField(null=True)  # why it was ignored, or its last error

    class Meta:
        table = "deliveries"
        unique_together = (("store_id", "delivery_key"),)


class Budget(Model):
    """What a platform lets all our processes together spend on one store: see docs/decisions/0008-budgets-in-a-row.md."""

    id = fields.BigIntField(primary_key=True)
    store_id = fields.BigIntField()
    name = fields.TextField()
    full_at = fields.DatetimeField()  # by the database's clock
    opens_at = fields.DatetimeField()

    class Meta:
        table = "budgets"
        unique_together = (("store_id", "name"),)


class Places(Model):
    """How many calls at a time each of our processes has in a store: see docs/decisions/0012-places-on-a-board.md."""

    id = fields.BigIntField(primary_key=True)
    store_id = fields.BigIntField(unique=True)
    standing: dict[str, object] = fields.JSONField(default=dict)
    used_at = fields.DatetimeField()  # by the database's clock

    class Meta:
        table = "places"


class Ticket(Model):
    """What a text that a browser brings back stands for, for a short while."""

    id = fields.BigIntField(primary_key=True)
    platform = fields.CharField(max_length=32)
    digest = fields.BinaryField()  # of the text, which is not kept
    data = fields.BinaryField()  # sealed JSON
    ends_at = fields.DatetimeField()

    class Meta:
        table = "tickets"


class BirthdayWrite(Model):
    """A store that is to be told the birthday of one of its customers; which day that is, the member says."""

    id = fields.BigIntField(primary_key=True)
    program_id = fields.BigIntField()
    store_id = fields.BigIntField()
    store_customer_id = fields.BigIntField()
    state = fields.CharField(max_length=16, default="waiting")  # waiting | done | refused
    reason = fields.TextField(null=True)
    asked_at = fields.DatetimeField()
    done_at = fields.DatetimeField(null=True)

    class Meta:
        table = "birthday_writes"
        unique_together = (("store_id", "store_customer_id"),)


class ShownPoints(Model):
    """How many points a store shows in one customer's record, as last written; `refused` says why it could not be."""

    id = fields.BigIntField(primary_key=True)
    program_id = fields.BigIntField()
    store_id = fields.BigIntField()
    store_customer_id = fields.BigIntField()
    points = fields.BigIntField()
    refused = fields.TextField(null=True)
    shown_at = fields.DatetimeField()

    class Meta:
        table = "shown_points"
        unique_together = (("store_id", "store_customer_id"),)


class PrivacyRequest(Model):
    """Somebody's data is asked for, or a store's must go. Whose it is stands in ids only."""

    id = fields.BigIntField(primary_key=True)
    program_id = fields.BigIntField()
    store_id = fields.BigIntField()
    kind = fields.CharField(max_length=16)  # export | erase_store
    external_id = fields.TextField(null=True)  # of the customer, as the platform named them
    store_customer_ids = ArrayField(element_type="bigint", default=list)
    asked_at = fields.DatetimeField()
    done_at = fields.DatetimeField(null=True)  # exported last, or erased whole
    note = fields.TextField(null=True)

    class Meta:
        table = "privacy_requests"


class AuditEvent(Model):
    """Who changed what."""

    id = fields.BigIntField(primary_key=True)
    program_id = fields.BigIntField()
    store_id = fields.BigIntField(null=True)
    actor = fields.CharField(max_length=64)
    action = fields.CharField(max_length=64)
    subject = fields.TextField(null=True)
    detail: dict[str, object] = fields.JSONField(default=dict)
    at = fields.DatetimeField()

    class Meta:
        table = "audit_events"


EXTRA_SQL: tuple[str, ...] = (
    # Merged members keep their e-mail, so that whoever writes under it is still found (and a merge can be undone).
    """CREATE UNIQUE INDEX members_by_email ON members (program_id, match_store_id, email)
       WHERE email IS NOT NULL""",
    """CREATE INDEX members_by_birthday ON members (home_store_id, birthday_md, id)
       WHERE birthday_md IS NOT NULL AND merged_into IS NULL""",
    """CREATE INDEX members_by_joining_day ON members (home_store_id, joined_md, id)
       WHERE joined_md IS NOT NULL AND merged_into IS NULL""",
    """CREATE INDEX members_by_dates_changed ON members (home_store_id, dates_changed_at)
       WHERE dates_changed_at IS NOT NULL""",
    # A small shop among many must not walk through everybody else's members.
    "CREATE INDEX members_by_program ON members (program_id, id)",
    "CREATE INDEX members_merged ON members (merged_into) WHERE merged_into IS NOT NULL",
    "CREATE INDEX store_customers_by_member ON store_customers (member_id)",
    "CREATE INDEX orders_by_id ON orders (store_id, id)",
    "CREATE INDEX orders_by_customer ON orders (store_customer_id)",
    # Every search would go through all of a waiting list of new entries first.
    "CREATE INDEX orders_by_code ON orders USING gin (codes) WITH (fastupdate = off) WHERE codes <> '{}'",
    """ALTER TABLE members ADD CONSTRAINT members_birthday_is_a_day
       CHECK (birthday_md IS NULL OR (birthday_md % 100 BETWEEN 1 AND CASE birthday_md / 100
              WHEN 2 THEN 29 WHEN 4 THEN 30 WHEN 6 THEN 30 WHEN 9 THEN 30 WHEN 11 THEN 30 ELSE 31 END
              AND birthday_md / 100 BETWEEN 1 AND 12))""",
    "CREATE INDEX ledger_by_member ON ledger_entries (member_id, id)",
    "CREATE INDEX ledger_by_program ON ledger_entries (program_id, id)",
    "CREATE INDEX ledger_by_run ON ledger_entries (run_id, id) WHERE run_id IS NOT NULL",
    "CREATE INDEX ledger_by_reversed ON ledger_entries (reverses_id) WHERE reverses_id IS NOT NULL",
    "CREATE UNIQUE INDEX ways_current ON ways_to_earn (program_id, kind) WHERE superseded_at IS NULL",
    # By attempts first, so that a batch that fails again and again does not stand before all others.
    "CREATE INDEX grants_to_push ON grants (store_id, attempts, id) WHERE state = 'decided'",
    """CREATE INDEX grants_by_end ON grants (store_id, valid_until)
       WHERE state IN ('decided', 'pushed', 'notified')""",
    "CREATE INDEX grants_by_order ON grants (redeemed_order_id) WHERE redeemed_order_id IS NOT NULL",
    "CREATE INDEX grants_by_member ON grants (member_id, reward_id, occasion_on)",
    "CREATE INDEX promotion_codes_by_external_id ON promotion_codes (store_id, external_id)",
    # A code names one grant, but for codes that are shared on purpose; a grant has one code that counts.
    "CREATE UNIQUE INDEX promotion_codes_own ON promotion_codes (store_id, code_key) WHERE NOT is_shared",
    "CREATE INDEX promotion_codes_shared ON promotion_codes (store_id, code_key) WHERE is_shared",
    "CREATE UNIQUE INDEX promotion_codes_current ON promotion_codes (store_id, grant_id) WHERE replaced_at IS NULL",
    "CREATE INDEX grants_refused ON grants (store_id, id) WHERE state = 'failed'",
    "CREATE INDEX grants_returned ON grants (store_id, id) WHERE state = 'returned'",
    "CREATE INDEX birthday_writes_waiting ON birthday_writes (store_id, id) WHERE state = 'waiting'",
    "CREATE INDEX privacy_requests_by_store ON privacy_requests (store_id, id)",
    "CREATE INDEX deliveries_waiting ON deliveries (store_id, id) WHERE state = 'waiting'",
    "CREATE INDEX audit_by_program ON audit_events (program_id, id)",
    "CREATE INDEX import_runs_by_store ON import_runs (store_id, id)",
    "CREATE INDEX import_windows_by_run ON import_windows (run_id)",
    "CREATE UNIQUE INDEX tickets_by_digest ON tickets (platform, digest)",
)
