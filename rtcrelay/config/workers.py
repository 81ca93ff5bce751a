"""What does each worker of a transceiver run with? What the service was told, moved on by its number.

Worker 2 of the transceiver ``a`` with ``--media 10.0.3.7:7000`` has the media port 7002, the name ``a-w2``, the admin
socket ``transceiver-a-w2.sock`` and, with ``--node-id 40``, the node id 42. Everything else is the same for all.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from rtcrelay.config.settings import TransceiverSettings
from rtcrelay.config.sources import Value
from rtcrelay.config.text import Address, parse_name
from rtcrelay.errors import ConfigError

_MAX_PORT = 65_535
_MAX_NODE_ID = 2**32 - 1


def worker_settings(settings: TransceiverSettings, worker: int) -> TransceiverSettings:
    """The settings of one worker, from 0, of a service that `check_workers` found sound."""
    admin = settings.admin_socket
    return replace(
        settings,
        worker=worker,
        media=_moved(settings.media, worker),
        direct=None if settings.direct is None else _moved(settings.direct, worker),
        node=_called(settings.node, worker),
        node_id=None if settings.node_id is None else settings.node_id + worker,
        admin_socket=None if admin is None else admin.with_name(_called(admin.stem, worker) + admin.suffix),
    )


def check_workers(found: Mapping[str, Value]) -> None:
    """Raises ConfigError if a worker would get a port, a name or a node id that there is not, or another one's."""
    workers = found["workers"].parsed
    if workers == 1:
        return
    spans = {name: _span(found[name], workers) for name in ("media", "direct") if found[name].parsed is not None}
    if len(spans) == 2 and found["media"].parsed[0] == found["direct"].parsed[0]:
        shared = set(spans["media"]) & set(spans["direct"])
        if shared:
            raise ConfigError(
                f"{found['direct'].origin}: {found['direct'].words[0]!r} and --media"
                f" {found['media'].words[0]!r} both need port {min(shared)} with {workers} workers",
                hint=f"leave {workers} ports between them",
            )
    node, node_id = found["node"], found["node_id"]
    try:
        parse_name(_called(node.parsed, workers - 1))
    except ValueError:
        raise ConfigError(f"{node.origin}: {node.words[0]!r} leaves no room for a worker's number") from None
    if node_id.parsed is not None and node_id.parsed + workers - 1 > _MAX_NODE_ID:
        raise ConfigError(f"{node_id.origin}: {workers} workers need as many ids, expected at most {_MAX_NODE_ID}")


def sockets_of(path: Path) -> list[Path]:
    """The admin sockets of the workers of the service that was told this one; the path itself if it has none."""
    name = re.compile(re.escape(path.stem) + r"-w(\d+)" + re.escape(path.suffix), re.ASCII)
    try:
        there = {int(found[1]): other for other in path.parent.iterdir() if (found := name.fullmatch(other.name))}
    except OSError:
        there = {}
    return [path] if path.exists() or not there else [there[number] for number in sorted(there)]


def _span(value: Value, workers: int) -> range:
    port = value.parsed[1]
    if port == 0:  # the kernel chooses each
        return range(0)
    if port + workers - 1 > _MAX_PORT:
        raise ConfigError(
            f"{value.origin}: {value.words[0]!r} and the {workers - 1} ports after it go beyond {_MAX_PORT}",
            hint=f"{workers} workers need {workers} ports: begin at {_MAX_PORT - workers + 1} or below",
        )
    return range(port, port + workers)


def _moved(where: Address, worker: int) -> Address:
    return (where[0], where[1] + worker if where[1] else 0)


def _called(name: str, worker: int) -> str:
    return f"{name}-w{worker}"
