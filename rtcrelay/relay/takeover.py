"""How does a new process take a relay over without losing a packet?

Over a Unix socket of the same user: the new process gets every descriptor and a snapshot of the path table, says it
is ready; the old one pauses, which leaves packets in the sockets' buffers, and sends what changed since; the new one
starts its workers and says so; the old one ends. If either word does not come in time, the old one goes on as if
nothing had happened.
"""

from __future__ import annotations

import json
import logging
import os
import socket
import struct
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from rtcrelay.errors import BackendError, ExitStatus

if TYPE_CHECKING:
    from rtcrelay._dataplane import Address, Relay

log = logging.getLogger("rtcrelay.relay")

VERSION: Final = 1
"""Of the words; the snapshot has its own."""
WORD_SECONDS: Final = 3.0
"""How long each side waits for the other's next word."""
_MAX_WORD_BYTES: Final = 1 << 20
_MAX_SNAPSHOT_BYTES: Final = 1 << 33
_DESCRIPTORS_A_MESSAGE: Final = 100
"""The kernel passes 253 at most (SCM_MAX_FD)."""
_DESCRIPTOR: Final = struct.Struct("i")
_SPACE: Final = socket.CMSG_LEN(_DESCRIPTORS_A_MESSAGE * _DESCRIPTOR.size)
_LENGTH: Final = struct.Struct("!I")
_CHANGES_MARGIN_SECONDS: Final = 0.5
_MAX_PAIRS: Final = 16 * 64
"""Of sockets: as many listeners and workers as there may be."""


class TakeoverError(BackendError):
    """The other process is not there, refused, or broke off."""

    status = ExitStatus.UNAVAILABLE


def socket_path(admin_socket: Path) -> Path:
    """Where a relay with this admin socket waits for its successor."""
    return admin_socket.with_name(f"{admin_socket.name}.takeover")


def listen(path: Path) -> socket.socket:
    """A socket on which a successor may ask; takes the place of a predecessor's. Only the same user may connect."""
    beside = path.with_name(f"{path.name}.{os.getpid()}")
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    with suppress(FileNotFoundError):
        beside.unlink()
    old = os.umask(0o177)
    try:
        listener.bind(str(beside))
    finally:
        os.umask(old)
    listener.listen(1)
    beside.rename(path)  # at no moment is there no socket to connect to
    return listener


def hand_over(connection: socket.socket, relay: Relay, listeners: Sequence[tuple[Address, Address]]) -> bool:
    """The old process's side of a connection. True if the successor serves: this process must end then. Blocks."""
    connection.settimeout(WORD_SECONDS)
    paused = False
    try:
        _check_user(connection)
        hello = _receive_word(connection)
        if (refusal := _refusal(hello, listeners)) is not None:
            _send_word(connection, {"refused": refusal})
            return False
        taken_at = time.monotonic()
        snapshot, descriptors = relay.snapshot(), relay.descriptors()
        _send_word(
            connection,
            {"version": VERSION, "listeners": [number for number, _, _ in descriptors], "snapshot": len(snapshot)},
        )
        _send_descriptors(connection, [fd for _, public, internal in descriptors for fd in (public, internal)])
        connection.sendall(snapshot)
        _expect(connection, "ready")
        paused = True
        relay.pause()
        changes = relay.snapshot(within_seconds=time.monotonic() - taken_at + _CHANGES_MARGIN_SECONDS)
        counts = {"changes": len(changes), "counters": relay.counters(), "drops": relay.drops()}
        _send_word(connection, counts)
        connection.sendall(changes)
        _expect(connection, "serving")
    except Exception as error:  # whatever a successor says, or a defect: this relay goes on
        is_foreseen = isinstance(error, OSError | TakeoverError)
        said = str(error) if is_foreseen else f"{type(error).__name__}: {error}"
        log.warning("a successor did not take over, this relay goes on: %s", said, exc_info=not is_foreseen)
        if paused:
            relay.resume()
        return False
    pid = hello.get("pid")
    log.info("process %s has taken over", pid if isinstance(pid, int) else "of an unknown number")
    return True


