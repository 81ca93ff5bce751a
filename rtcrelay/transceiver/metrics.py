"""A transceiver's numbers for Prometheus. Made for each scrape from what is counted anyway."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from rtcrelay.http.times import SignalingTimes
from rtcrelay.metrics.families import Metric, counter, counters, gauge, gauges, histogram, histograms
from rtcrelay.transceiver.counters import Count, Drop, End
from rtcrelay.transceiver.report import STATES, state_of
from rtcrelay.transceiver.transceiver import Transceiver

_DIRECTIONS: Final = ("in", "out")
_SINGLE: Final = {
    Count.SESSIONS_CREATED: ("sessions_created", "Offers of clients that became a session."),
    Count.OFFERS_REFUSED: ("offers_refused", "Offers of clients that did not become a session, whatever the reason."),
    Count.OFFERS_UNPLACED: ("offers_unplaced", "Offers refused because the transceiver was full, late or draining."),
    Count.ICE_RESTARTS: ("ice_restarts", "ICE restarts that were granted."),
    Count.REQUESTS_PASSED_ON: ("requests_passed_on", "Requests about sessions of others, passed on to their owner."),
    Count.WORKER_REQUESTS: ("worker_requests", "New calls and other requests, given to another worker."),
    Count.CONNECTIONS_REFUSED: ("connections_refused", "Connections to signaling that were over a limit."),
    Count.CONNECTIONS_LATE: ("connections_late", "Connections to signaling closed because no request came."),
    Count.CHECKS: ("checks", "Authentic connectivity checks."),
    Count.CHECKS_REPEATED: ("checks_repeated", "Connectivity checks that had been seen before, and so moved nothing."),
    Count.PROBES_ANSWERED: ("probes", "Probes of the way to this transceiver that were answered."),
    Count.PATHS_MOVED: ("paths_moved", "Times that a session moved to another path."),
    Count.VALIDATIONS_SENT: ("path_validations", "Requests sent to an address to prove that it wants media."),
    Count.VALIDATIONS_ANSWERED: ("path_validations_answered", "Requests to prove an address that were answered."),
    Count.ANNOUNCES_OUT: ("announces", "Announces to relays, for sessions with nothing to send."),
    Count.DTLS_CONNECTED: ("dtls_connected", "DTLS handshakes that were completed."),
    Count.FRAMES_SKIPPED: ("frames_skipped", "Frames of speaking backends left out because the process was late."),
    Count.BACKEND_FAILURES: ("backend_failures", "Times that a backend raised an error."),
}
_BY_DIRECTION: Final = {
    "packets": ((Count.DATAGRAMS_IN, Count.DATAGRAMS_OUT), "Datagrams of the media sockets."),
    "bytes": ((Count.BYTES_IN, Count.BYTES_OUT), "Bytes of the media sockets, above UDP, without SPP headers."),
    "rtp_packets": ((Count.RTP_IN, Count.RTP_OUT), "Opus packets."),
    "rtcp_packets": ((Count.RTCP_IN, Count.RTCP_OUT), "RTCP packets."),
    "messages": ((Count.MESSAGES_IN, Count.MESSAGES_OUT), "Messages on data channels."),
}


class TransceiverMetrics:
    """``rtcrelay_transceiver_…``."""

    def __init__(self, transceiver: Transceiver, times: SignalingTimes, overflows: Callable[[], int]) -> None:
        """``overflows``: datagrams that the kernel dropped because a media socket's buffer was full."""
        self._transceiver, self._times, self._overflows = transceiver, times, overflows

    def collect(self) -> Iterator[Metric]:
        """See `rtcrelay.metrics.pages.MetricsSource`."""
        yield from self._sessions()
        yield from self._signaling()
        yield from self._packets()
        lateness = self._transceiver.frame_clock.lateness
        yield histogram(
            "rtcrelay_transceiver_frame_lateness_seconds",
            "Time from when a frame of a speaking backend was due until it was sent.",
            lateness,
        )

    def _sessions(self) -> Iterator[Metric]:
        transceiver, totals = self._transceiver, self._transceiver.counters
        states = dict.fromkeys(STATES, 0)
        for session in transceiver.sessions():
            states[state_of(session)] += 1
        yield gauges(
            "rtcrelay_transceiver_sessions",
            "Live sessions, by state: new (no check came yet), checked, connected.",
            ["state"],
            states,
        )
        limit = transceiver.settings.max_sessions
        yield gauge("rtcrelay_transceiver_sessions_limit", "Sessions that are taken at once.", limit)
        yield gauges(
            "rtcrelay_transceiver_load",
            "Part of what is possible that is used, by measure; from 1 on new calls are refused.",
            ["measure"],
            transceiver.loads(),
        )
        yield gauge("rtcrelay_transceiver_paths", "Paths in the table.", transceiver.router.path_count)
        yield gauge("rtcrelay_transceiver_draining", "1 if no new calls are taken, else 0.", transceiver.is_draining)
        yield counters(
            "rtcrelay_transceiver_sessions_ended_total",
            "Sessions that ended, by reason.",
            ["reason"],
            {end.name.lower(): totals.ends[end] for end in End},
        )
        yield counters(
            "rtcrelay_transceiver_dtls_failures_total",
            "DTLS connections that ended by a failure, by reason.",
            ["reason"],
            totals.dtls_failures,
        )

    def _signaling(self) -> Iterator[Metric]:
        yield histograms(
            "rtcrelay_transceiver_signaling_duration_seconds",
            "Time from the head of a signaling request to its response, by method.",
            ["method"],
            self._times.seconds,
        )
        yield counters(
            "rtcrelay_transceiver_signaling_requests_total",
            "Requests of signaling, by method and status.",
            ["method", "status"],
            dict(self._times.requests),
        )
        for count, (name, help) in _SINGLE.items():
            yield counter(f"rtcrelay_transceiver_{name}_total", help, self._transceiver.counters.counts[count])

    def _packets(self) -> Iterator[Metric]:
        totals = self._transceiver.counters
        for name, (pair, help) in _BY_DIRECTION.items():
            values = {way: totals.counts[count] for way, count in zip(_DIRECTIONS, pair, strict=True)}
            yield counters(f"rtcrelay_transceiver_{name}_total", help, ["direction"], values)
        yield counters(
            "rtcrelay_transceiver_dropped_packets_total",
            "Packets that went nowhere, by reason.",
            ["reason"],
            {drop.name.lower(): totals.drops[drop] for drop in Drop},
        )
        yield counter(
            "rtcrelay_transceiver_receive_overflows_total",
            "Datagrams that the kernel dropped because a media socket's receive buffer was full.",
            self._overflows(),
        )
