"""Key files: the ring of AES keys for routing ufrags, read, checked and made here.

No message and no repr shows a secret. A file that others may read or change is refused, because whoever has the
active key can send packets to every transceiver.
"""

from __future__ import annotations

import base64
import hmac
import os
import re
import secrets
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from rtcrelay._dataplane import UFRAG_LENGTH, KeyRing
from rtcrelay.config.text import is_loopback
from rtcrelay.errors import BackendError, ConfigError, ExitStatus, UsageError
from rtcrelay.secret_files import read_secret_file

DEMO_SECRET = b"rtcrelay-demo-01"
"""The published key of `rtcrelay demo` (16 bytes). Worth nothing, so accepted on loopback only."""

MAX_KEY_ID = 7
"""Three bits of the ufrag's first character."""

_TIMES = ("created", "changed")
_STATES = ("active", "accept", "revoked")
_BASE32 = "abcdefghijklmnopqrstuvwxyz234567"
_HEX_SECRET = re.compile(r"[0-9a-fA-F]{32}")
_MAKE_ONE = "make one with 'rtcrelay keys generate -o FILE'"
_MAX_FILE_BYTES = 65_536


@dataclass(frozen=True, slots=True)
class Key:
    """One key of a ring."""

    id: int
    """0 to 7, goes into the ufrag."""
    secret: bytes = field(repr=False)
    """The AES-128 key, 16 bytes."""
    state: str
    """``active`` mints and accepts, ``accept`` accepts only, ``revoked`` is refused."""
    created: datetime | None = None
    """When it was made, as the file says."""
    changed: datetime | None = None
    """When its state changed last, as the file says; None: never, or nobody wrote it down."""

    @property
    def fingerprint(self) -> str:
        """First 8 hexadecimal digits of HMAC-SHA256(secret, "id"): says which key it is, not what."""
        return hmac.digest(self.secret, b"id", "sha256").hex()[:8]


@dataclass(frozen=True, slots=True)
class KeyFile:
    """A key file that was read and is sound."""

    path: Path
    """Where it was read."""
    ring: KeyRing
    """The keys, for the codecs and the relay."""
    keys: tuple[Key, ...]
    """The keys by id."""

    @property
    def active_id(self) -> int | None:
        """The id of the key that mints, or None."""
        return self.ring.active

    @property
    def has_demo_key(self) -> bool:
        """Whether a key that is accepted is the published one."""
        return any(key.secret == DEMO_SECRET and key.state != "revoked" for key in self.keys)

    def report(self) -> list[dict[str, Any]]:
        """What a server tells about its keys: id, state and fingerprint of each."""
        return [{"id": key.id, "state": key.state, "fingerprint": key.fingerprint} for key in self.keys]

    def fingerprints(self) -> list[tuple[int, str]]:
        """(id, fingerprint) of every key, by id."""
        return [(key.id, key.fingerprint) for key in self.keys]

    def probe_password(self, ufrag: str) -> str | None:
        """The password of a probe ufrag, 24 characters; None if the key that it names is unknown or revoked.

        Not a promise that the ufrag opens: `open_ufrag` says so.
        """
        key_id = key_id_of(ufrag)
        for key in self.keys:
            if key.id == key_id and key.state != "revoked":
                digest = hmac.digest(key.secret, b"rtcrelay probe 1" + ufrag.encode(), "sha256")
                return base64.urlsafe_b64encode(digest).decode()[:24]
        return None


def key_id_of(ufrag: str) -> int | None:
    """The key that a ufrag names, 0 to 7; None if it is no ufrag of ours. Not a promise that it opens."""
    version, key_id = divmod(_BASE32.find(ufrag[:1]) if len(ufrag) == UFRAG_LENGTH else -1, 8)
    return key_id if version == 0 else None


def load_key_file(path: Path) -> KeyFile:
    """Reads a key ring. Raises ConfigError that names the file, the key by index, and what was expected."""
    try:
        content = tomllib.loads(read_secret_file(path, "key file", _MAX_FILE_BYTES, hint=_MAKE_ONE).decode())
    except UnicodeDecodeError as error:
        raise ConfigError(f"key file {path} is not UTF-8 text") from error
    except tomllib.TOMLDecodeError as error:
        # The parser's message quotes no content but a character, and gives line and column.
        message = str(error)
        raise ConfigError(f"key file {path} is not valid TOML: {message[:1].lower()}{message[1:]}") from None
    tables = content.get("keys")
    if not isinstance(tables, list) or not tables or set(content) != {"keys"}:
        raise ConfigError(f"key file {path} must hold one or more [[keys]] tables and nothing else")
    keys = tuple(_key(path, index, table) for index, table in enumerate(tables))
    _check_ring(path, keys)
    ring = KeyRing([(key.id, key.secret, key.state) for key in keys])  # type: ignore[misc]  # state is checked text
    return KeyFile(path, ring, tuple(sorted(keys, key=lambda key: key.id)))


def refuse_demo_key(key_file: KeyFile, addresses: Iterable[str]) -> None:
    """Raises ConfigError if the ring accepts the published demo key and any address or network is not loopback."""
    if not key_file.has_demo_key:
        return
    for address in addresses:
        if not is_loopback(address):
            raise ConfigError(
                f"key file {key_file.path} holds the published demo key, which is accepted only where every address"
                f" is a loopback address, and {address} is not",
                hint="make a key of your own with 'rtcrelay keys generate -o keys.toml'",
            )


