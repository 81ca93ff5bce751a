"""``rtcrelay flows top``: the busiest paths, live. Plain escape codes: a frame is text of the terminal's size."""

from __future__ import annotations

import select
import shutil
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rtcrelay.admin.client import AdminClient
from rtcrelay.cli import flow_columns
from rtcrelay.cli.flow_options import ADMIN, DST, SRC, STATE, app, make_filter, relays, report_all
from rtcrelay.cli.options import Common, leaf, parsed
from rtcrelay.cli.render import Column
from rtcrelay.config.text import duration_between, one_of
from rtcrelay.errors import ExitStatus, RtcrelayError, UsageError

if TYPE_CHECKING:
    from rtcrelay.admin.flows import Filter

SORTS = ("rate", "bytes", "idle", "loss", "jitter", "rtt")
_RATES = (
    Column("rate_in", "PPS>", right=True, pick=lambda row: f"{row['rate_in']:.0f}"),
    Column("rate_out", "<PPS", right=True, pick=lambda row: f"{row['rate_out']:.0f}"),
    Column("bit_rate", "KBIT/S", right=True, pick=lambda row: f"{row['bit_rate'] / 1000:.0f}"),
)
_COLUMNS = (
    flow_columns.SRC,
    flow_columns.DST,
    *_RATES,
    *flow_columns.LOSS,
    *flow_columns.JITTER,
    *flow_columns.ROUND_TRIPS,
    flow_columns.IDLE,
    flow_columns.STATE,
    flow_columns.NOTE,
)
_CLEAR, _ALTERNATE, _NORMAL = "\x1b[H\x1b[J", "\x1b[?1049h\x1b[?25l", "\x1b[?25h\x1b[?1049l"
_INTERVAL = typer.Option("-i", "--interval", metavar="DURATION", help="Between frames, 100ms to 1h. [default: 2s]")
_SORT = typer.Option(
    "-s",
    "--sort",
    metavar="|".join(SORTS),
    autocompletion=lambda: list(SORTS),
    help="What comes first; on a terminal the key s goes on to the next. [default: rate]",
)
_ONCE = typer.Option("--once", help="One frame, without clearing the screen.")
_LIMIT = typer.Option("-n", "--limit", metavar="N", help="Paths to show at most. [default: as many as fit, else 20]")


@dataclass(slots=True)
class _Sampler:
    """Flows with their rates since the last sample."""

    services: Sequence[AdminClient]
    wanted: Filter
    errors: list[RtcrelayError] = field(default_factory=list)
    before: dict[tuple[str, str, int], tuple[int, int, int]] = field(default_factory=dict)
    at: float = 0.0

    def take(self) -> list[dict[str, Any]]:
        from rtcrelay.admin.flows import read_flows

        self.errors, rows, seen = [], [], {}
        now = time.monotonic()
        for service in self.services:
            try:
                for row in read_flows(service, self.wanted):
                    key = (row["relay"], row["client"], row["ingress"])
                    seen[key] = (row["packets_in"], row["packets_out"], row["bytes_in"] + row["bytes_out"])
                    row.update(self._rates(self.before.get(key), seen[key], now - self.at, row["age_s"]))
                    rows.append(row)
            except RtcrelayError as error:
                self.errors.append(error)
        self.before, self.at = seen, now
        return rows

    def _rates(
        self, old: tuple[int, int, int] | None, new: tuple[int, int, int], elapsed: float, age: float
    ) -> Mapping[str, float]:
        # A path that is new since the last sample has had its age.
        first = old is None or old > new
        seconds = max(age if first else elapsed, 0.001)
        gone = (0, 0, 0) if old is None or first else old
        names = ("rate_in", "rate_out", "bit_rate")
        factors = (1, 1, 8)
        return {name: factor * (b - a) / seconds for name, factor, a, b in zip(names, factors, gone, new, strict=True)}


