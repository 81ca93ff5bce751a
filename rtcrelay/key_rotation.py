"""When may a key be added, mint, be revoked? The order of a rotation, as pure rules.

1. A new key is *accepted* everywhere, and mints nowhere. 2. Once every live server reports it, it becomes the one that
mints; the old one stays accepted. 3. When no session of the old one can be left (`max_session`), the old one is
revoked. 4. An hour later its id is free. Each step out of order ends calls, so it is refused with the reason.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final, Protocol

from rtcrelay.keys import MAX_KEY_ID, Key, format_time

ID_REST: Final = timedelta(hours=1)
"""After this time a revoked key's id may be given to a new key: by then nobody tries a ufrag of the old one."""


@dataclass(frozen=True, slots=True)
class ServerKeys:
    """What one live server says about its keys."""

    server: str
    """How messages call it."""
    keys: Mapping[int, tuple[str, str]]
    """(fingerprint, state) by id."""
    problem: str | None = None
    """Why it cannot say, though it is known to live."""
    process: tuple[str, int] | None = None
    """Its host's name and process id, by which a server that two sources know is one; None: not known."""

    def accepts(self, key: Key) -> bool:
        """Whether it takes ufrags of this very key."""
        fingerprint, state = self.keys.get(key.id, ("", ""))
        return fingerprint == key.fingerprint and state != "revoked"

    def mints_with(self, key: Key) -> bool:
        """Whether it would mint with this very key."""
        return self.keys.get(key.id) == (key.fingerprint, "active")


class KeyReports(Protocol):
    """Who knows the keys of live servers: admin sockets, heartbeats."""

    def read(self) -> Sequence[ServerKeys]:
        """One report for each live server it knows. Raises nothing: what cannot be read is a `ServerKeys.problem`."""


def collect(sources: Iterable[KeyReports]) -> list[ServerKeys]:
    """Every source's reports. Of a process that several sources know, the first report counts: put the source first
    that asks the process itself."""
    found: list[ServerKeys] = []
    known: set[tuple[str, int]] = set()
    for source in sources:
        for report in source.read():
            if report.process is None or report.process not in known:
                found.append(report)
            if report.process is not None:
                known.add(report.process)
    return found


@dataclass(frozen=True, slots=True)
class Promotion:
    """The second step: which key would mint from now on."""

    key: Key
    demoted: Key | None
    """The one that mints now."""
    obstacles: tuple[str, ...]
    """Why it would end or refuse calls; empty: safe."""


def candidate(keys: Collection[Key]) -> Key | None:
    """The accepted key that has not minted yet and waits for its promotion."""
    active = next((key for key in keys if key.state == "active"), None)
    waiting = [key for key in keys if key.state == "accept" and key.changed is None and _is_newer(key, active)]
    return max(waiting, key=lambda key: (_created(key), key.id), default=None)


def plan_promotion(keys: Collection[Key], reports: Sequence[ServerKeys], servers: int | None = None) -> Promotion:
    """Whether the `candidate`, which must be there, may mint. ``servers``: how many must report it, if known."""
    key = candidate(keys)
    assert key is not None, "asked for without a candidate"
    active = next((other for other in keys if other.state == "active"), None)
    obstacles = [f"{report.server} {_lacks(report, key)}" for report in reports if not report.accepts(key)]
    if not reports:
        obstacles.append(f"no live server could be asked whether it accepts key {key.id}")
    if servers is not None and len(reports) < servers:
        obstacles.append(f"{len(reports)} servers reported their keys, expected {servers}")
    return Promotion(key, active, tuple(obstacles))


def free_id(keys: Collection[Key], now: datetime) -> int | None:
    """The id for a new key: one that is not in the ring, else one that was revoked an hour ago; None: none is free."""
    by_id = {key.id: key for key in keys}
    highest = max(by_id, default=-1)
    order = [(highest + 1 + step) % (MAX_KEY_ID + 1) for step in range(MAX_KEY_ID + 1)]
    unused = [number for number in order if number not in by_id]
    rested = [number for number in order if number in by_id and _has_rested(by_id[number], now)]
    return next(iter([*unused, *rested]), None)


def revocable_from(key: Key, keys: Collection[Key], max_session: timedelta) -> datetime | None:
    """When no session of an accepted key can be left; None: nobody can know since when it mints no more."""
    active = next((other for other in keys if other.state == "active"), None)
    # Who edits by hand writes no time: then the key that mints now does so since it was made, at the earliest.
    since = key.changed
    if since is None and active is not None:
        since = active.changed or active.created
    return None if since is None else since + max_session


def revoke_obstacles(
    key: Key, keys: Collection[Key], reports: Sequence[ServerKeys], max_session: timedelta, now: datetime
) -> list[str]:
    """Why revoking an accepted key would end calls; empty: safe."""
    obstacles = [
        f"{report.server} still mints with key {key.id}: it has not read the new file"
        for report in reports
        if report.mints_with(key)
    ]
    if key is candidate(keys):
        return obstacles
    safe_from = revocable_from(key, keys, max_session)
    if safe_from is None:
        obstacles.append(f"it is not known since when key {key.id} mints no more")
    elif now < safe_from:
        obstacles.append(f"sessions of key {key.id} may go on until {format_time(safe_from)}")
    return obstacles


def _lacks(report: ServerKeys, key: Key) -> str:
    if report.problem is not None:
        return f"cannot say: {report.problem}"
    if key.id not in report.keys:
        return f"does not have key {key.id}"
    fingerprint, state = report.keys[key.id]
    if fingerprint != key.fingerprint:
        return f"has another key {key.id}, {fingerprint} instead of {key.fingerprint}"
    return f"has key {key.id} {state}"


def _is_newer(key: Key, active: Key | None) -> bool:
    # Files have whole seconds. A key without a time is never taken for a new one.
    return active is None or (key.created is not None and _created(key) >= _created(active))


def _created(key: Key) -> datetime:
    return key.created or datetime.min.replace(tzinfo=UTC)


def _has_rested(key: Key, now: datetime) -> bool:
    return key.state == "revoked" and key.changed is not None and now >= key.changed + ID_REST
