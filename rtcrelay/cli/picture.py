"""How does a packet travel, at this moment? The demo's scene as lines of text: clients, relay, transceivers.

Pure: a scene and a width in, lines out. Colours are SGR sequences and take no room.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from rtcrelay.client.demo.scene import Lane, Scene

LEAST_WIDTH: Final = 80
"""Columns the picture needs."""
LEAST_HEIGHT: Final = 22
"""Rows it needs, with some of the table above it."""

_CLIENT, _RELAY, _NODE = 15, 21, 19
"""Columns of the three columns; the legs between them share the rest."""
_WIDEST_LEG = 26
_CELL_SECONDS = 0.04
"""One character of the strip: two packets' time."""
_BEFORE_SECONDS = 0.28
"""What the strip shows of the time before the kill."""
_STRIP_HEAD = 14

_BOLD, _DIM, _RED, _GREEN, _CYAN = "1", "2", "31;1", "32", "36"

WORDS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "start": "Three processes start: a relay, which alone has a public UDP address, and two transceivers.",
        "signaling": "Each client posts its offer straight to a transceiver. The answer names the relay's address, and"
        " a ufrag in which that transceiver has hidden where it is.",
        "first_stun": "The client's first STUN packet carries that ufrag. The relay decrypts it and knows where to send"
        " the packet: no lookup, no database.",
        "dtls": "DTLS follows the path that the first packet opened. The relay has no keys and reads nothing.",
        "first_audio": "Speech flows: SRTP, end to end between client and transceiver.",
        "conversation": "The ufrag in each call's first STUN packet told the relay which way. Everything since follows"
        " its path table, unread and still encrypted.",
        "relay_killed": "kill -9: the relay is gone, and all it knew. Clients go on sending into nothing; the"
        " transceivers keep their sessions.",
        "relay_restarted": "The same command line again: a new process that knows no path.",
        "recovery": "The new relay knew no path. The transceivers announce each session that fell silent, and so it"
        " learned both again. The clients did nothing.",
        "hang_up": "The clients hang up by HTTP DELETE.",
    }
)
"""What a person should know during each step."""


