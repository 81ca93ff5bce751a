"""The relay's numbers for Prometheus, out of the data plane's counters."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final, Protocol

from rtcrelay.metrics.families import Metric, batches, counter, counters, gauge

_DIRECTIONS: Final = ("public_in", "public_out", "internal_in", "internal_out")

_CLAIMS: Final = {
    "claims_opened": "opened",
    "claims_confirmed": "confirmed",
    "claims_learned": "learned",
    "claims_restored": "restored",
}

_SINGLE: Final = {
    "announces": ("announces", "Announces of transceivers that came by."),
    "probes": ("probes", "Binding requests with a probe ufrag."),
    "stun_answered": ("stun_answered", "Binding requests without USERNAME that the relay answered itself."),
    "killed": ("killed_flows", "Paths that an operator has ended."),
    "questions": ("route_cache_questions", "Paths without a claim that the route cache was asked for."),
    "held": ("held_packets", "Packets held for the answer to a question to the route cache."),
    "fan_out": ("fan_out_packets", "Additional copies sent because a path had several confirmed claims."),
    "icmp_errors": ("icmp_errors", "ICMP errors that the kernel reported for internal destinations."),
    "receive_errors": ("receive_errors", "Receiving calls that failed."),
    "panics": ("worker_panics", "Defects that stopped a turn of a worker; the worker goes on."),
}

_BATCHES: Final = (1, 2, 4, 8, 16, 32, 64)
"""Upper bounds of the data plane's counts of batches."""

_OF_WORKERS: Final = {
    "gro_buffers": ("gro_buffers", "Buffers with several datagrams that the kernel put together (UDP GRO)."),
    "gro_packets": ("gro_packets", "Datagrams in buffers that the kernel put together (UDP GRO)."),
    "gso_sends": ("gso_sends", "Groups of datagrams that left in one piece and were cut apart later (UDP GSO)."),
    "gso_packets": ("gso_packets", "Datagrams that left in groups (UDP GSO)."),
    "gso_refused": ("gso_refused", "Groups of datagrams (UDP GSO) that the kernel refused; they went one by one."),
    "kernel_drops": ("kernel_drops", "Datagrams that the kernel dropped because a worker took them too late."),
}

_REFUSED_UFRAG: Final = (
    "ufrag_foreign",
    "ufrag_unknown_key",
    "ufrag_revoked_key",
    "ufrag_forged",
    "ufrag_kind",
    "cluster_unknown",
    "node_unknown",
    "endpoint_forbidden",
)


class Numbers(Protocol):
    """The side of `_dataplane.Relay` that counts."""

    def counters(self) -> dict[str, int]:
        """As `_dataplane.Relay.counters`."""

    def drops(self) -> dict[str, int]:
        """As `_dataplane.Relay.drops`."""

    def workers(self) -> list[dict[str, int]]:
        """As `_dataplane.Relay.workers`."""

    def gauges(self) -> dict[str, int]:
        """As `_dataplane.Relay.gauges`."""


class RelayMetrics:
    """``rtcrelay_relay_…``: a snapshot of integers for each scrape, nothing for each packet."""

    def __init__(
        self,
        numbers: Numbers,
        *,
        workers: int,
        max_flows: int,
        is_draining: Callable[[], bool],
        overflows: Callable[[], int],
        takeovers_failed: Callable[[], int],
    ) -> None:
        """``workers`` and ``max_flows`` as configured; ``overflows`` as `kernel.receive_overflows`;
        ``takeovers_failed`` as `Succession.failed`."""
        self._numbers = numbers
        self._workers, self._max_flows = workers, max_flows
        self._is_draining, self._overflows, self._takeovers_failed = is_draining, overflows, takeovers_failed

    def collect(self) -> Iterator[Metric]:
        """See `rtcrelay.metrics.pages.MetricsSource`."""
        counts, drops, gauges = self._numbers.counters(), self._numbers.drops(), self._numbers.gauges()
        yield from _traffic(counts, drops)
        yield counter(
            "rtcrelay_relay_receive_overflows_total",
            "Datagrams that the kernel dropped because a socket's receive buffer was full.",
            self._overflows(),
        )
        yield from _workers(self._numbers.workers())
        yield _lookups(counts, drops)
        claims = {event: counts[name] for name, event in _CLAIMS.items()}
        yield counters("rtcrelay_relay_claims_total", "Claims of next hops to paths, by event.", ["event"], claims)
        for name, (shown, help) in _SINGLE.items():
            yield counter(f"rtcrelay_relay_{shown}_total", help, counts[name])
        yield gauge("rtcrelay_relay_flows", "Paths in the table.", gauges["flows"])
        yield gauge("rtcrelay_relay_flows_limit", "Paths that the table has room for.", self._max_flows)
        yield gauge("rtcrelay_relay_next_hops", "Next hops that packets are sent to.", gauges["next_hops"])
        yield gauge("rtcrelay_relay_workers", "Packet threads that live.", gauges["workers"])
        yield gauge("rtcrelay_relay_workers_configured", "Packet threads that should live.", self._workers)
        yield gauge("rtcrelay_relay_draining", "1 if no new calls should come here, else 0.", self._is_draining())
        yield counter(
            "rtcrelay_relay_takeovers_failed_total",
            "Successors that wanted to take over and did not, so that this process went on.",
            self._takeovers_failed(),
        )


def _traffic(counts: Mapping[str, int], drops: Mapping[str, int]) -> Iterator[Metric]:
    yield counters(
        "rtcrelay_relay_packets_total",
        "Datagrams received and sent, towards clients (public) and transceivers or peers (internal).",
        ["direction"],
        {direction: counts[f"{direction}_packets"] for direction in _DIRECTIONS},
    )
    yield counters(
        "rtcrelay_relay_bytes_total",
        "Bytes received and sent, above UDP; internal ones with the SPP header.",
        ["direction"],
        {direction: counts[f"{direction}_bytes"] for direction in _DIRECTIONS},
    )
    dropped = dict(sorted(drops.items()))
    yield counters("rtcrelay_relay_dropped_packets_total", "Packets that went nowhere, by reason.", ["reason"], dropped)


def _workers(workers: Sequence[Mapping[str, int]]) -> Iterator[Metric]:
    """How each packet thread works: what the kernel saves it, and what it cannot take in time."""
    names = [str(number) for number in range(len(workers))]
    yield batches(
        "rtcrelay_relay_receive_batch_buffers",
        "Buffers that a receiving call brought: one datagram each, or several that the kernel put together.",
        {
            name: ([counts[f"batches_{size}"] for size in _BATCHES], counts["receive_buffers"])
            for name, counts in zip(names, workers, strict=True)
        },
    )
    for name, (shown, help) in _OF_WORKERS.items():
        values = {number: counts[name] for number, counts in zip(names, workers, strict=True)}
        yield counters(f"rtcrelay_relay_{shown}_total", help, ["worker"], values)


def _lookups(counts: Mapping[str, int], drops: Mapping[str, int]) -> Metric:
    return counters(
        "rtcrelay_relay_route_lookups_total",
        "Where routes were looked for: the ufrag of a request, the path's claims (flow), the route cache (redis).",
        ["source", "result"],
        {
            ("ufrag", "hit"): counts["routed_by_ufrag"],
            ("ufrag", "refused"): sum(drops[reason] for reason in _REFUSED_UFRAG),
            ("flow", "hit"): counts["routed_by_path"],
            ("flow", "miss"): drops["no_route"],
            ("redis", "hit"): counts["claims_restored"],
        },
    )
