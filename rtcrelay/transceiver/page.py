"""The page to call from: ``GET /`` and the files it names, all of this package, read once."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import resources
from typing import Final

from aiohttp import web

from rtcrelay.http.problems import Problem

_TYPES: Final = {".js": "text/javascript", ".css": "text/css"}
_HEADERS: Final = {
    "Cache-Control": "no-cache",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}
_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; media-src 'self' blob: mediastream:;"
    " img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


def add_page(app: web.Application) -> None:
    """Adds the page and the closed list of its files; no path is ever made from a request."""
    page, files = _read_files()

    async def index(_: web.Request) -> web.Response:
        if page is None:
            raise Problem(404, "this installation has no page")
        headers = {**_HEADERS, "Content-Security-Policy": _POLICY}
        return web.Response(text=page, content_type="text/html", headers=headers)

    async def file(request: web.Request) -> web.Response:
        name = request.match_info["name"]
        if name not in files:
            raise Problem(404, "the page has no such file")
        kind = _TYPES[name[name.rindex(".") :]]
        return web.Response(text=files[name], content_type=kind, headers=_HEADERS)

    app.router.add_get("/", index)
    app.router.add_get("/web/{name}", file)


def _read_files() -> tuple[str | None, Mapping[str, str]]:
    """(the page, its files by name)."""
    page, files = None, {}
    place = resources.files("rtcrelay").joinpath("web")
    for entry in place.iterdir() if place.is_dir() else ():
        if entry.name == "index.html":
            page = entry.read_text("utf-8")
        elif entry.name.endswith(tuple(_TYPES)):
            files[entry.name] = entry.read_text("utf-8")
    return page, files