@leaf(
    app,
    "top",
    examples="""
    rtcrelay flows top
    rtcrelay flows top --sort loss -i 5s
    rtcrelay flows top --once -n 10""",
)
def top(
    common: Common,
    admin: Annotated[list[str] | None, ADMIN] = None,
    src: Annotated[list[str] | None, SRC] = None,
    dst: Annotated[list[str] | None, DST] = None,
    state: Annotated[list[str] | None, STATE] = None,
    interval: Annotated[str | None, _INTERVAL] = None,
    sort: Annotated[str | None, _SORT] = None,
    once: Annotated[bool, _ONCE] = False,
    limit: Annotated[str | None, _LIMIT] = None,
) -> ExitStatus | None:
    """Show the paths that matter most, live. Keys: s sorts by something else, q ends, as Ctrl-C does.

    If stdout is not a terminal, or with --once, one frame is printed, whose rates are of one interval.
    """
    seconds = parsed("--interval", interval or "2s", duration_between(0.1, 3600))
    order = SORTS.index(parsed("--sort", sort or "rate", one_of(*SORTS)))
    many = None if limit is None else int(limit) if limit.isdecimal() else _refuse(limit)
    sampler = _Sampler(relays(admin, common.config), make_filter(src, dst, state, None))
    rows = sampler.take()
    if once or not sys.stdout.isatty():
        if not sampler.errors:
            time.sleep(seconds)
            rows = sampler.take()
        width = shutil.get_terminal_size().columns if sys.stdout.isatty() else 10_000
        print("\n".join(frame(rows, SORTS[order], width, many or 20)))
        return report_all(sampler.errors)
    with _screen():
        try:
            while True:
                columns, lines = shutil.get_terminal_size()
                text = frame(rows, SORTS[order], columns, min(many or lines, max(1, lines - 4)))
                text += [f"error: {error}"[:columns] for error in sampler.errors[:1]]
                print(_CLEAR + "\r\n".join(text), end="", flush=True)
                key = _key(seconds)
                if key == "q":
                    return None
                if key == "s":
                    order = (order + 1) % len(SORTS)
                else:
                    rows = sampler.take()
        except KeyboardInterrupt:
            return None


def frame(rows: Sequence[Mapping[str, Any]], order: str, width: int, many: int) -> list[str]:
    """One frame as lines of at most ``width`` characters: a summary, a header, ``many`` paths."""
    shown = sorted(rows, key=lambda row: _weight(row, order), reverse=True)[:many]
    total = [sum(row[name] for row in rows) for name in ("rate_in", "rate_out", "bit_rate")]
    lone = sum(row["one_way"] is not None for row in rows)
    summary = (
        f"{len(rows)} flows, {total[0]:.0f} packets/s in, {total[1]:.0f} out, {total[2] / 1e6:.2f} Mbit/s,"
        f" {lone} one-way; by {order}"
    )
    columns = flow_columns.fitting(_COLUMNS, shown, width)
    cells = [[c.title for c in columns], *([c.cell(row) for c in columns] for row in shown)]
    widths = [max(len(line[at]) for line in cells) for at in range(len(columns))]
    lines = [
        "  ".join(
            cell.rjust(size) if column.right else cell.ljust(size)
            for cell, size, column in zip(line, widths, columns, strict=True)
        )
        for line in cells
    ]
    return [line.rstrip()[:width] for line in (summary, "", *lines)]


def _weight(row: Mapping[str, Any], order: str) -> float:
    """What a path is sorted by; unknown comes last."""
    streams = [stream for stream in (row["from_client"], row["to_client"]) if stream is not None]
    if order in ("loss", "jitter"):
        name = "loss_percent" if order == "loss" else "jitter_ms"
        return max([stream[name] for stream in streams if stream[name] is not None], default=-1.0)
    if order == "rtt":
        trips = (row["client_round_trip_ms"], row["transceiver_round_trip_ms"])
        return sum(trip or 0.0 for trip in trips) if any(trip is not None for trip in trips) else -1.0
    return float(
        {"rate": row["rate_in"] + row["rate_out"], "bytes": row["bytes_in"] + row["bytes_out"], "idle": row["idle_s"]}[
            order
        ]
    )


def _refuse(limit: str) -> int:
    raise UsageError(f"--limit: {limit!r} is not a whole number")


@contextmanager
def _screen() -> Iterator[None]:
    """The terminal's other screen, with keys that arrive at once; everything as before at the end."""
    import termios
    import tty

    before = termios.tcgetattr(sys.stdin) if sys.stdin.isatty() else None
    if before is not None:
        tty.setcbreak(sys.stdin)
    print(_ALTERNATE, end="", flush=True)
    try:
        yield
    finally:
        print(_NORMAL, end="", flush=True)
        if before is not None:
            termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)


def _key(seconds: float) -> str | None:
    """The key that is pressed within so many seconds."""
    if not sys.stdin.isatty():
        time.sleep(seconds)
        return None
    ready, _, _ = select.select([sys.stdin], [], [], seconds)
    return sys.stdin.read(1) if ready else None
