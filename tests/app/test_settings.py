"""Settings: what the environment says, and what is said about a wrong one."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import ValidationError

from app.settings import Settings, default_data_dir

ROOT = Path(__file__).parents[2]


def _printed(expression: str, **variables: str) -> str:
    """What an expression over the loaded settings gives in a process with these variables."""
    program = (
        "from app.settings import load_settings\n"
        "from rewards.errors import InvalidInputError\n"
        "try:\n    settings = load_settings()\n"
        "except InvalidInputError as error:\n    print('refused:', error)\n"
        f"else:\n    print(({expression}))\n"
    )
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PERENNIAL_")}
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        env=kept | variables,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


def test_nothing_has_to_be_set() -> None:
    assert _printed("settings.database.url, settings.key_text, settings.port") == "(None, None, 8000)"
    assert _printed("settings.data_dir") == str(default_data_dir())


def test_variables_are_read_and_empty_ones_are_as_good_as_none() -> None:
    printed = _printed(
        "settings.port, str(settings.data_dir), settings.database.url, settings.public_url",
        PERENNIAL_PORT="9000",
        PERENNIAL_DATA_DIR="/srv/perennial",
        PERENNIAL_DATABASE_URL="",
        PERENNIAL_PUBLIC_URL="https://rewards.example.com/",
    )
    assert printed == "(9000, '/srv/perennial', None, 'https://rewards.example.com')"


def test_secrets_do_not_show() -> None:
    settings = Settings(database_url="postgresql://me:hush@db/x", secret_key="hush")
    assert "hush" not in repr(settings)
    assert settings.database.url == "postgresql://me:hush@db/x"
    assert settings.key_text == "hush"


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("PERENNIAL_PORT", "hush", "PERENNIAL_PORT"),
        ("PERENNIAL_PORT", "70000", "PERENNIAL_PORT"),
        ("PERENNIAL_PUBLIC_URL", "ftp://hush", "https://perennial.example.com"),
        ("PERENNIAL_STALLED_SECONDS", "11", "twice PERENNIAL_HEARTBEAT_SECONDS"),
        ("PERENNIAL_WEBHOOK_BODY_LIMIT_BYTES", "0", "PERENNIAL_WEBHOOK_BODY_LIMIT_BYTES"),
    ],
)
def test_a_wrong_setting_is_named_and_its_value_is_not_shown(name: str, value: str, says: str) -> None:
    said = _printed("'accepted'", **{name: value})
    assert said.startswith("refused:")
    assert says in said
    assert "hush" not in said


def test_a_setting_that_does_not_exist_is_refused() -> None:
    with pytest.raises(ValidationError):
        Settings(prot=8000)


def test_a_platforms_app_is_read_as_it_is_written() -> None:
    printed = _printed(
        "{p: {n: v.get_secret_value() for n, v in app.items()} for p, app in settings.apps.items()}",
        PERENNIAL_APPS__ACME__CLIENT_ID="007",
        PERENNIAL_APPS__ACME__CLIENT_SECRET="12345e67",
        PERENNIAL_APPS__ACME__EMPTY="",
        PERENNIAL_APPS__OTHER__KEY="x__y",
    )
    assert printed == str(
        {"acme": {"client_id": "007", "client_secret": "12345e67"}, "other": {"key": "x__y"}}
    )
    assert "12345e67" not in _printed("settings", PERENNIAL_APPS__ACME__CLIENT_SECRET="12345e67")


def test_changes_are_not_read_more_often_than_they_are_looked_for() -> None:
    assert "POLL_MINUTES" in _printed("settings", PERENNIAL_POLL_MINUTES="5")
