"""``rtcrelay probe session``: a whole session, and where its time goes."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rtcrelay.cli.app import report
from rtcrelay.cli.options import Output, parsed
from rtcrelay.cli.packets import first_line
from rtcrelay.cli.stream import paint, wants_color
from rtcrelay.config.text import duration_between, format_address, one_of
from rtcrelay.errors import ExitStatus, UsageError

if TYPE_CHECKING:
    from rtcrelay.client.session_probe import Media, SessionReport, Step

EXAMPLES = """
    rtcrelay probe session http://127.0.0.1:8080/whip
    rtcrelay probe session http://127.0.0.1:8081/whip --relay-only --seconds 2 --json
    rtcrelay probe session https://api.example.com/v1/realtime/calls?model=m --api realtime --token-file token"""
"""For the end of the command's help."""

_APIS = ("whip", "realtime")
_HEAD = 45
"""Columns left of the bars."""

_URL = typer.Argument(metavar="URL", help="Where offers are posted: http or https.")
_TOKEN = typer.Option("--token-file", metavar="FILE", help="First line: the Bearer token. - is stdin.")
_API = typer.Option(
    "--api",
    metavar="|".join(_APIS),
    autocompletion=lambda: list(_APIS),
    help="WHIP (RFC 9725), or realtime: /v1/realtime/calls, with its data channel. [default: whip]",
)
_SECONDS = typer.Option("--seconds", metavar="N", help="Of speech once the session is there, 0 to 1h. [default: 5]")
_RELAY_ONLY = typer.Option(
    "--relay-only", help="Use only addresses of the answer at which a relay answers, not a transceiver's own."
)
_INSECURE = typer.Option("-k", "--insecure", help="Take any certificate of the HTTPS server.")


def session(
    options: Output,
    url: Annotated[str, _URL],
    token_file: Annotated[str | None, _TOKEN] = None,
    api: Annotated[str, _API] = "whip",
    seconds: Annotated[str, _SECONDS] = "5",
    relay_only: Annotated[bool, _RELAY_ONLY] = False,
    insecure: Annotated[bool, _INSECURE] = False,
) -> ExitStatus | None:
    """Set up a whole session as a client does, speak, and show where the time goes and how the media fares.

    Works with any WHIP or realtime endpoint; against an echo, every packet's round trip is measured. The session is
    hung up at the end; Ctrl-C ends the speech early. Exits with 0 if every step worked, else with 1: it says which one
    did not, and what to try.
    """
    token = None if token_file is None else first_line(token_file)
    _check_url(url)
    from rtcrelay.client.session_probe import SessionPlan

    plan = SessionPlan(
        url=url,
        api=parsed("--api", api, one_of(*_APIS)),  # type: ignore[arg-type]  # one of the two
        token=token,
        seconds=parsed("--seconds", seconds, _span),
        relay_only=relay_only,
        insecure=insecure,
    )
    return _run(plan, options)


def _run(plan: Any, options: Output) -> ExitStatus | None:
    import asyncio

    from rtcrelay.client.session_probe import probe_session

    is_human = options.form in (None, "table", "plain") and options.verbosity >= 0
    teller = _Teller(options)
    found = asyncio.run(probe_session(plan, teller.set_up if is_human else lambda _: None))
    if options.form in ("json", "jsonl"):
        print(json.dumps(report_row(found), indent=2 if options.form == "json" else None))
    elif is_human:
        teller.finish(found)
    if found.passed:
        return None
    report(f"failed at {found.failed}: {found.error}", found.hint, ExitStatus.PROBLEM)
    return ExitStatus.PROBLEM


def report_row(found: SessionReport) -> dict[str, Any]:
    """The whole report as JSON has it: without passwords, tokens and the session's own URL."""
    media = found.media
    return {
        "kind": "session_probe",
        "v": 1,
        "passed": found.passed,
        "url": _without_secrets(found.plan.url),
        "api": found.plan.api,
        "node": found.node,
        "local": _address(found.local),
        "candidates": [format_address(where) for where in found.candidates],
        "selected": _address(found.selected),
        "ufrag": found.remote_ufrag,
        "ice_lite": found.remote_is_lite,
        "server_sends": found.remote_sends,
        "steps": [
            {
                "name": step.name,
                "ok": step.end_ms is not None,
                "start_ms": round(step.start_ms, 3),
                "took_ms": None if step.end_ms is None else round(step.end_ms - step.start_ms, 3),
            }
            for step in found.steps
        ],
        "failed_step": found.failed,
        "error": found.error,
        "hint": found.hint,
        "media": None if media is None else _media_row(media),
        "hang_up_status": found.hang_up_status,
    }


