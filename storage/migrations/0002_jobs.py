"""The job engine's tables and functions.

Kept as text of the version they came from: the installed version's own text would give new databases what old ones get
from a later migration.
"""

from __future__ import annotations

from pathlib import Path

from tortoise import migrations
from tortoise.migrations import operations as ops


class Migration(migrations.Migration):
    dependencies = [("models", "0001_initial")]

    operations = [
        ops.RunSQL((Path(__file__).parent / "procrastinate_3_10.sql").read_text(encoding="utf-8")),
    ]
