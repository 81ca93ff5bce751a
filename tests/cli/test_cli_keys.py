"""``rtcrelay keys``: what it writes and shows, and that it never shows a secret."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rtcrelay import keys

from .conftest import Cli


def test_generate_writes_a_private_file_and_says_so_on_stderr(cli: Cli, tmp_path: Path) -> None:
    path = tmp_path / "new.toml"
    done = cli("keys", "generate", "-o", str(path), "--id", "5")
    fingerprint = keys.load_key_file(path).fingerprints()[0][1]
    assert (done.status, done.out) == (0, "")
    assert done.err == f"wrote {path}: key 5, fingerprint {fingerprint}\n"
    assert path.stat().st_mode & 0o777 == 0o600


def test_generate_without_a_file_prints_one(cli: Cli, tmp_path: Path) -> None:
    done = cli("keys", "generate")
    assert (done.status, done.err) == (0, "")
    path = tmp_path / "copy.toml"
    keys.write_key_file(path, done.out)
    assert keys.load_key_file(path).active_id == 0


def test_generate_replaces_a_file_only_by_force(cli: Cli, key_file: str) -> None:
    before = Path(key_file).read_text()
    done = cli("keys", "generate", "-o", key_file)
    assert done.status == 1
    assert done.err == (
        f"rtcrelay: error: key file {key_file} exists already, and what was minted with its keys would stop working\n"
        "hint: name another file, or replace it with --force\n"
    )
    assert Path(key_file).read_text() == before
    assert cli("keys", "generate", "-o", key_file, "--force", "-q").err == ""
    assert Path(key_file).read_text() != before


@pytest.mark.parametrize("number", ["8", "-1", "x"])
def test_generate_refuses_an_id_that_does_not_fit(cli: Cli, number: str) -> None:
    done = cli("keys", "generate", "--id", number)
    assert (done.status, done.out) == (2, "")
    assert done.err == f"rtcrelay: error: --id: {number!r} is not a whole number from 0 to 7\n"


def test_generate_into_no_directory_is_an_io_error(cli: Cli) -> None:
    done = cli("keys", "generate", "-o", "/nonexistent/keys.toml")
    assert done.status == 74
    assert done.err == "rtcrelay: error: cannot write key file /nonexistent/keys.toml: no such file or directory\n"


@pytest.mark.parametrize("name", ["", ".", "/"])
@pytest.mark.parametrize("force", [(), ("--force",)], ids=["", "force"])
def test_generate_into_what_is_no_file_name_is_a_matter_of_usage(cli: Cli, name: str, force: tuple[str, ...]) -> None:
    done = cli("keys", "generate", "-o", name, *force)
    assert (done.status, done.out) == (2, "")
    assert "is no name of a key file" in done.err


def test_generate_that_fails_leaves_no_secret_behind(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "keys.toml").mkdir()
    (tmp_path / "keys.toml" / "something").touch()
    done = cli("keys", "generate", "-o", str(tmp_path / "keys.toml"), "--force")
    assert done.status == 74
    assert "cannot write key file" in done.err
    assert [path.name for path in tmp_path.iterdir()] == ["keys.toml"]


def test_list_shows_fingerprints_and_no_secret(cli: Cli, key_file: str) -> None:
    secret = keys.load_key_file(Path(key_file)).keys[0].secret.hex()
    plain = cli("keys", "list", "--key-file", key_file)
    as_json = cli("keys", "list", "--key-file", key_file, "--json")
    assert plain.out.splitlines()[0] == "ID  STATE   FINGERPRINT  CREATED               CHANGED"
    (row,) = json.loads(as_json.out)
    assert (row["kind"], row["v"], row["id"], row["state"]) == ("key", 1, 3, "active")
    assert row["created"].endswith("Z")
    assert f" 3  active  {row['fingerprint']}     {row['created']}" in plain.out
    assert secret not in plain.out + as_json.out


def test_list_refuses_a_file_that_others_can_read(cli: Cli, key_file: str) -> None:
    Path(key_file).chmod(0o644)
    done = cli("keys", "list", "--key-file", key_file)
    assert (done.status, done.out) == (78, "")
    assert done.err == (
        f"rtcrelay: error: key file {key_file} has mode 0644: others may read or change it, expected 0600, 0400 or"
        f" 0440\nhint: chmod 600 {key_file}\n"
    )