class _Teller:
    """Tells a person: the waterfall as soon as the session is there, the media at the end."""

    def __init__(self, options: Output) -> None:
        colored = wants_color(options.color) and options.form != "plain"
        self._paint: Callable[[str, str | None], str] = lambda text, tone: paint(text, tone, wanted=colored)
        on_terminal = sys.stdout.isatty() and options.form != "plain"
        self._width = min(120, shutil.get_terminal_size().columns) if on_terminal else 80
        self._bar = "█" if (sys.stdout.encoding or "").lower().replace("-", "").startswith("utf8") else "#"
        self._seen = 0

    def set_up(self, found: SessionReport) -> None:
        """The steps so far."""
        whole = max([step.end_ms or step.start_ms for step in found.steps], default=0.0) or 1.0
        scale = f"{whole:.1f} ms".rjust(max(0, self._width - _HEAD - 1))
        print(self._paint(f"{'STEP':<21}{'BEGINS':>11}{'TAKES':>11}  0{scale}", "dim"))
        for step in found.steps:
            print(self._paint(self._line(step, whole), None if step.end_ms is not None else "bad"), flush=True)
        self._seen = len(found.steps)
        if found.passed and found.plan.seconds >= 1:
            print(self._paint(f"speaking for {found.plan.seconds:g} s", "dim"), flush=True)

    def finish(self, found: SessionReport) -> None:
        """What became of it."""
        for step in found.steps[self._seen :]:
            where = f"at {step.start_ms:.1f} ms" if step.end_ms is None else f"{step.end_ms:.1f} ms after the start"
            print(self._paint(f"{step.title}: {'failed' if step.end_ms is None else 'done'} {where}", "odd"))
        if found.selected is not None:
            by = f" of {_printable(found.node)}" if found.node else ""
            lite = "ICE-lite" if found.remote_is_lite else "full ICE"
            print(f"\n{_address(found.local)} -> {_address(found.selected)}: session{by}, {lite}")
        if found.media is not None and found.media.sent:
            print("\n".join(_media_lines(found.media)))
        if found.passed:
            print(self._paint("every step worked" + _remark(found), "good"))

    def _line(self, step: Step, whole: float) -> str:
        if step.end_ms is None:
            return f"{step.title:<21}{step.start_ms:>8.1f} ms{'failed':>11}"
        room = self._width - _HEAD
        begin = min(room - 1, int(step.start_ms / whole * room))
        length = max(1, round((step.end_ms - step.start_ms) / whole * room))
        bar = " " * begin + self._bar * min(length, room - begin)
        return f"{step.title:<21}{step.start_ms:>8.1f} ms{step.end_ms - step.start_ms:>8.1f} ms  {bar}"


def _media_lines(media: Media) -> Iterator[str]:
    yield f"{'SPEECH':<21}{'PACKETS':>9}{'LOST':>9}{'':>9}{'JITTER':>12}"
    yield _leg("to the server", media.sent, media.sent_lost, media.sent_loss_percent, media.sent_jitter_ms)
    yield _leg("back to us", media.received, media.received_lost, media.received_loss_percent, media.received_jitter_ms)
    if media.sent_lost is None:
        yield "what the server received is unknown: it sent no report"
    trips = [
        f"{name} {value:.1f} ms"
        for name, value in (
            ("echo", media.echo_rtt_p50_ms),
            ("echo p99", media.echo_rtt_p99_ms),
            ("RTCP", media.rtcp_rtt_ms),
            ("STUN", media.stun_rtt_ms),
        )
        if value is not None
    ]
    if trips:
        yield "round trip: " + ", ".join(trips)
    if media.longest_gap_ms is not None:
        yield f"longest silence: {media.longest_gap_ms:.0f} ms"


def _leg(name: str, packets: int, lost: int | None, percent: float | None, jitter: float | None) -> str:
    shown = "-" if percent is None else f"{percent:.1f} %"
    wobble = "-" if jitter is None else f"{jitter:.1f} ms"
    return f"{name:<21}{packets:>9}{'-' if lost is None else lost:>9}{shown:>9}{wobble:>12}"


def _remark(found: SessionReport) -> str:
    media = found.media
    if media is None or media.received:
        return ""
    if not found.remote_sends:
        return "; the server takes audio and sends none, as its answer says"
    return "; no audio came back yet, but the server reports that ours arrives"


def _media_row(media: Media) -> dict[str, Any]:
    from dataclasses import asdict

    return {name: round(value, 3) if isinstance(value, float) else value for name, value in asdict(media).items()}


def _check_url(url: str) -> None:
    from urllib.parse import urlsplit

    try:
        parts = urlsplit(url)
        sound = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        sound = False
    if not sound:
        raise UsageError(f"URL: {url!r} is not an HTTP URL, expected for example http://127.0.0.1:8080/whip")
    if parts.username is not None or parts.password is not None:
        raise UsageError("URL: a password in a URL is seen by everyone on this machine", hint="--token-file FILE")


def _span(text: str) -> float:
    if text.isascii() and text.replace(".", "", 1).isdecimal():
        text += "s"
    return 0.0 if text in ("0s", "0.0s") else duration_between(0.1, 3600)(text)


def _without_secrets(url: str) -> str:
    """Without the query, in which some servers take keys."""
    return url.partition("?")[0].partition("#")[0]


def _address(where: tuple[str, int] | None) -> str | None:
    return None if where is None else format_address(where)


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() else "?" for c in text[:64])