def require_active_key(key_file: KeyFile) -> int:
    """The id of the key that mints. Raises ConfigError if the ring has none."""
    if key_file.active_id is None:
        raise ConfigError(
            f"key file {key_file.path} has no active key, so no ufrag can be minted",
            hint='one key needs state = "active"',
        )
    return key_file.active_id


def generate(key_id: int = 0, *, now: datetime | None = None) -> str:
    """A key file with one new active key. ``key_id`` is 0 to 7."""
    return format_key(key_id, secrets.token_bytes(16), now or datetime.now(UTC))


def format_key(key_id: int, secret: bytes, created: datetime) -> str:
    """A key file with one active key of a given secret (16 bytes)."""
    return (
        "# A secret of rtcrelay: all relays and transceivers behind one public address share this file.\n"
        "[[keys]]\n"
        f"id = {key_id}\n"
        f'secret = "{secret.hex()}"\n'
        'state = "active"\n'
        f"created = {format_time(created)}\n"
    )


def format_time(time: datetime) -> str:
    """A time as RFC 3339 in UTC, to the second."""
    return f"{time.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"


def write_key_file(path: Path, content: str, *, force: bool = False) -> None:
    """Writes a key file that only its owner may read (0600). An existing file is replaced only with ``force``."""
    if not path.name or "\0" in str(path):
        raise UsageError(f"{str(path)!r} is no name of a key file", hint="name a file, such as keys.toml")
    try:
        if force:
            _replace(path, content)
        else:
            _create(path, content)
    except FileExistsError as error:
        raise UsageError(
            f"key file {path} exists already, and what was minted with its keys would stop working",
            hint="name another file, or replace it with --force",
            status=ExitStatus.PROBLEM,
        ) from error
    except OSError as error:
        raise BackendError(f"cannot write key file {path}: {_reason(error)}", status=ExitStatus.IO) from error


def _create(path: Path, content: str) -> None:
    """Leaves nothing behind if it fails: half a key file is a secret without a use."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(content)
    except BaseException:
        path.unlink(missing_ok=True)
        raise


def _replace(path: Path, content: str) -> None:
    """A new file and a rename: nobody who has the old one open sees the new secret, and no half of it."""
    beside = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    _create(beside, content)
    try:
        os.replace(beside, path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise


def _key(path: Path, index: int, table: object) -> Key:
    # No wrong value is shown: what stands in a wrong place may be the secret.
    where = f"key file {path}: keys[{index}]"
    if not isinstance(table, Mapping):
        raise ConfigError(f"{where} must be a table")
    _check_fields(where, table)
    key_id, secret, state = (table.get(name) for name in ("id", "secret", "state"))
    if type(key_id) is not int or not 0 <= key_id <= MAX_KEY_ID:
        raise ConfigError(f"{where}.id must be a whole number from 0 to {MAX_KEY_ID}")
    if not isinstance(secret, str) or not _HEX_SECRET.fullmatch(secret):
        found = f"{len(secret)} characters" if isinstance(secret, str) else f"a {type(secret).__name__}"
        raise ConfigError(f"{where}.secret must be 32 hexadecimal digits, not {found}")
    if state not in _STATES:
        raise ConfigError(f"{where}.state must be {', '.join(_STATES[:2])} or {_STATES[2]}")
    created, changed = (_time(f"{where}.{name}", table.get(name)) for name in _TIMES)
    return Key(key_id, bytes.fromhex(secret), str(state), created, changed)


def _time(where: str, time: object) -> datetime | None:
    if time is None:
        return None
    if not isinstance(time, datetime):
        raise ConfigError(f"{where} must be a date and time such as 2026-11-22T10:00:00Z")
    return time if time.tzinfo is not None else time.replace(tzinfo=UTC)


def _check_fields(where: str, table: Mapping[str, Any]) -> None:
    known = ("id", "secret", "state", *_TIMES)
    for name in known[:3]:
        if name not in table:
            raise ConfigError(f"{where}.{name} is missing")
    unknown = sorted(set(table) - set(known))
    if unknown:
        near = get_close_matches(unknown[0], known, 1)
        raise ConfigError(
            f"{where}: unknown key {unknown[0]}, expected id, secret, state, created and changed",
            hint=f"did you mean {near[0]}?" if near else None,
        )


def _check_ring(path: Path, keys: tuple[Key, ...]) -> None:
    ids: dict[int, int] = {}
    secret_of: dict[bytes, int] = {}
    active: int | None = None
    for index, key in enumerate(keys):
        where = f"key file {path}: keys[{index}]"
        if key.id in ids:
            raise ConfigError(f"{where}.id is {key.id}, as keys[{ids[key.id]}].id already, expected each id once")
        if key.secret in secret_of:
            raise ConfigError(f"{where}.secret is the same as keys[{secret_of[key.secret]}].secret, expected a new one")
        if key.state == "active" and active is not None:
            raise ConfigError(f"{where}.state is active, as keys[{active}].state already, expected one active key")
        ids[key.id] = index
        secret_of[key.secret] = index
        active = index if key.state == "active" else active


def _reason(error: OSError) -> str:
    return (error.strerror or str(error)).lower()
