"""The house stands: this checkout obeys its arrows, and the check sees it when one does not."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from scripts.feature_ids import known_ids
from scripts.house import House

ROOT = Path(__file__).parents[1]
SHARED = ROOT.parent / "shared"


def made(root: Path, files: dict[str, str]) -> list[str]:
    """What the check says about a small house of these files, which has the platform "acme"."""
    for name, text in {"connectors/acme/__init__.py": "", **files}.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return [str(finding) for finding in House(root).findings()]


def test_this_checkout_obeys_its_arrows() -> None:
    assert [str(finding) for finding in House(ROOT).findings()] == []


@pytest.mark.parametrize(
    ("path", "line"),
    [
        ("rewards/a.py", "import storage"),
        ("rewards/a.py", "import aiohttp"),
        ("rewards/a.py", "import asyncio"),
        ("rewards/a.py", "def f() -> None:\n    from time import time"),
        ("rewards/a.py", "from datetime import date\n\nx = date.today()"),
        ("rewards/a.py", "x = open('y')"),
        ("storage/a.py", "from connectors.base import Store"),
        ("storage/a.py", "import sync.apply"),
        ("connectors/base.py", "from storage import tables"),
        ("connectors/acme/store.py", "import storage.tables"),
        ("connectors/acme/store.py", "from ...storage import tables"),
        ("sync/a.py", "import webhooks"),
        ("sync/a.py", "from app import wiring"),
        ("webhooks/a.py", "import app.wiring"),
        ("sandbox/a.py", "from rewards import money"),
        ("app/a.py", "from sandbox import world"),
        ("sync/a.py", "from tests import helpers"),
        ("app/demo.py", "from benchmarks import history"),
        ("benchmarks/limits/a.py", "from rewards import money"),
        ("benchmarks/limits/a.py", "def f() -> None:\n    import storage"),
    ],
)
def test_a_wrong_import_is_seen(tmp_path: Path, path: str, line: str) -> None:
    findings = made(tmp_path, {path: line})
    assert len(findings) == 1
    assert findings[0].startswith(f"{path}:")


@pytest.mark.parametrize(
    ("path", "line"),
    [
        ("sync/a.py", "from connectors import acme"),
        ("app/wiring.py", "import connectors.acme.store"),
        ("webhooks/a.py", "from connectors.acme import CONNECTOR"),
        ("connectors/base.py", "from .acme import CONNECTOR"),
        ("connectors/other/__init__.py", "from connectors.acme.mapping import order"),
    ],
)
def test_a_platform_is_imported_only_within_its_folder(tmp_path: Path, path: str, line: str) -> None:
    assert any(
        "only a platform's own folder imports it" in finding for finding in made(tmp_path, {path: line})
    )


def test_arrows_that_point_down_are_fine(tmp_path: Path) -> None:
    files = {
        "app/wiring.py": "import webhooks\nimport sync.apply\nfrom connectors.base import Connector\nimport rewards",
        "app/demo.py": "from sandbox import acme\nfrom app import wiring",
        "webhooks/lane.py": "from . import inbox\nfrom sync import apply\nfrom storage.tables import Store",
        "sync/apply.py": "from storage import tables\nfrom connectors import base\nfrom rewards.money import exponent",
        "storage/tables.py": "import psycopg\nfrom rewards import records",
        "connectors/acme/store.py": "import aiohttp\nfrom connectors.acme.mapping import order\nfrom ..base import Store",
        "rewards/occasions.py": "from datetime import date\nfrom zoneinfo import ZoneInfo\nfrom rewards.errors import X",
        "sandbox/acme.py": "from sandbox.server import Sandbox\nimport aiohttp",
        "tests/test_a.py": "from app import wiring\nfrom sandbox import acme",
        "benchmarks/history.py": "import sync.apply\nfrom benchmarks.limits import acme",
    }
    assert made(tmp_path, files) == []


@pytest.mark.parametrize(
    ("path", "text", "is_seen"),
    [
        ("sync/a.py", "if platform == 'acme': pass", True),
        ("app/templates/page.html", "<p>Acme</p>", True),
        ("storage/a.py", "# as AcmePay does", True),
        ("connectors/base.py", '"""Like Acme."""', True),
        ("sync/a.py", "striped = 1", False),
        ("app/demo.py", "STORES = ['acme']", False),
        ("sandbox/acme.py", "NAME = 'acme'", False),
        ("connectors/acme/mapping.py", "PLATFORM = 'acme'", False),
        ("tests/test_a.py", "NAME = 'acme'", False),
        ("app/README.md", "Acme", False),
    ],
)
def test_a_platform_is_named_only_in_its_own_places(
    tmp_path: Path, path: str, text: str, is_seen: bool
) -> None:
    assert [finding.partition(":")[0] for finding in made(tmp_path, {path: text})] == (
        [path] if is_seen else []
    )


def test_a_word_for_stripes_is_no_platform(tmp_path: Path) -> None:
    files = {"connectors/stripe/__init__.py": "", "app/a.css": ".striped {}", "app/b.css": ".stripe {}"}
    assert [finding.partition(":")[0] for finding in made(tmp_path, files)] == ["app/b.css"]


def test_a_function_that_fits_no_screen_is_seen(tmp_path: Path) -> None:
    findings = made(tmp_path, {"sync/a.py": "def f() -> None:\n" + "    x = 1\n" * 70})
    assert findings == ["sync/a.py:1: f has 71 lines; 70 are the most"]
    assert made(tmp_path, {"sync/a.py": "def f() -> None:\n" + "    x = 1\n" * 69}) == []


def test_a_mark_names_a_statement_that_exists(tmp_path: Path) -> None:
    text = "import pytest\n\n@pytest.mark.feature({})\ndef test_a() -> None: ...\n"
    assert made(tmp_path, {"tests/test_a.py": text.format('"R-12", "B-08"')}) == []
    assert (
        "there is no statement R-99" in made(tmp_path, {"tests/test_a.py": text.format('"R-12", "R-99"')})[0]
    )
    assert "S-12 is not a behaviour" in made(tmp_path, {"tests/test_a.py": text.format('"S-12"')})[0]


@pytest.mark.skipif(not SHARED.is_dir(), reason="the list of statements is not beside this checkout")
def test_the_list_of_ids_is_the_list_of_statements() -> None:
    rows = re.findall(
        r"^\| ([A-Z]-\d+) \| (.*)$", (SHARED / "features.md").read_text(encoding="utf-8"), re.MULTILINE
    )
    assert known_ids() == {number: "(not a behaviour" not in text for number, text in rows}


def test_both_locks_hold_the_same_versions() -> None:
    """A checkout set up for tests can then run the demo without installing anything else."""
    run, dev = (_pins(ROOT / name) for name in ("requirements.txt", "requirements-dev.txt"))
    assert run.items() <= dev.items()


def test_the_locks_name_hashes_and_no_index() -> None:
    for name in ("requirements.txt", "requirements-dev.txt"):
        text = (ROOT / name).read_text(encoding="utf-8")
        assert "--hash=sha256:" in text
        assert not re.search(r"^\s*--(index|extra-index|find-links|trusted)", text, re.MULTILINE)
        assert "://" not in text


def _pins(lock: Path) -> dict[str, str]:
    return dict(
        re.findall(r"^([a-z0-9._-]+)(?:\[[^]]*\])?==(\S+)", lock.read_text(encoding="utf-8"), re.MULTILINE)
    )
