"""The sessions of running transceivers: which are meant, what is known of them, and their end."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from rtcrelay.admin.client import AdminClient
from rtcrelay.admin.flows import Matcher
from rtcrelay.errors import PeerError, RtcrelayError, UsageError

Row = dict[str, Any]

STATES: Final = ("new", "checked", "connected")
"""No check came yet; a check came; DTLS is complete."""
LEAST_PREFIX: Final = 4
"""Characters of a session's id that may stand for it."""


@dataclass(frozen=True, slots=True)
class Filter:
    """Which sessions are meant: any value of one kind, and all kinds that were given."""

    names: tuple[str, ...] = ()
    """See `is_called`."""
    sources: tuple[Matcher, ...] = ()
    """Of the client's address."""
    states: tuple[str, ...] = ()
    """Of `STATES`."""
    nodes: tuple[str, ...] = ()
    """Of transceivers."""
    idle_above_seconds: tuple[float, ...] = ()
    """Nothing authentic came for longer than any of these."""

    def __bool__(self) -> bool:
        return bool(self.names or self.sources or self.states or self.nodes or self.idle_above_seconds)

    def takes(self, row: Row) -> bool:
        """Whether a session is meant."""
        client = row["client"]
        return (
            (not self.names or any(is_called(row, name) for name in self.names))
            and (not self.sources or (client is not None and any(match(client) for match in self.sources)))
            and (not self.states or row["state"] in self.states)
            and (not self.nodes or row["node"] in self.nodes)
            and (not self.idle_above_seconds or row["idle_s"] > min(self.idle_above_seconds))
        )


def is_called(row: Row, name: str) -> bool:
    """Whether a session has this id (or begins with these characters of it), this ufrag, or this client address.

    A ufrag may be a whole USERNAME, ``server:client``.
    """
    begins = len(name) >= LEAST_PREFIX and str(row["id"]).startswith(name)
    return begins or row["client"] == name or row["ufrag"] == name.partition(":")[0]


def read_sessions(admins: Iterable[AdminClient], wanted: Filter) -> tuple[list[Row], list[RtcrelayError]]:
    """(the sessions that are meant, with the field ``socket`` besides, what went wrong with which transceiver)."""
    rows: list[Row] = []
    errors: list[RtcrelayError] = []
    for admin in admins:
        try:
            found = [row | {"socket": str(admin.socket)} for row in _read(admin)]
            rows += [row for row in found if wanted.takes(row)]
        except RtcrelayError as error:
            errors.append(error)
        except (KeyError, TypeError) as error:
            errors.append(PeerError(f"{admin.socket} answered /v1/sessions without {error}"))
    return rows, errors


def read_fully(admin: AdminClient, session_id: str) -> Row | None:
    """Everything that is known of a session; None if it is over. Raises BackendError and PeerError."""
    return _one(admin, session_id, "GET")


def close(admin: AdminClient, session_id: str) -> Row | None:
    """Ends a session, which its client is told; returns it as it was, None if it was over. Raises as `read_fully`."""
    return _one(admin, session_id, "DELETE")


def refuse_ambiguous(rows: Sequence[Row], names: Iterable[str]) -> None:
    """Raises UsageError if the beginning of an id stands for several sessions."""
    for name in names:
        called = [row["id"] for row in rows if row["id"] != name and str(row["id"]).startswith(name)]
        if len(called) > 1 and not any(row["id"] == name for row in rows):
            raise UsageError(f"{name!r} is the beginning of {len(called)} ids: {', '.join(called[:5])}")


def _read(admin: AdminClient) -> list[Row]:
    content = admin.read("/v1/sessions")
    rows = content.get("sessions")
    if not isinstance(rows, list):
        raise PeerError(f"{admin.socket} answered /v1/sessions without sessions")
    return rows


def _one(admin: AdminClient, session_id: str, method: str) -> Row | None:
    found = admin.find(f"/v1/sessions/{session_id}", method)
    return None if found is None else {**found, "socket": str(admin.socket)}
