"""Which worker is a request for? A new call is for the one with the fewest sessions, all else for the session's owner.

Connections are accepted by whichever worker is first, and proxies send many calls over one: so it is calls that are
spread, not connections. Laws: a request goes from one worker to another at most once, over loopback, with a secret that
only this service's processes know; a call that nobody else takes is the worker's own.
"""

from __future__ import annotations

import hmac
from collections import Counter
from dataclasses import dataclass, field
from socket import socket
from typing import TYPE_CHECKING, Final

from aiohttp import web

from rtcrelay.http.courier import Courier, DistrustError, UnreachableError
from rtcrelay.http.forward import GONE
from rtcrelay.http.ingresses import INGRESS_HEADER
from rtcrelay.http.problems import Handler, Problem
from rtcrelay.http.server import bound
from rtcrelay.transceiver.counters import Count
from rtcrelay.transceiver.workers.board import Board, Row

if TYPE_CHECKING:
    from rtcrelay.transceiver.transceiver import Transceiver

SLACK: Final = 2
"""Another worker gets a call if it has so many sessions fewer, at least. Chosen: with one, workers that are as even as
can be would pass on half of all calls."""
_HEADER: Final = "X-Rtcrelay-Worker"
"""The secret."""
_MAX_METRICS_BYTES: Final = 1 << 22


@dataclass(frozen=True, slots=True)
class Workplace:
    """What a worker has from its parent."""

    worker: int
    """Its number, from 0."""
    board: Board
    http: socket
    """Where clients connect; the same for all."""
    metrics: socket | None
    """Where metrics and health are asked for; the same for all."""
    inner: tuple[socket, ...]
    """Where each worker takes requests of the others: listening sockets on loopback."""
    secret: str = field(repr=False)


class Siblings:
    """The other workers."""

    def __init__(self, place: Workplace, transceiver: Transceiver) -> None:
        self.place = place
        self._board, self._transceiver = place.board, transceiver
        transceiver.on_count = self.tell
        self._addresses = [bound(listener) for listener in place.inner]
        self._under_way: Counter[int] = Counter()
        self._courier = Courier(most_bytes=_MAX_METRICS_BYTES)

    async def __aenter__(self) -> Siblings:
        await self._courier.__aenter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._courier.__aexit__()

    @property
    def listener(self) -> socket:
        """Where this worker takes requests of the others."""
        return self.place.inner[self.place.worker]

    def tell(self) -> None:
        """Writes on the board how this worker fares; to be called often."""
        transceiver = self._transceiver
        has_room = transceiver.refusal() is None
        sessions, is_serving = transceiver.session_count, not transceiver.is_draining
        self._board.write(self.place.worker, sessions, is_serving=is_serving, has_room=has_room)

    def choose(self) -> int | None:
        """The worker that should have a new call; None: this one."""
        fit = [row for row in self.others() if row.has_room and row.is_turning]
        if not fit:
            return None
        best = min(fit, key=self._load)
        is_fewer = self._load(best) + SLACK <= self._transceiver.session_count
        return best.worker if is_fewer or self._transceiver.refusal() is not None else None

    def others(self) -> list[Row]:
        """How they fare."""
        return [row for row in self._board.rows() if row.worker != self.place.worker]

    async def offer(self, request: web.Request, body: bytes) -> web.Response | None:
        """The answer of another worker to a new call; None if it is this one's."""
        worker = self.choose()
        if worker is None:
            return None
        told = request.headers.get(INGRESS_HEADER)
        self._under_way[worker] += 1
        try:
            answer = await self._carry(request, worker, body, {} if told is None else {INGRESS_HEADER: told})
        except (UnreachableError, DistrustError, Problem):
            return None
        finally:
            self._under_way[worker] -= 1
        return None if answer.status == 503 else answer

    async def pass_on(self, request: web.Request, resource: str, body: bytes) -> web.Response | None:
        """The answer of the worker that has the session ``resource``; None if it is not of this machine. Raises
        Problem: 404 if its worker is gone, 502 if it is stuck."""
        worker = self._transceiver.owners.find_worker(resource.partition(".")[0])
        if worker is None or worker == self.place.worker:
            return None
        if worker >= self._board.workers or not self._board.row(worker).pid:
            raise Problem(404, GONE)
        try:
            return await self._carry(request, worker, body, {})
        except (UnreachableError, DistrustError) as error:
            raise Problem(404, GONE) from error

    async def metrics(self, request: web.Request, worker: int) -> bytes:
        """Another worker's metrics in the form that the request accepts; nothing if there are none."""
        try:
            accept = {"Accept": request.headers.get("Accept", "")}
            answer = await self._carry(request, worker, b"", accept, "/metrics")
        except (UnreachableError, DistrustError, Problem):
            return b""
        return answer.body if answer.status == 200 and isinstance(answer.body, bytes) else b""

    @web.middleware
    async def guard(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Lets in whoever knows the secret: for what listens on the inner socket."""
        given = request.headers.get(_HEADER, "").encode("utf-8", "replace")
        if not hmac.compare_digest(given, self.place.secret.encode()):
            return web.Response(status=403)
        return await handler(request)

    async def _carry(
        self, request: web.Request, worker: int, body: bytes, headers: dict[str, str], path: str | None = None
    ) -> web.Response:
        if path is None:
            self._transceiver.counters.counts[Count.WORKER_REQUESTS] += 1
        more = {**headers, _HEADER: self.place.secret}
        return await self._courier.carry(request, self._addresses[worker], path or request.path_qs, body, more)

    def _load(self, row: Row) -> int:
        return row.sessions + self._under_way[row.worker]
