"""Does a whole session work, and where does its time go? Signaling, ICE, DTLS and media, step by step.

The session is a real one of `rtcrelay.client.core.Call`; at its end it is hung up, whatever happened.
"""

from __future__ import annotations

import asyncio
import ipaddress
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

import aiohttp

from rtcrelay.client.caller import Caller
from rtcrelay.client.core import CallConfig, CallState
from rtcrelay.client.relays import answering
from rtcrelay.errors import PeerError, RtcrelayError
from rtcrelay.rtc.dtls import DtlsIdentity
from rtcrelay.rtc.rtp import OPUS_CLOCK_HZ

if TYPE_CHECKING:  # an alias of the stub, not of the module
    from rtcrelay._dataplane import Address
    from rtcrelay.client.whip import Api

DTLS_LIMIT_SECONDS: Final = 10.0
AUDIO_LIMIT_SECONDS: Final = 8.0
"""For the first audio, or a first report that ours arrived: these come within 7.5 s (RFC 3550 section 6.2)."""
_TITLES: Final = {
    "resolve": "look the name up",
    "connect": "connect to the server",
    "answer": "offer and answer",
    "relay": "relays answer",
    "ice": "ICE: first answer",
    "dtls": "DTLS handshake",
    "audio": "first audio back",
    "echo": "first of ours back",
    "channel": "data channel open",
}
"""The steps in their order, as people read them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionPlan:
    """What to try."""

    url: str
    api: Api = "whip"
    token: str | None = field(default=None, repr=False)
    seconds: float = 5.0
    """Of speech, once the session is there."""
    relay_only: bool = False
    """Use only addresses at which a relay answers."""
    insecure: bool = False
    """Whether any certificate of the HTTP server will do."""


@dataclass(frozen=True, slots=True)
class Step:
    """One part of the set-up, in milliseconds since the probe began."""

    name: str
    start_ms: float
    end_ms: float | None
    """None: it failed."""

    @property
    def title(self) -> str:
        """For people."""
        return _TITLES[self.name]


@dataclass(frozen=True, slots=True)
class Media:
    """What became of the speech. None is unknown."""

    sent: int
    sent_lost: int | None
    """Of these on the way, as the server last reported (RTCP)."""
    sent_loss_percent: float | None
    """Of those that this report is about."""
    sent_jitter_ms: float | None
    received: int
    received_lost: int
    received_loss_percent: float | None
    received_jitter_ms: float | None
    echoed: int
    """Of ours that came back as they were."""
    echo_rtt_p50_ms: float | None
    echo_rtt_p99_ms: float | None
    rtcp_rtt_ms: float | None
    stun_rtt_ms: float | None
    longest_gap_ms: float | None


@dataclass(slots=True)
class SessionReport:
    """What was seen, complete as far as it came."""

    plan: SessionPlan
    steps: list[Step] = field(default_factory=list)
    failed: str | None = None
    """The step that failed."""
    error: str | None = None
    hint: str | None = None
    node: str | None = None
    local: Address | None = None
    candidates: list[Address] = field(default_factory=list)
    selected: Address | None = None
    remote_ufrag: str | None = None
    remote_is_lite: bool = False
    remote_sends: bool = False
    media: Media | None = None
    hang_up_status: int | None = None
    """HTTP status of the request that ended the session; None: it named no URL, or did not answer."""

    @property
    def passed(self) -> bool:
        """Whether every step worked."""
        return self.failed is None


async def probe_session(plan: SessionPlan, on_set_up: Callable[[SessionReport], None]) -> SessionReport:
    """Runs the probe. ``on_set_up`` is called once, when the set-up is done or has failed; Ctrl-C then only ends the
    speech early."""
    probe = _SessionProbe(plan)
    try:
        with suppress(PeerError):
            await probe.set_up()
        stop = asyncio.Event()
        with _interrupted_by(signal.SIGINT, stop.set):
            on_set_up(probe.report)
            if probe.report.passed:
                await probe.speak(stop)
    finally:
        await probe.end()
    return probe.report


class _SessionProbe:
    def __init__(self, plan: SessionPlan) -> None:
        self.report = SessionReport(plan)
        self._plan = plan
        self._loop = asyncio.get_running_loop()
        # The certificate first: its time is not the network's.
        config = CallConfig(identity=DtlsIdentity())
        channel = "oai-events" if plan.api == "realtime" else None
        self._caller = Caller(plan.url, config, token=plan.token, channel=channel)
        self._caller.api = plan.api
        self._began = self._loop.time()
        self._http: dict[str, float] = {}
        self._caller.open_http = self._open_http
        if plan.relay_only:
            self._caller.choose = self._only_relays

    async def set_up(self) -> None:
        """Every step to the first audio. Raises PeerError when one fails, which is in the report then."""
        await self._signal()
        call = self._caller.call
        await self._until("ice", lambda: call.ice.selected is not None, 20.0)
        await self._until("dtls", lambda: call.timings.dtls_done_ms is not None, DTLS_LIMIT_SECONDS)
        # A server that only takes audio says by its reports that it does.
        await self._until("audio", self._is_heard, AUDIO_LIMIT_SECONDS)
        if self._caller.channel is not None and call.data_offer is not None:
            await self._until("channel", lambda: call.timings.channel_open_ms is not None, AUDIO_LIMIT_SECONDS)
        self._note()

    async def speak(self, stop: asyncio.Event) -> None:
        """The rest of the speech, less if it is stopped."""
        call = self._caller.call
        ended = asyncio.ensure_future(
            self._caller.until(lambda: call.state is CallState.ENDED, "speaking", self._plan.seconds)
        )
        stopped = asyncio.ensure_future(stop.wait())
        await asyncio.wait({ended, stopped}, return_when=asyncio.FIRST_COMPLETED)
        for task in (ended, stopped):
            task.cancel()
        await asyncio.gather(ended, stopped, return_exceptions=True)
        self._note()
        if call.state is CallState.ENDED:
            self._fail("audio", f"the session ended while we spoke: {call.end}", "what does the server's log say?")

    async def end(self) -> None:
        """Hangs up."""
        with suppress(RtcrelayError):
            self.report.hang_up_status = await self._caller.hang_up()

    def _open_http(self) -> aiohttp.ClientSession:
        connector = aiohttp.TCPConnector(ssl=not self._plan.insecure)
        return aiohttp.ClientSession(connector=connector, trace_configs=[_trace(self._http, self._now)])

    async def _signal(self) -> None:
        try:
            await self._caller.dial()
        except RtcrelayError as error:
            self._note_signaling()
            if self._caller.answer is None:
                resolved = "resolved" in self._http or is_literal(self._plan.url)
                step = "answer" if "connected" in self._http else "connect" if resolved else "resolve"
            else:
                step = "relay" if "asked" in self._http and "relay" not in self._http else "answer"
            self._fail(step, str(error), error.hint or _HINTS.get(step))
            raise PeerError(str(error)) from error
        self._note_signaling()

    async def _only_relays(self, addresses: list[Address]) -> list[Address]:
        self._http["asked"] = self._now()
        found = await answering(addresses)
        if not found:
            shown = ", ".join(f"{ip}:{port}" for ip, port in addresses)
            raise PeerError(
                f"no relay answers at any address of the answer ({shown or 'none'})",
                hint="'rtcrelay probe stun' asks one; a relay that drains does not answer for itself",
            )
        self._http["relay"] = self._now()
        return found

    async def _until(self, step: str, condition: Callable[[], bool], seconds: float) -> None:
        try:
            await self._caller.until(condition, step, seconds)
        except PeerError as error:
            call = self._caller.call
            why = call.end if call.state is CallState.ENDED else f"nothing within {seconds:g} seconds"
            self._note()
            self._fail(step, why or str(error), _HINTS[step])
            raise

    def _is_heard(self) -> bool:
        call = self._caller.call
        return call.timings.first_audio_received_ms is not None or call.reports.remote.reports > 0

    def _now(self) -> float:
        return (self._loop.time() - self._began) * 1000

    def _fail(self, step: str, error: str, hint: str | None) -> None:
        report = self.report
        if report.failed is None:
            report.failed, report.error, report.hint = step, error, hint
            last = max((each.end_ms or 0.0 for each in report.steps), default=0.0)
            report.steps.append(Step(step, last, None))

    def _note_signaling(self) -> None:
        marks, steps = self._http, self.report.steps
        start = 0.0
        for name, mark in (
            ("resolve", "resolved"),
            ("connect", "connected"),
            ("answer", "answered"),
            ("relay", "relay"),
        ):
            if mark in marks:
                if name != "resolve" or marks[mark] - start > 0.0:
                    steps.append(Step(name, start, marks[mark]))
                start = marks[mark]

    def _note(self) -> None:
        """Writes what the call knows by now into the report."""
        report, caller = self.report, self._caller
        call = caller.call
        report.node = caller.answer.node if caller.answer else None
        report.local, report.candidates, report.selected = caller.local, call.candidates, call.ice.selected
        report.remote_ufrag, report.remote_is_lite = call.remote_ufrag or None, call.remote_is_lite
        report.remote_sends = call.remote_sends
        known = {step.name for step in report.steps}
        report.steps += [step for step in self._call_steps() if step.name not in known]
        report.media = self._media()

    def _call_steps(self) -> Iterator[Step]:
        times = self._caller.call.timings
        # The call's own clock began when its offer was made, a moment after ours.
        offset = (self._caller.call.began - self._began) * 1000
        for name, start, end in (
            ("ice", times.first_check_sent_ms, times.first_check_answered_ms),
            ("dtls", times.first_check_answered_ms, times.dtls_done_ms),
            ("audio", times.keys_ms, times.first_audio_received_ms),
            ("echo", times.first_audio_sent_ms, times.first_echo_ms),
            ("channel", times.dtls_done_ms, times.channel_open_ms),
        ):
            if start is not None and end is not None:
                yield Step(name, start + offset, end + offset)

    def _media(self) -> Media:
        call, now = self._caller.call, self._loop.time()
        counts, reports, echo = call.counts(now), call.reports, call.round_trip()
        expected = counts.audio_received + counts.audio_lost
        heard = reports.remote.reports > 0
        source = reports.current
        gap = call.longest_gap(self._began, now)
        trip = call.ice.round_trip_seconds
        lost = max(0, reports.remote.lost)
        return Media(
            sent=counts.audio_sent,
            sent_lost=lost if heard else None,
            sent_loss_percent=_percent(lost, call.audio_reported) if heard else None,
            sent_jitter_ms=1000 * reports.remote.jitter / OPUS_CLOCK_HZ if heard else None,
            received=counts.audio_received,
            received_lost=counts.audio_lost,
            received_loss_percent=_percent(counts.audio_lost, expected),
            received_jitter_ms=None if source is None else 1000 * source.jitter / OPUS_CLOCK_HZ,
            echoed=counts.audio_echoed,
            echo_rtt_p50_ms=echo.p50_ms if counts.audio_echoed else None,
            echo_rtt_p99_ms=echo.p99_ms if counts.audio_echoed else None,
            rtcp_rtt_ms=None if reports.round_trip is None else 1000 * reports.round_trip,
            stun_rtt_ms=None if trip is None else 1000 * trip,
            longest_gap_ms=None if gap is None else gap.length_ms,
        )


_HINTS: Final = {
    "resolve": "is the name right, and known to this machine's resolver?",
    "connect": "is the server running there? 'curl -v URL' says more about TCP and TLS",
    "answer": "'curl -v URL' shows what the server says, 'rtcrelay sdp inspect' what an answer means",
    "ice": "signaling works, and no UDP comes back: is a firewall in between, or the relay down?"
    " 'rtcrelay probe stun ADDRESS' asks the relay alone, 'rtcrelay probe route' the way behind it",
    "dtls": "small packets pass: do large ones? A path with an MTU below 1300 stops the handshake."
    " Else compare the fingerprints: 'rtcrelay sdp inspect'",
    "audio": "the keys are there and nothing comes back: does the server's backend send or echo?"
    " 'rtcrelay flows get' shows what passes the relay each way",
    "channel": "audio works, the data channel does not open: does the server speak SCTP?",
}
"""What to try when a step fails."""


def _percent(part: int, whole: int) -> float | None:
    return 100 * part / whole if whole else None


def _trace(marks: dict[str, float], now: Callable[[], float]) -> aiohttp.TraceConfig:
    """Notes when the name was known, when the connection stood (TLS included) and when the answer came."""

    def note(name: str) -> Callable[..., Any]:
        async def noted(*_: object) -> None:
            marks.setdefault(name, now())

        return noted

    trace = aiohttp.TraceConfig()
    trace.on_dns_resolvehost_end.append(note("resolved"))
    trace.on_connection_create_end.append(note("connected"))
    trace.on_request_end.append(note("answered"))
    return trace


@contextmanager
def _interrupted_by(number: int, call: Callable[[], None]) -> Iterator[None]:
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(number, call)
    try:
        yield
    finally:
        loop.remove_signal_handler(number)


def is_literal(url: str) -> bool:
    """Whether the host of a URL is an address, so that no name is looked up."""
    try:
        ipaddress.ip_address(urlsplit(url).hostname or "")
    except ValueError:
        return False
    return True