def take_over(
    path: Path,
    relay: Relay,
    listeners: Sequence[tuple[Address, Address]],
    before_serving: Callable[[], None] = lambda: None,
) -> list[str]:
    """The new process's side: starts ``relay`` with the predecessor's sockets and paths, and returns its warnings.

    ``before_serving`` is called when this process forwards and the predecessor, which will end, waits for the word.
    When it returns, this process serves and the predecessor ends. Raises TakeoverError; then the predecessor
    serves, and nothing of ``relay`` runs.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(WORD_SECONDS)
        try:
            connection.connect(str(path))
        except OSError as error:
            raise TakeoverError(
                f"cannot take over: no relay answers at {path}: {(error.strerror or str(error)).lower()}",
                hint="start without --takeover if none runs",
            ) from error
        try:
            return _take_over(connection, relay, listeners, before_serving)
        except TakeoverError as error:
            relay.stop()
            raise TakeoverError(f"cannot take over: {error}", hint=error.hint) from error
        except Exception as error:  # of the kernel; or of what the data plane makes of the other's words
            relay.stop()
            raise TakeoverError(f"cannot take over: {error}") from error
        except BaseException:
            relay.stop()
            raise


def _take_over(
    connection: socket.socket,
    relay: Relay,
    listeners: Sequence[tuple[Address, Address]],
    before_serving: Callable[[], None],
) -> list[str]:
    wanted = [[list(public), list(internal)] for public, internal in listeners]
    _send_word(connection, {"version": VERSION, "pid": os.getpid(), "listeners": wanted})
    offer = _receive_word(connection)
    if "refused" in offer:
        raise TakeoverError(f"the running relay refuses: {offer['refused']}")
    numbers = _numbers(offer, len(listeners))
    length = _length(offer, "snapshot")
    descriptors = _receive_descriptors(connection, 2 * len(numbers))
    inherited = list(zip(numbers, descriptors[::2], descriptors[1::2], strict=True))
    warnings = relay.start(inherited=inherited, paused=True)  # they are the relay's from here on, also if that fails
    relay.load(_receive_bytes(connection, length))
    _send_word(connection, {"word": "ready"})
    counts = _receive_word(connection)
    relay.load(_receive_bytes(connection, _length(counts, "changes")))
    relay.count_as_well(_counts(counts, "counters"), _counts(counts, "drops"))
    relay.resume()
    before_serving()
    _send_word(connection, {"word": "serving"})
    return warnings


def _refusal(hello: dict[str, Any], listeners: Sequence[tuple[Address, Address]]) -> str | None:
    if hello.get("version") != VERSION:
        return f"it speaks version {VERSION} of the hand-over, not {hello.get('version')}"
    mine = [[list(public), list(internal)] for public, internal in listeners]
    if hello.get("listeners") != mine:
        return "its listeners are others, and a hand-over changes none; restart it instead"
    return None


def _check_user(connection: socket.socket) -> None:
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    _, uid, _ = struct.unpack("3i", credentials)
    if uid != os.getuid():
        raise TakeoverError(f"user {uid} asked, and only user {os.getuid()} may")


def _numbers(offer: dict[str, Any], listeners: int) -> list[int]:
    """The listener of each pair of sockets that comes."""
    numbers = offer.get("listeners")
    if (
        not isinstance(numbers, list)
        or not 0 < len(numbers) <= _MAX_PAIRS
        or not all(type(number) is int and 0 <= number < listeners for number in numbers)
    ):
        raise TakeoverError("it did not say whose sockets it passes")
    return numbers


def _length(word: dict[str, Any], name: str) -> int:
    """How many bytes of something come next."""
    length = word.get(name)
    if type(length) is not int or not 0 <= length <= _MAX_SNAPSHOT_BYTES:
        raise TakeoverError(f"it did not say how long its {name} is")
    return length


def _counts(word: dict[str, Any], name: str) -> dict[str, int]:
    """What it counted; what is no count is left out, for a call does not depend on it."""
    counts = word.get(name)
    if not isinstance(counts, dict):
        return {}
    return {key: value for key, value in counts.items() if type(value) is int and 0 <= value < 2**63}


def _expect(connection: socket.socket, word: str) -> None:
    said = _receive_word(connection).get("word")
    if said != word:
        raise TakeoverError(f"it said {said!r}, expected {word!r}")


def _send_word(connection: socket.socket, word: dict[str, Any]) -> None:
    text = json.dumps(word).encode()
    connection.sendall(_LENGTH.pack(len(text)) + text)


def _receive_word(connection: socket.socket) -> dict[str, Any]:
    (length,) = _LENGTH.unpack(_receive_bytes(connection, _LENGTH.size))
    if length > _MAX_WORD_BYTES:
        raise TakeoverError(f"it sent a word of {length} bytes")
    try:
        word = json.loads(_receive_bytes(connection, length))
    except (ValueError, RecursionError) as error:
        raise TakeoverError("it sent no JSON") from error
    if not isinstance(word, dict):
        raise TakeoverError("it sent something else than a JSON object")
    return word


def _receive_bytes(connection: socket.socket, length: int) -> bytes:
    if not 0 <= length <= _MAX_SNAPSHOT_BYTES:
        raise TakeoverError(f"it announced {length} bytes")
    received = bytearray()
    while len(received) < length:
        piece = connection.recv(min(1 << 20, length - len(received)))
        if not piece:
            raise TakeoverError("it broke off")
        received += piece
    return bytes(received)


def _send_descriptors(connection: socket.socket, descriptors: Sequence[int]) -> None:
    for start in range(0, len(descriptors), _DESCRIPTORS_A_MESSAGE):
        socket.send_fds(connection, [b"!"], list(descriptors[start : start + _DESCRIPTORS_A_MESSAGE]))


def _receive_descriptors(connection: socket.socket, count: int) -> list[int]:
    """The descriptors that come; all are closed again if that fails."""
    descriptors: list[int] = []
    try:
        while len(descriptors) < count:
            # One byte comes with each message, so that no more is read than belongs to it.
            # Not socket.recv_fds, which takes flags and forgets them (Python 3.11.7).
            piece, messages, flags, _ = connection.recvmsg(1, _SPACE, socket.MSG_CMSG_CLOEXEC)
            received = [number for message in messages for number in _descriptors_in(*message)]
            descriptors += received
            if flags & socket.MSG_CTRUNC:  # the kernel dropped some: this process may have no more open
                raise TakeoverError("not all descriptors came, for example because of 'ulimit -n'")
            if not piece or not received:
                raise TakeoverError("it broke off among its descriptors")
        if len(descriptors) > count:
            raise TakeoverError(f"it passed {len(descriptors)} descriptors and not {count}")
    except BaseException:
        for descriptor in descriptors:
            os.close(descriptor)
        raise
    return descriptors


def _descriptors_in(level: int, kind: int, data: bytes) -> list[int]:
    if (level, kind) != (socket.SOL_SOCKET, socket.SCM_RIGHTS):
        return []
    whole = len(data) // _DESCRIPTOR.size * _DESCRIPTOR.size
    return [number for (number,) in _DESCRIPTOR.iter_unpack(data[:whole])]
