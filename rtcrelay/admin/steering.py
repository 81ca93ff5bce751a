"""What every service can be told over its admin socket, relay and transceiver alike: reload, drain, and its answers."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, Protocol

import msgspec
from aiohttp import web

from rtcrelay.errors import RtcrelayError

log = logging.getLogger("rtcrelay")


class Steered(Protocol):
    """A running service."""

    def reload(self) -> None:
        """Reads settings and secrets again. Raises RtcrelayError; then everything stays as it was."""

    def drain(self, draining: bool) -> Mapping[str, Any]:
        """Is ready for new calls no longer, or again; returns the answer. Raises RtcrelayError if it cannot be."""

    def keys(self) -> list[dict[str, Any]]:
        """The keys in use: id, state and fingerprint, never a secret."""


def add_steering(app: web.Application, service: Steered) -> None:
    """Adds ``POST /v1/reload``, ``POST`` and ``DELETE /v1/drain`` to an application on a Unix socket."""

    async def reload(_: web.Request) -> web.Response:
        try:
            service.reload()
        except RtcrelayError as error:
            log.error("not reloaded, everything stays as it was: %s", error)
            return json_answer({"error": str(error)}, status=422)
        return json_answer({"kind": "reload", "v": 1, "keys": service.keys()})

    async def drain(request: web.Request) -> web.Response:
        try:
            return json_answer(service.drain(request.method == "POST"))
        except RtcrelayError as error:
            return json_answer({"error": str(error)}, status=409)

    app.add_routes([web.post("/v1/reload", reload), web.post("/v1/drain", drain), web.delete("/v1/drain", drain)])


def json_answer(content: Any, *, status: int = 200) -> web.Response:
    """A response with a JSON body, which ends with a line feed for those who read it with curl."""
    return web.Response(body=msgspec.json.encode(content) + b"\n", content_type="application/json", status=status)
