"""A key file is changed in place: comments, mode, owner and links stay, and no reader sees half of it."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path

import pytest

from rtcrelay.errors import BackendError, ConfigError
from rtcrelay.key_edit import KeyFileEdit
from rtcrelay.keys import load_key_file

NOW = datetime(2026, 11, 22, 10, 0, 0, 123456, tzinfo=UTC)
FILE = """\
# The ring of site one.
[[keys]]  # the first
id = 3
secret = "00112233445566778899aabbccddeeff"   # hands off
state = "active"  # mints
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "keys.toml"
    path.write_text(FILE)
    path.chmod(0o640 & ~0o020)
    return path


def test_a_key_is_added_and_every_line_that_was_there_stays(path: Path) -> None:
    edit = KeyFileEdit(path, NOW)
    edit.add(4)
    ring = edit.save()
    assert path.read_text().startswith(FILE)
    assert [(key.id, key.state) for key in ring.keys] == [(3, "active"), (4, "accept")]
    assert ring.keys[1].created == NOW.replace(microsecond=0)
    assert ring.keys[1].changed is None
    assert len(set(ring.keys[1].secret)) > 4, "random"


def test_a_state_is_changed_and_the_time_noted(path: Path) -> None:
    edit = KeyFileEdit(path, NOW)
    edit.add(4)
    edit.set_states({3: "accept", 4: "active"})
    ring = edit.save()
    assert ring.active_id == 4
    assert [key.changed for key in ring.keys] == [NOW.replace(microsecond=0)] * 2
    for comment in ("# The ring of site one.", "# the first", "# hands off", "# mints"):
        assert comment in path.read_text()


def test_a_revoked_key_gives_its_id_to_a_new_one(path: Path) -> None:
    edit = KeyFileEdit(path, NOW)
    edit.add(4)
    edit.set_states({4: "revoked"})
    old = edit.save().keys[1]
    edit = KeyFileEdit(path, NOW)
    edit.add(4)
    new = edit.save().keys[1]
    assert (new.id, new.state) == (4, "accept")
    assert new.secret != old.secret


def test_mode_and_owner_stay(path: Path) -> None:
    path.chmod(0o440)
    if os.geteuid() == 0:
        os.chown(path, 0, 12345)
    before = path.stat()
    edit = KeyFileEdit(path, NOW)
    edit.add(4)
    edit.save()
    after = path.stat()
    assert (after.st_mode, after.st_uid, after.st_gid) == (before.st_mode, before.st_uid, before.st_gid)
    assert after.st_ino != before.st_ino, "another file in its place"


def test_a_link_stays_a_link_and_what_it_leads_to_changes(path: Path, tmp_path: Path) -> None:
    link = tmp_path / "link.toml"
    link.symlink_to(path)
    edit = KeyFileEdit(link, NOW)
    edit.add(4)
    edit.save()
    assert link.is_symlink()
    assert len(load_key_file(path).keys) == 2


def test_a_change_that_no_server_would_take_is_not_written(path: Path) -> None:
    edit = KeyFileEdit(path, NOW)
    edit.add(4)
    edit.set_states({4: "active"})
    with pytest.raises(ConfigError, match="expected one active key"):
        edit.save()
    assert path.read_text() == FILE
    assert [entry.name for entry in path.parent.iterdir()] == ["keys.toml"], "nothing is left behind"


def test_a_file_that_somebody_else_changed_meanwhile_is_left_to_them(path: Path) -> None:
    edit = KeyFileEdit(path, NOW)
    edit.add(4)
    path.write_text(FILE + "# a remark\n")
    with pytest.raises(ConfigError, match="was changed by somebody else meanwhile"):
        edit.save()
    assert path.read_text() == FILE + "# a remark\n"


def test_a_file_that_cannot_be_written_says_so(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(os, "replace", refuse)
    edit = KeyFileEdit(path, NOW)
    edit.add(4)
    with pytest.raises(BackendError, match="read-only file system") as caught:
        edit.save()
    assert "replace the secret" in str(caught.value.hint)
    assert path.read_text() == FILE