def draw(scene: Scene, step: str, width: int, *, color: bool = True) -> list[str]:
    """The picture: always the same number of lines, none wider than ``width`` (at least `LEAST_WIDTH`)."""
    paint = _Paint(color)
    leg = min(_WIDEST_LEG, (width - 1 - _CLIENT - _RELAY - _NODE) // 2)
    head = ["CLIENTS".ljust(_CLIENT), " " * leg, "ONE PUBLIC ADDRESS".ljust(_RELAY), " " * leg, "TRANSCEIVERS"]
    lines = ["", paint("".join(head), _BOLD)]
    relay = _relay(scene, paint)
    for index, lane in enumerate(scene.lanes[:2]):
        client, near, far, node = _lane(scene, lane, leg, paint)
        for row in range(4):
            lines.append(client[row] + near[row] + relay[index * 4 + row] + far[row] + node[row])
    lines += ["", *(_ufrag(lane, paint) for lane in scene.lanes[:2])]
    lines += ["", *_strip(scene, width, paint)]
    told = textwrap.wrap(WORDS.get(step, ""), width - 1)[:2]
    return [*lines, "", *told, *[""] * (2 - len(told))]


class _Paint:
    """Wraps text in a colour."""

    def __init__(self, color: bool) -> None:
        self._color = color

    def __call__(self, text: str, code: str) -> str:
        return f"\x1b[{code}m{text}\x1b[0m" if self._color and text.strip() else text


def _relay(scene: Scene, paint: _Paint) -> list[str]:
    """Eight lines."""
    alive = scene.relay_pid is not None
    dead = scene.killed_at is not None and not alive

    def count(name: str) -> str:
        return str(scene.counters.get(name, "-")) if alive else "-"

    down = f"was dead {_down_ms(scene):.0f} ms" if scene.ready_at is not None else ""
    state = f"pid {scene.relay_pid}" if alive else "killed (-9)" if dead else "not yet started"
    rows = [
        scene.vip,
        state,
        _row("routed by ufrag", count("routed_by_ufrag"), _RELAY - 4),
        _row("announces", count("announces"), _RELAY - 4),
        _row("paths learned", count("claims_learned"), _RELAY - 4),
        down,
    ]
    title = "relay: DEAD" if dead else "relay"
    return _box(title, rows, _RELAY, paint, _RED if dead else _CYAN if alive else _DIM)


def _lane(scene: Scene, lane: Lane, leg: int, paint: _Paint) -> tuple[list[str], list[str], list[str], list[str]]:
    """Client, near leg, far leg and transceiver of a call, four lines each."""
    port = f":{lane.client.rpartition(':')[2]}" if lane.client else "-"
    client = [
        f"call to {lane.node}",
        _row("port", port, 12),
        _row("sent", str(lane.sent), 12),
        _row("back", str(lane.received), 12),
    ]
    cut = scene.killed_at is not None and scene.relay_pid is None
    near = _leg(lane.relay_in, lane.relay_out, leg, bool(lane.client), cut, paint)
    far = _leg(lane.node_in, lane.node_out, leg, lane.node_in > 0, cut, paint)
    node = _box(
        lane.node,
        [lane.media, _row("sessions", str(lane.sessions), _NODE - 4)],
        _NODE,
        paint,
        _CYAN if lane.runs else _DIM,
    )
    return [text.ljust(_CLIENT) for text in client], near, far, node


def _leg(there: int, back: int, width: int, used: bool, cut: bool, paint: _Paint) -> list[str]:
    blank = " " * width
    if not used:
        return [blank] * 4
    inner = width - 2
    if cut:
        broken = paint(f" {'x'.center(inner, '·')} ", _RED)
        return [blank, broken, broken, blank]
    forth = f" {f' {there} '.center(inner - 1, '─')}▶ "
    again = f" ◀{f' {back} '.center(inner - 1, '─')} "
    return [blank, paint(forth, _GREEN), paint(again, _GREEN), blank]


def _box(title: str, rows: list[str], width: int, paint: _Paint, code: str) -> list[str]:
    inner = width - 4
    top = paint(f"┌─ {title} {'─' * (width - 5 - len(title))}┐", code)
    bar = paint("│", code)
    body = [f"{bar} {row[:inner].ljust(inner)} {bar}" for row in rows]
    return [top, *body, paint(f"└{'─' * (width - 2)}┘", code)]


def _ufrag(lane: Lane, paint: _Paint) -> str:
    if lane.ufrag is None:
        return ""
    return f"ufrag {paint(lane.ufrag, _CYAN)} opens to {lane.route}: {lane.node}"


def _strip(scene: Scene, width: int, paint: _Paint) -> list[str]:
    """What came back to each client, in time; once the relay was killed, the moments around that."""
    cells = width - 1 - _STRIP_HEAD
    begin = scene.now - cells * _CELL_SECONDS
    if scene.killed_at is not None:
        begin = scene.killed_at - _BEFORE_SECONDS
    lines = []
    for lane in scene.lanes[:2]:
        counts = [0] * cells
        for at in lane.arrivals:
            cell = int((at - begin) // _CELL_SECONDS)
            if 0 <= cell < cells:
                counts[cell] += 1
        past = min(cells, max(0, int((scene.now - begin) / _CELL_SECONDS)))
        marks = "".join("·▄█"[min(count, 2)] for count in counts[:past]) if lane.client else ""
        lines.append(f"back from {lane.node}".ljust(_STRIP_HEAD) + paint(marks, _GREEN))
    return [*lines, _strip_legend(scene, begin, cells, paint)]


def _strip_legend(scene: Scene, begin: float, cells: int, paint: _Paint) -> str:
    if scene.killed_at is None:
        return " " * _STRIP_HEAD + paint("40 ms a character", _DIM)
    killed = int((scene.killed_at - begin) // _CELL_SECONDS)
    text = "kill -9 ┘".rjust(_STRIP_HEAD + killed + 1)
    if scene.ready_at is not None:
        words = f"└ a new relay runs, {_down_ms(scene):.0f} ms later"
        ready = int((scene.ready_at - begin) // _CELL_SECONDS)
        text = text.ljust(_STRIP_HEAD + min(ready, cells - len(words))) + words
    return paint(text, _RED)


def _down_ms(scene: Scene) -> float:
    return 1000 * (scene.ready_at - scene.killed_at) if scene.ready_at and scene.killed_at else 0.0


def _row(name: str, value: str, width: int) -> str:
    return name + value.rjust(max(1, width - len(name)))
