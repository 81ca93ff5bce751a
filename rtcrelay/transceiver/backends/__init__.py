"""Who answers the caller? The interface of a backend, the built-in ones, and how ``--backend`` names them.

``docs/backends.md`` shows how to write one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Final, cast

from rtcrelay.errors import ConfigError
from rtcrelay.transceiver.backends.interface import Backend as Backend
from rtcrelay.transceiver.backends.interface import BackendFactory as BackendFactory
from rtcrelay.transceiver.backends.interface import BaseBackend as BaseBackend
from rtcrelay.transceiver.backends.interface import Call as Call
from rtcrelay.transceiver.backends.interface import Message as Message
from rtcrelay.transceiver.backends.player import Player, read_recording
from rtcrelay.transceiver.backends.simple import Echo, Null


def find_backend(name: str) -> BackendFactory:
    """The backend of ``--backend``: ``echo``, ``null``, ``tone``, ``file:PATH`` or ``python:MODULE:NAME``.

    Raises ConfigError if there is none of that name, or if its file cannot be played.
    """
    kind, colon, argument = name.partition(":")
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


_BACKENDS: Final[Mapping[str, Callable[[str], BackendFactory]]] = {
    "echo": lambda _: Echo,
    "file": _file,
    "null": lambda _: Null,
    "python": _python,
    "tone": _tone,
}
_NAMES: Final = ("echo", "file:PATH", "null", "python:MODULE:NAME", "tone")
