"""Key files: what is accepted, what is refused and with which words, and that no secret gets out."""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rtcrelay import keys
from rtcrelay._dataplane import Route, mint_ufrag, open_ufrag
from rtcrelay.errors import ConfigError, ExitStatus, RtcrelayError

SECRET = "00112233445566778899aabbccddeeff"
OTHER = "ffeeddccbbaa99887766554433221100"


def entry(key_id: object = 0, secret: object = SECRET, state: object = "active", more: str = "") -> str:
    return f"[[keys]]\nid = {key_id}\nsecret = {quote(secret)}\nstate = {quote(state)}\n{more}\n"


def quote(value: object) -> str:
    return f'"{value}"' if isinstance(value, str) else str(value)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "keys.toml"


def write(path: Path, content: str | bytes, mode: int = 0o600) -> Path:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    path.chmod(mode)
    return path


def refused(path: Path) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        keys.load_key_file(path)
    assert caught.value.status == ExitStatus.CONFIG
    assert str(path) in str(caught.value)
    assert SECRET not in str(caught.value)
    assert OTHER not in str(caught.value)
    return caught.value


def test_a_ring_of_all_states_is_read(path: Path) -> None:
    content = entry(3, OTHER, "accept", "created = 2026-11-22T10:00:00Z") + entry(0) + entry(7, "ab" * 16, "revoked")
    key_file = keys.load_key_file(write(path, content))
    assert key_file.active_id == 0
    assert [(key.id, key.state) for key in key_file.keys] == [(0, "active"), (3, "accept"), (7, "revoked")]
    assert key_file.keys[1].created == datetime(2026, 11, 22, 10, tzinfo=UTC)
    route = Route("endpoint", 1, ip="10.0.0.1", port=7000, key_id=3)
    assert open_ufrag(key_file.ring, mint_ufrag(key_file.ring, route)) == route


def test_a_fingerprint_is_the_start_of_an_hmac(path: Path) -> None:
    key_file = keys.load_key_file(write(path, entry(2)))
    expected = hmac.new(bytes.fromhex(SECRET), b"id", hashlib.sha256).hexdigest()[:8]
    assert key_file.fingerprints() == [(2, expected)]


def test_a_probe_password_is_made_with_the_key_that_the_ufrag_names(path: Path) -> None:
    key_file = keys.load_key_file(write(path, entry(0) + entry(3, OTHER, "accept") + entry(5, "ab" * 16, "revoked")))
    ufrag = mint_ufrag(key_file.ring, Route("probe_node", 1, node=7, key_id=3))
    digest = hmac.new(bytes.fromhex(OTHER), f"rtcrelay probe 1{ufrag}".encode(), hashlib.sha256).digest()
    assert key_file.probe_password(ufrag) == base64.urlsafe_b64encode(digest).decode()[:24]
    assert key_file.probe_password("f" + ufrag[1:]) is None, "a revoked key"
    assert key_file.probe_password("b" + ufrag[1:]) is None, "no key"
    assert key_file.probe_password("i" + ufrag[1:]) is None, "another version"
    assert key_file.probe_password("A" + ufrag[1:]) is None, "not base32"
    assert key_file.probe_password(ufrag[:-1]) is None
    assert key_file.probe_password("") is None


def test_no_repr_shows_a_secret(path: Path) -> None:
    key_file = keys.load_key_file(write(path, entry()))
    for shown in (repr(key_file), str(key_file), repr(key_file.keys), repr(key_file.ring)):
        assert SECRET not in shown
        assert repr(bytes.fromhex(SECRET)) not in shown


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "must hold one or more [[keys]] tables and nothing else"),
        ("keys = 1", "must hold one or more [[keys]] tables and nothing else"),
        ("keys = []", "must hold one or more [[keys]] tables and nothing else"),
        (entry() + "[more]\n", "must hold one or more [[keys]] tables and nothing else"),
        ("keys = [1]", "keys[0] must be a table"),
        (entry(8), "keys[0].id must be a whole number from 0 to 7"),
        (entry(-1), "keys[0].id must be a whole number from 0 to 7"),
        (entry('"0"'), "keys[0].id must be a whole number from 0 to 7"),
        (entry("true").replace('"true"', "true"), "keys[0].id must be a whole number from 0 to 7"),
        (entry(secret=SECRET[:-1]), "keys[0].secret must be 32 hexadecimal digits, not 31 characters"),
        (entry(secret="g" * 32), "keys[0].secret must be 32 hexadecimal digits, not 32 characters"),
        (entry(secret=5), "keys[0].secret must be 32 hexadecimal digits, not a int"),
        (entry(state="on"), "keys[0].state must be active, accept or revoked"),
        (entry(state=SECRET), "keys[0].state must be active, accept or revoked"),
        (entry(more="created = 1"), "keys[0].created must be a date and time such as 2026-11-22T10:00:00Z"),
        (entry(more="changed = 'x'"), "keys[0].changed must be a date and time such as 2026-11-22T10:00:00Z"),
        (entry(more="colour = 1"), "keys[0]: unknown key colour, expected id, secret, state, created and changed"),
        ("[[keys]]\nid = 0\nstate = 'active'\n", "keys[0].secret is missing"),
        (entry(0) + entry(0, OTHER, "accept"), "keys[1].id is 0, as keys[0].id already, expected each id once"),
        (entry(0) + entry(1, OTHER), "keys[1].state is active, as keys[0].state already, expected one active key"),
        (entry(0) + entry(1, state="accept"), "keys[1].secret is the same as keys[0].secret, expected a new one"),
        (f"[[keys]]\nsecret = {SECRET}", "is not valid TOML: "),
        (b"\xff", "is not UTF-8 text"),
        (b"#" * 70_000, "is over 65536 bytes"),
    ],
)
def test_a_wrong_ring_is_refused_with_the_key_and_what_was_expected(
    path: Path, content: str | bytes, message: str
) -> None:
    assert message in str(refused(write(path, content)))


