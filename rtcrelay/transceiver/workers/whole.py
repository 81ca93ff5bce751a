"""What do metrics and health say of a service with several workers? Whichever of them is asked answers for all."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from aiohttp import hdrs, web

from rtcrelay.metrics.merging import merge_expositions
from rtcrelay.metrics.pages import Pages
from rtcrelay.transceiver.control import Control
from rtcrelay.transceiver.workers.siblings import Siblings


class WholeService:
    """The `rtcrelay.metrics.pages.Condition` of the service, and its ``/metrics``."""

    def __init__(self, control: Control, siblings: Siblings, own: Pages) -> None:
        """``own``: the pages of this worker."""
        self._control, self._siblings, self._own = control, siblings, own

    def application(self) -> web.Application:
        """As `Pages.application`, for all workers."""
        app = web.Application(client_max_size=1024)
        Pages(self, ()).add_health_to(app)
        app.router.add_get("/metrics", self._metrics)
        return app

    def unhealthy(self) -> str | None:
        """See `Condition`. A worker that is stuck is ended by the parent, not by whoever asks here."""
        return self._control.unhealthy()

    def unready(self) -> str | None:
        """None as long as one worker is ready."""
        others = any(row.is_serving and row.is_turning for row in self._siblings.others())
        return None if others else self._control.unready()

    async def _metrics(self, request: web.Request) -> web.Response:
        accept = request.headers.get(hdrs.ACCEPT, "")
        board = self._siblings.place.board
        running = [row.worker for row in self._siblings.others() if row.is_turning]
        texts = await asyncio.gather(*(self._siblings.metrics(request, worker) for worker in running))
        own, content_type = self._own.exposition(accept)
        about_all, _ = Pages(self, [board]).exposition(accept)
        return web.Response(body=_merged((about_all, own, *texts)), headers={hdrs.CONTENT_TYPE: content_type})


def _merged(texts: Iterable[bytes]) -> bytes:
    return merge_expositions(text.decode() for text in texts).encode()
