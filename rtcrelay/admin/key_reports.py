"""Which keys do live servers hold, and who uses them? Asked over admin sockets."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from rtcrelay.admin.client import AdminClient
from rtcrelay.admin.flows import Filter, read_flows
from rtcrelay.errors import BackendError, RtcrelayError
from rtcrelay.key_rotation import ServerKeys
from rtcrelay.keys import key_id_of


@dataclass(frozen=True, slots=True)
class AdminKeyReports:
    """The servers behind some admin sockets, as `KeyReports`."""

    admins: Sequence[AdminClient]
    are_named: bool = False
    """Whether somebody named the sockets: one on which nobody listens is then no remnant, but a server to ask."""

    def read(self) -> Sequence[ServerKeys]:
        """See `KeyReports.read`."""
        return [report for admin in self.admins if (report := self._read(admin)) is not None]

    def _read(self, admin: AdminClient) -> ServerKeys | None:
        try:
            stats = admin.read("/v1/stats")
            keys = {int(key["id"]): (str(key["fingerprint"]), str(key["state"])) for key in stats["keys"]}
            name = f" {stats['node']}" if stats.get("node") else ""
            process = os.uname().nodename, int(stats["pid"])
            return ServerKeys(f"{stats['role']}{name} ({admin.socket})", keys, process=process)
        except (KeyError, TypeError, ValueError):
            return ServerKeys(str(admin.socket), {}, "it answered in another form than expected")
        except RtcrelayError as error:
            nobody = isinstance(error.__cause__, ConnectionRefusedError | FileNotFoundError)
            return None if nobody and not self.are_named else ServerKeys(str(admin.socket), {}, str(error))


@dataclass(frozen=True, slots=True)
class KeyUse:
    """What would end with a key."""

    flows: int | None
    """Of relays, with a claim by it; None: nobody was asked."""
    sessions: int | None
    """Of transceivers, whose ufrag it made; None: nobody was asked."""

    def __str__(self) -> str:
        if self.flows is None or self.sessions is None:
            return "nobody knows how many sessions, since no server could be asked"
        return f"{self.flows} flows and {self.sessions} sessions"


def read_key_use(admins: Iterable[AdminClient], key_id: int) -> KeyUse:
    """Counts what lives by a key on the servers that answer."""
    flows = sessions = 0
    for admin in admins:
        try:
            found = admin.find("/v1/sessions")
            if found is not None:
                sessions += sum(key_id_of(row["ufrag"]) == key_id for row in found["sessions"])
            else:
                rows = read_flows(admin, Filter())
                flows += sum(any(claim["key_id"] == key_id for claim in row["claims"]) for row in rows)
        except RtcrelayError:
            continue  # told by the reports of the same servers
    return KeyUse(flows, sessions)


def reload_all(admins: Iterable[AdminClient]) -> list[RtcrelayError]:
    """Has every server read its files again; returns what went wrong."""
    errors: list[RtcrelayError] = []
    for admin in admins:
        try:
            admin.read("/v1/reload", "POST")
        except BackendError as error:
            if not isinstance(error.__cause__, ConnectionRefusedError | FileNotFoundError):
                errors.append(error)
        except RtcrelayError as error:
            errors.append(error)
    return errors
