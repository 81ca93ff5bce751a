"""The admin interface's socket: its mode, its place, and who was there before."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from rtcrelay.admin.unix_socket import AdminSocket
from rtcrelay.errors import BackendError, ExitStatus


def test_the_socket_is_for_owner_and_group_only_and_is_removed_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "made" / "relay.sock"
    with AdminSocket(path) as listener:
        assert listener is not None
        assert path.stat().st_mode & 0o777 == 0o660
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(path))
    assert not path.exists()


def test_no_path_means_no_socket() -> None:
    with AdminSocket(None) as listener:
        assert listener is None


def test_the_socket_of_a_dead_process_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "relay.sock"
    dead = socket.socket(socket.AF_UNIX)
    dead.bind(str(path))
    dead.close()
    assert path.is_socket()
    with AdminSocket(path) as listener:
        assert listener is not None


def test_the_socket_of_a_living_process_is_an_error_and_stays(tmp_path: Path) -> None:
    path = tmp_path / "relay.sock"
    with AdminSocket(path):
        with pytest.raises(BackendError, match="another process listens there") as caught, AdminSocket(path):
            pass
        assert caught.value.status == ExitStatus.OS
        assert path.is_socket()


def test_a_file_that_is_no_socket_is_never_removed(tmp_path: Path) -> None:
    path = tmp_path / "relay.sock"
    path.write_text("precious")
    with pytest.raises(BackendError, match="the file exists and is not a socket"), AdminSocket(path):
        pass
    assert path.read_text() == "precious"


def test_a_socket_that_another_process_put_in_our_place_is_not_removed(tmp_path: Path) -> None:
    path = tmp_path / "relay.sock"
    with AdminSocket(path):
        path.rename(tmp_path / "old.sock")
        path.write_text("theirs")
    assert path.read_text() == "theirs"


def test_a_place_that_cannot_be_had_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    path = tmp_path / "file" / "sub" / "relay.sock"
    with pytest.raises(BackendError) as caught, AdminSocket(path):
        pass
    assert str(caught.value) == f"cannot make admin socket {path}: not a directory"
    assert caught.value.hint == "--admin SOCKET names another place"


def test_a_successors_socket_takes_the_place_of_one_that_lives(tmp_path: Path) -> None:
    path = tmp_path / "relay.sock"
    old, new = AdminSocket(path), AdminSocket(path, replaces=True)
    with old:
        with new:
            new.take_place()
            old.leave()
            old.__exit__()
            with socket.socket(socket.AF_UNIX) as client:
                client.connect(str(path))
        assert list(tmp_path.iterdir()) == []


def test_a_successor_that_gives_up_leaves_the_place_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "relay.sock"
    with AdminSocket(path):
        with AdminSocket(path, replaces=True):
            pass
        assert list(tmp_path.iterdir()) == [path]
