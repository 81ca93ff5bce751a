"""The relay's metrics, from the counters of a real data plane that has forwarded nothing yet and of a played one."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from prometheus_client.exposition import generate_latest

from rtcrelay._dataplane import DROP_REASONS, KeyRing, Policy, Relay, RelayConfig
from rtcrelay.relay.metrics import Numbers, RelayMetrics


class Played:
    """Every counter of a real relay has a value of its own, so that none can stand for another."""

    def __init__(self, relay: Relay) -> None:
        self._counters = {name: 1000 + at for at, name in enumerate(sorted(relay.counters()))}
        self._drops = {name: 5000 + at for at, name in enumerate(sorted(relay.drops()))}

    def counters(self) -> dict[str, int]:
        return self._counters

    def drops(self) -> dict[str, int]:
        return self._drops

    def workers(self) -> list[dict[str, int]]:
        return [self._counters, dict.fromkeys(self._counters, 0)]

    def gauges(self) -> dict[str, int]:
        return {"flows": 11, "next_hops": 12, "workers": 13}


@pytest.fixture
def real() -> Iterator[Relay]:
    """A data plane that has forwarded nothing yet."""
    policy = Policy(KeyRing([(0, bytes(16), "active")]))
    relay = Relay(RelayConfig([(("127.0.0.1", 0), ("127.0.0.1", 0))], policy))
    relay.start()
    yield relay
    relay.stop()


def samples(numbers: Numbers) -> dict[str, float]:
    """``name{labels}`` and value of every line."""
    source = RelayMetrics(
        numbers,
        workers=14,
        max_flows=15,
        is_draining=lambda: True,
        overflows=lambda: 16,
        takeovers_failed=lambda: 17,
    )
    lines = generate_latest(source).decode().splitlines()
    return {name: float(value) for name, _, value in (x.rpartition(" ") for x in lines if not x.startswith("#"))}


def test_every_drop_reason_is_there_from_the_start(real: Relay) -> None:
    shown = samples(real)
    for reason in DROP_REASONS:
        assert shown[f'rtcrelay_relay_dropped_packets_total{{reason="{reason}"}}'] == 0


def test_every_counter_of_the_data_plane_is_shown(real: Relay) -> None:
    played = Played(real)
    shown = set(samples(played).values())
    sizes = {f"batches_{2**power}" for power in range(7)}  # one histogram
    assert {name for name, value in played.counters().items() if value not in shown} - sizes == set()


def test_batches_are_a_histogram_for_each_worker(real: Relay) -> None:
    played = Played(real)
    shown, counts = samples(played), played.counters()
    name = "rtcrelay_relay_receive_batch_buffers"
    assert shown[f'{name}_bucket{{le="1.0",worker="0"}}'] == counts["batches_1"]
    assert shown[f'{name}_bucket{{le="4.0",worker="0"}}'] == sum(counts[f"batches_{size}"] for size in (1, 2, 4))
    assert shown[f'{name}_bucket{{le="+Inf",worker="0"}}'] == shown[f'{name}_count{{worker="0"}}']
    assert shown[f'{name}_sum{{worker="0"}}'] == counts["receive_buffers"]
    assert shown[f'{name}_sum{{worker="1"}}'] == 0
    assert shown['rtcrelay_relay_kernel_drops_total{worker="0"}'] == counts["kernel_drops"]


def test_names_and_labels_are_the_published_ones(real: Relay) -> None:
    played = Played(real)
    shown, counts, drops = samples(played), played.counters(), played.drops()
    assert shown['rtcrelay_relay_packets_total{direction="public_in"}'] == counts["public_in_packets"]
    assert shown['rtcrelay_relay_bytes_total{direction="internal_out"}'] == counts["internal_out_bytes"]
    assert shown["rtcrelay_relay_flows"] == 11
    assert shown["rtcrelay_relay_next_hops"] == 12
    assert shown["rtcrelay_relay_workers"] == 13
    assert shown["rtcrelay_relay_workers_configured"] == 14
    assert shown["rtcrelay_relay_flows_limit"] == 15
    assert shown["rtcrelay_relay_draining"] == 1
    assert shown["rtcrelay_relay_receive_overflows_total"] == 16
    assert shown["rtcrelay_relay_takeovers_failed_total"] == 17
    assert shown['rtcrelay_relay_claims_total{event="learned"}'] == counts["claims_learned"]
    lookups = "rtcrelay_relay_route_lookups_total"
    assert shown[f'{lookups}{{result="hit",source="ufrag"}}'] == counts["routed_by_ufrag"]
    assert shown[f'{lookups}{{result="hit",source="flow"}}'] == counts["routed_by_path"]
    assert shown[f'{lookups}{{result="miss",source="flow"}}'] == drops["no_route"]
    kinds = ("ufrag_", "cluster_unknown", "node_", "endpoint_")
    refused = sum(n for name, n in drops.items() if name.startswith(kinds))
    assert shown[f'{lookups}{{result="refused",source="ufrag"}}'] == refused
