"""Who answers the caller? The interface of a backend, the built-in ones, and how ``--backend`` names them.

``docs/backends.md`` shows how to write one.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Final, cast
from urllib.parse import urlsplit

from rtcrelay.errors import ConfigError
from rtcrelay.transceiver.backends.interface import Backend as Backend
from rtcrelay.transceiver.backends.interface import BackendFactory as BackendFactory
from rtcrelay.transceiver.backends.interface import BaseBackend as BaseBackend
from rtcrelay.transceiver.backends.interface import Call as Call
from rtcrelay.transceiver.backends.interface import Message as Message
from rtcrelay.transceiver.backends.player import Player, read_recording
from rtcrelay.transceiver.backends.simple import Echo, Null


def find_backend(name: str, token_file: Path | None = None) -> BackendFactory:
    """The backend that ``--backend`` names, see `_NAMES`; ``token_file`` has a Bearer token for a WebSocket.

    Raises ConfigError if there is none of that name, or if its file cannot be played or its token not be read.
    """
    kind, colon, argument = name.partition(":")
    if kind in _SCHEMES and argument.startswith("//"):
        return _websocket(name, token_file)
    finder = _BACKENDS.get(kind)
    if finder is None or (kind not in ("file", "python") and colon):
        raise ConfigError(f"there is no backend {name!r}", hint=f"the backends are: {', '.join(_NAMES)}")
    return finder(argument)


def _file(path: str) -> BackendFactory:
    if not path:
        raise ConfigError("the backend 'file' names no file", hint="--backend file:greeting.opus")
    recording = read_recording(Path(path))
    return lambda call: Player(call, recording)


def _python(path: str) -> BackendFactory:
    """Something of the operator's own: a class or function that takes a `Call` and returns a `Backend`."""
    module, _, name = path.partition(":")
    try:
        factory: object = getattr(import_module(module), name) if module and name else None
    except (ImportError, AttributeError) as error:
        raise ConfigError(f"cannot load the backend 'python:{path}': {error}") from error
    if not callable(factory):
        raise ConfigError(f"the backend 'python:{path}' is no class or function, expected python:MODULE:NAME")
    return cast(BackendFactory, factory)


def _tone(_: str) -> BackendFactory:
    from rtcrelay.transceiver.backends.tone import make_tone  # imports PyAV, which takes 100 ms

    recording = make_tone()
    return lambda call: Player(call, recording)


def _parrot(_: str) -> BackendFactory:
    from rtcrelay.audio.opus import require_opus
    from rtcrelay.transceiver.backends.pcm import ParrotBackend

    require_opus()
    return ParrotBackend


def _pcm_echo(_: str) -> BackendFactory:
    from rtcrelay.audio.opus import require_opus
    from rtcrelay.transceiver.backends.pcm import PcmEcho

    require_opus()
    return PcmEcho


def _websocket(uri: str, token_file: Path | None) -> BackendFactory:
    from rtcrelay.http.access import read_token
    from rtcrelay.transceiver.backends.line import Service
    from rtcrelay.transceiver.backends.plain import PROTOCOL, make_plain, websocket_url
    from rtcrelay.transceiver.backends.realtime import make_realtime

    try:
        parts = urlsplit(uri)
        is_complete = bool(parts.hostname) and parts.port != 0 and not parts.fragment
    except ValueError as error:
        raise ConfigError(f"the backend's URL cannot be read: {error}") from error
    if parts.username or parts.password:
        raise ConfigError("a secret has no place in the backend's URL", hint="--backend-token-file FILE")
    if not is_complete:
        raise ConfigError(f"the backend {uri!r} names no host, expected {parts.scheme}://HOST[:PORT]/PATH")
    token = read_token(token_file)
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    tls = ssl.create_default_context() if parts.scheme.startswith("wss") else None
    if "+" in parts.scheme:
        return make_plain(Service(websocket_url(uri), headers, (PROTOCOL,), tls))
    return make_realtime(Service(uri, headers, (), tls))


_SCHEMES: Final = ("ws", "wss", "ws+pcm", "wss+pcm")
_BACKENDS: Final[Mapping[str, Callable[[str], BackendFactory]]] = {
    "echo": lambda _: Echo,
    "file": _file,
    "null": lambda _: Null,
    "parrot": _parrot,
    "pcm-echo": _pcm_echo,
    "python": _python,
    "tone": _tone,
}
_NAMES: Final = (
    "echo", "file:PATH", "null", "parrot", "pcm-echo", "python:MODULE:NAME", "tone",
    "ws://… or wss://… (realtime)", "ws+pcm://… or wss+pcm://… (plain)",
)  # fmt: skip
