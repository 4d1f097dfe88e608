"""Writes migrations: what the models say and the migrations do not yet.

`python -m storage.schema_changes` adds a migration; with `--initial` it writes the first one anew, which is only right
as long as no release holds it.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from tortoise.context import TortoiseContext
from tortoise.migrations.autodetector import MigrationAutodetector
from tortoise.migrations.migration import Migration
from tortoise.migrations.operations import AlterModelOptions, Operation, RunSQL
from tortoise.migrations.schema_generator.operation_generator import OperationGenerator
from tortoise.migrations.schema_generator.state import State
from tortoise.migrations.schema_generator.state_apps import StateApps
from tortoise.migrations.writer import MigrationWriter

from storage.database import APP_LABEL, APPS
from storage.tables import EXTRA_SQL

FOLDER = Path(__file__).parent / "migrations"


async def pending_operations(*, from_nothing: bool = False) -> list[Operation]:
    """What would bring the migrations' tables to the models'; `from_nothing` ignores the migrations."""
    context = TortoiseContext()
    engine = {"engine": "tortoise.backends.psycopg", "credentials": {"database": "never-opened"}}
    with context:
        await context.init(config={"connections": {"default": engine}, "apps": APPS})
        assert context.apps is not None
        detector = MigrationAutodetector(context.apps, APPS)
        old = State(models={}, apps=StateApps())
        if not from_nothing:
            await detector.loader.build_graph()
            old = await detector._project_state()
        found = OperationGenerator(old, detector._current_state()).generate(app_labels=[APP_LABEL])
        # A docstring is also a table's description; a better word there is no change of the schema.
        return [operation for operation in found if not isinstance(operation, AlterModelOptions)]


def pending_sql(migrations: Iterable[Migration]) -> list[str]:
    """Statements of EXTRA_SQL that no migration runs yet."""
    done = {
        _plain(statement)
        for migration in migrations
        for operation in migration.operations
        if isinstance(operation, RunSQL)
        for statement in ([operation.sql] if isinstance(operation.sql, str) else operation.sql)
    }
    return [statement for statement in EXTRA_SQL if _plain(statement) not in done]


async def existing_migrations() -> list[Migration]:
    """The migrations on disk, by number."""
    detector = MigrationAutodetector(None, APPS)  # type: ignore[arg-type]  # the loader needs no models
    await detector.loader.build_graph()
    return [migration for _, migration in sorted(detector.loader.disk_migrations.items())]


def _plain(statement: str) -> str:
    return " ".join(statement.split())


def _text(name: str, operations: Sequence[Operation], statements: Sequence[str], after: str | None) -> str:
    """A migration's source; `ruff format` gives it its shape."""
    writer = MigrationWriter(
        name,
        APP_LABEL,
        operations,
        dependencies=[] if after is None else [(APP_LABEL, after)],
        initial=after is None,
    )
    text = writer.as_string()
    if statements:
        listed = "".join(f"                {_plain(statement)!r},\n" for statement in statements)
        head, tail = text.rsplit("    ]\n", 1)
        text = f"{head}        ops.RunSQL(\n            [\n{listed}            ]\n        ),\n    ]\n{tail}"
    return f'"""Written by storage/schema_changes.py from the models."""\n\nfrom __future__ import annotations\n\n{text}'


async def write(*, initial: bool) -> Path | None:
    """Writes the migration and gives its path, or None when nothing has changed."""
    earlier = [] if initial else await existing_migrations()
    operations = await pending_operations(from_nothing=initial)
    statements = pending_sql(earlier)
    if not operations and not statements:
        return None
    last = earlier[-1].name if earlier else None
    name = "0001_initial" if last is None else f"{int(last[:4]) + 1:04d}_tables"
    path = FOLDER / f"{name}.py"
    path.write_text(_text(name, operations, statements, last), encoding="utf-8")
    return path


if __name__ == "__main__":
    written = asyncio.run(write(initial="--initial" in sys.argv[1:]))
    print(written.name if written else "The migrations agree with the models.")
