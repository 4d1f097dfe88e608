"""Secrets at rest: bound to their place, openable with every key that is held, and with no other."""

from __future__ import annotations

import base64
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rewards.errors import DatabaseError
from storage.secrets import KEY_FILE, SecretBox, new_key

ROOT = Path(__file__).parents[2]
BOX = SecretBox.open(new_key(), Path())


@given(st.text(), st.integers(min_value=1), st.sampled_from(["credentials", "webhook_secrets"]))
def test_what_is_sealed_opens_again(plain: str, store_id: int, column: str) -> None:
    assert BOX.open_sealed(BOX.seal(plain, store_id, column), store_id, column) == plain


def test_the_sealed_value_does_not_show_the_plain_one(secret_box: SecretBox) -> None:
    sealed = secret_box.seal("shpat_0123456789", 1, "credentials")
    assert b"shpat" not in sealed
    assert sealed != secret_box.seal("shpat_0123456789", 1, "credentials")


@pytest.mark.parametrize(("store_id", "column"), [(2, "credentials"), (1, "webhook_secrets")])
def test_a_value_moved_to_another_place_does_not_open(
    secret_box: SecretBox, store_id: int, column: str
) -> None:
    sealed = secret_box.seal("hush", 1, "credentials")
    with pytest.raises(DatabaseError, match="altered or moved"):
        secret_box.open_sealed(sealed, store_id, column)


@given(st.integers(min_value=0, max_value=8 * 37 - 1))
def test_a_value_with_one_changed_bit_does_not_open(bit: int) -> None:
    sealed = bytearray(BOX.seal("hush", 1, "credentials"))
    sealed[bit // 8] ^= 1 << bit % 8
    with pytest.raises(DatabaseError):
        BOX.open_sealed(bytes(sealed), 1, "credentials")


@given(st.binary(max_size=40))
def test_rubbish_does_not_open(sealed: bytes) -> None:
    with pytest.raises(DatabaseError):
        BOX.open_sealed(sealed, 1, "credentials")


def test_another_key_says_which_key_is_missing(secret_box: SecretBox) -> None:
    sealed = secret_box.seal("hush", 7, "credentials")
    with pytest.raises(DatabaseError, match=r"row 7 .*PERENNIAL_SECRET_KEY") as raised:
        SecretBox.open(new_key(), Path()).open_sealed(sealed, 7, "credentials")
    assert "hush" not in str(raised.value)


def test_an_earlier_key_still_opens_and_the_newest_seals() -> None:
    old, new = new_key(), new_key()
    sealed = SecretBox.open(old, Path()).seal("hush", 1, "credentials")
    both = SecretBox.open(f"{new}, {old}", Path())
    assert both.open_sealed(sealed, 1, "credentials") == "hush"
    assert not both.is_current(sealed)
    again = both.seal("hush", 1, "credentials")
    assert both.is_current(again)
    assert SecretBox.open(new, Path()).open_sealed(again, 1, "credentials") == "hush"


@pytest.mark.parametrize("text", ["short", "x" * 44, base64.b64encode(b"1" * 31).decode(), "a,b"])
def test_what_is_no_key_is_refused_without_showing_it(text: str) -> None:
    with pytest.raises(DatabaseError, match="PERENNIAL_SECRET_KEY does not hold a key") as raised:
        SecretBox.open(text, Path())
    assert text not in str(raised.value).replace("32 random bytes", "")


def test_both_alphabets_of_base64_are_the_same_key() -> None:
    raw = bytes(range(224, 256))
    standard, url_safe = base64.b64encode(raw).decode(), base64.urlsafe_b64encode(raw).decode()
    assert standard != url_safe
    sealed = SecretBox.open(standard, Path()).seal("hush", 1, "c")
    assert SecretBox.open(url_safe, Path()).open_sealed(sealed, 1, "c") == "hush"


def test_without_a_setting_a_private_key_file_is_made_once(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    sealed = SecretBox.open(None, folder).seal("hush", 1, "credentials")
    assert stat.S_IMODE((folder / KEY_FILE).stat().st_mode) == 0o600
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert SecretBox.open("  ", folder).open_sealed(sealed, 1, "credentials") == "hush"
    assert [path.name for path in folder.iterdir()] == [KEY_FILE]


def test_processes_that_make_the_key_at_once_agree_on_one(tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from storage.secrets import SecretBox\n"
        "sys.stdin.readline()\n"
        "print(SecretBox.open(None, Path(sys.argv[1])).seal('hush', 1, 'c').hex())\n"
    )
    command = [sys.executable, "-c", program, str(tmp_path)]
    started = [
        subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(4)
    ]
    for process in started:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    box = SecretBox.open(None, tmp_path)
    for process in started:
        said, _ = process.communicate(timeout=30)
        assert box.open_sealed(bytes.fromhex(said.strip()), 1, "c") == "hush"


def test_a_key_file_that_others_may_read_is_refused(tmp_path: Path) -> None:
    SecretBox.open(None, tmp_path)
    (tmp_path / KEY_FILE).chmod(0o644)
    with pytest.raises(DatabaseError, match="chmod 600"):
        SecretBox.open(None, tmp_path)


def test_a_damaged_key_file_is_named(tmp_path: Path) -> None:
    SecretBox.open(None, tmp_path)
    (tmp_path / KEY_FILE).write_text("")
    with pytest.raises(DatabaseError, match=KEY_FILE):
        SecretBox.open(None, tmp_path)


def test_a_folder_where_no_key_can_be_made_is_named(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    with pytest.raises(DatabaseError, match="give the key as PERENNIAL_SECRET_KEY"):
        SecretBox.open(None, blocked / "data")
    assert os.listdir(tmp_path) == ["file"]