@pytest.mark.parametrize(
    ("mode", "why"),
    [
        (0o644, "has mode 0644: others may read or change it, expected 0600, 0400 or 0440"),
        (0o604, "has mode 0604: others may read or change it"),
        (0o602, "has mode 0602: others may read or change it"),
        (0o660, "has mode 0660: its group may change it"),
        (0o666, "has mode 0666: others may read or change it"),
    ],
)
def test_a_file_that_others_may_read_or_change_is_refused(path: Path, mode: int, why: str) -> None:
    error = refused(write(path, entry(), mode))
    assert why in str(error)
    assert error.hint == f"chmod 600 {path}"


@pytest.mark.parametrize("mode", [0o600, 0o400, 0o440, 0o640])
def test_a_file_for_its_owner_and_readers_of_its_group_is_accepted(path: Path, mode: int) -> None:
    assert keys.load_key_file(write(path, entry(), mode)).active_id == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away: run the tests as root")
def test_a_file_of_another_user_is_refused(path: Path) -> None:
    os.chown(write(path, entry()), 12345, -1)
    error = refused(path)
    assert "belongs to user 12345, who could change it, expected this user (0) or root" in str(error)


def test_what_is_no_readable_file_is_refused(path: Path, tmp_path: Path) -> None:
    error = refused(path)
    assert str(error) == f"cannot read key file {path}: no such file or directory"
    assert error.hint == "make one with 'rtcrelay keys generate -o FILE'"
    assert str(refused(tmp_path)) == f"key file {tmp_path} is not a regular file"
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo, 0o600)
    assert str(refused(fifo)) == f"key file {fifo} is not a regular file"


def test_a_symbolic_link_is_followed_and_its_target_checked(path: Path, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(write(path, entry(), 0o440))
    assert keys.load_key_file(link).active_id == 0
    path.chmod(0o444)
    refused(link)


def test_a_generated_file_is_private_and_is_read_back(path: Path) -> None:
    keys.write_key_file(path, keys.generate(3))
    assert path.stat().st_mode & 0o777 == 0o600
    key_file = keys.load_key_file(path)
    assert key_file.active_id == 3
    assert not key_file.has_demo_key
    other = path.with_name("other.toml")
    keys.write_key_file(other, keys.generate(3))
    assert keys.load_key_file(other).fingerprints() != key_file.fingerprints()


def test_an_existing_file_is_replaced_only_by_force_and_then_as_a_whole(path: Path) -> None:
    write(path, "precious", 0o644)
    with pytest.raises(RtcrelayError, match="exists already") as caught:
        keys.write_key_file(path, keys.generate())
    assert caught.value.status == ExitStatus.PROBLEM
    assert path.read_text() == "precious"
    keys.write_key_file(path, keys.generate(), force=True)
    assert keys.load_key_file(path).active_id == 0
    assert list(path.parent.iterdir()) == [path]


def test_a_file_that_cannot_be_written_is_an_io_error(tmp_path: Path) -> None:
    with pytest.raises(RtcrelayError, match=r"cannot write key file .*: no such file or directory") as caught:
        keys.write_key_file(tmp_path / "none" / "keys.toml", keys.generate())
    assert caught.value.status == ExitStatus.IO


def test_the_demo_key_is_accepted_on_loopback_only(path: Path) -> None:
    demo = keys.load_key_file(write(path, keys.format_key(0, keys.DEMO_SECRET, datetime.now(UTC))))
    assert demo.has_demo_key
    keys.refuse_demo_key(demo, ["127.0.0.1", "::1", "127.0.0.0/8:7000", "[::1/128]:7000"])
    for address in ("0.0.0.0", "::", "10.0.0.1", "10.0.0.0/8:7000", "0.0.0.0/0"):
        with pytest.raises(ConfigError, match="holds the published demo key") as caught:
            keys.refuse_demo_key(demo, ["127.0.0.1", address])
        assert f"and {address} is not" in str(caught.value)


def test_a_revoked_demo_key_and_other_keys_are_accepted_anywhere(path: Path) -> None:
    revoked = entry(0) + entry(1, keys.DEMO_SECRET.hex(), "revoked")
    keys.refuse_demo_key(keys.load_key_file(write(path, revoked)), ["10.0.0.1"])


TOML_VALUE = st.one_of(
    st.integers(-1, 9).map(str),
    st.sampled_from(['"active"', '"accept"', '"revoked"', f'"{SECRET}"', f'"{OTHER}"', "true", "[]", "{}", "1.5"]),
)
TABLE = st.dictionaries(st.sampled_from(["id", "secret", "state", "created", "x"]), TOML_VALUE).map(
    lambda table: "[[keys]]\n" + "".join(f"{name} = {value}\n" for name, value in table.items())
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary() | st.lists(TABLE, max_size=3).map(lambda tables: "".join(tables).encode()))
def test_any_file_gives_a_ring_or_one_sentence_without_a_secret(path: Path, content: bytes) -> None:
    write(path, content)
    sentence, count = "", 1
    try:
        count = len(keys.load_key_file(path).keys)
    except ConfigError as error:
        sentence = str(error)
    assert 1 <= count <= 8
    assert SECRET not in sentence
    assert OTHER not in sentence
    assert "\n" not in sentence
