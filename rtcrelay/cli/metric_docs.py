"""``docs/metrics.md``: every metric, made of what the services' own sources show and of `rtcrelay.metrics.actions`.

The sources are those of real services that have done nothing yet: no name and no meaning is written down again here.
"""

from __future__ import annotations

import ast
import asyncio
import inspect
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, cast

from rtcrelay._dataplane import DROP_REASONS, KeyRing, Policy, Relay, RelayConfig
from rtcrelay.config import RelaySettings, SignalingSettings, TransceiverSettings
from rtcrelay.config.sites import ClusterSite, Ingress, Place, Sites
from rtcrelay.http.times import SignalingTimes
from rtcrelay.keys import KeyFile, generate, load_key_file, write_key_file
from rtcrelay.metrics import actions, reason_actions
from rtcrelay.metrics.certificate import CertificateMetrics
from rtcrelay.metrics.families import Metric
from rtcrelay.metrics.loop_lag import LoopLag
from rtcrelay.metrics.process import ProcessMetrics
from rtcrelay.relay.cache_metrics import CacheMetrics
from rtcrelay.relay.cluster_metrics import ClusterMetrics
from rtcrelay.relay.cluster_table import ClusterTable
from rtcrelay.relay.flow_sample import FlowSample
from rtcrelay.relay.metrics import RelayMetrics
from rtcrelay.rtc.dtls import DtlsEnd
from rtcrelay.signaling import control as signaling
from rtcrelay.signaling.admin import SignalingMetrics
from rtcrelay.store.beacon import Beacon
from rtcrelay.store.beacon_metrics import BeaconMetrics
from rtcrelay.transceiver.counters import DROP_SENTENCES, DTLS_FAILURES, End
from rtcrelay.transceiver.metrics import TransceiverMetrics
from rtcrelay.transceiver.transceiver import Transceiver
from rtcrelay.transceiver.workers.board import Board

_HEAD = """\
# Metrics

What `--metrics ADDR` shows at `/metrics`, with what each number means and what to do about it. Counters count from the
start of the process (a hand-over takes them along); histograms have `_bucket`, `_sum` and `_count`. No label holds an
address, a ufrag or a session: the number of series depends on the configuration alone, not on who calls.

Made by `python -m rtcrelay.cli.docs` from the code. Rules and a dashboard that use these names: `deploy/prometheus` and
`deploy/grafana`.
"""
_HERE = ("127.0.0.1", 0)


def metrics_page() -> str:
    """The whole page."""
    return "\n".join(_page()) + "\n"


def families() -> dict[str, list[Metric]]:
    """The metric families by part, as they are when nothing has happened yet."""
    return asyncio.run(_families())


def labels_of(family: Metric) -> tuple[str, ...]:
    """The label names of a family that has samples."""
    return tuple(sorted({name for sample in family.samples for name in sample.labels if name != "le"}))


def shown_name(family: Metric) -> str:
    """As a scrape shows it."""
    return family.name + {"counter": "_total", "info": "_info"}.get(family.type, "")


def _page() -> Iterator[str]:
    yield _HEAD
    for part, found in families().items():
        yield f"## {part}\n"
        yield from _table(("metric", "type", "means", "what to do"), map(_row, found))
    for metric, (meanings, todo) in reasons().items():
        yield f"## Reasons of `{metric}`\n"
        rows = ((f"`{reason}`", meaning, todo[reason]) for reason, meaning in meanings.items())
        yield from _table(("reason", "means", "what to do"), rows)


def reasons() -> dict[str, tuple[Mapping[str, str], Mapping[str, str]]]:
    """(meanings, what to do) of each reason, by the metric that has it as a label."""
    drops = {drop.name.lower(): sentence for drop, sentence in DROP_SENTENCES.items()}
    failures = {name: text for name, text in _said_of(DtlsEnd).items() if name in DTLS_FAILURES}
    return {
        "rtcrelay_relay_dropped_packets_total": (DROP_REASONS, reason_actions.RELAY_DROPS),
        "rtcrelay_transceiver_dropped_packets_total": (drops, reason_actions.TRANSCEIVER_DROPS),
        "rtcrelay_transceiver_sessions_ended_total": (_said_of(End), reason_actions.ENDS),
        "rtcrelay_transceiver_dtls_failures_total": (failures, reason_actions.DTLS_FAILURES),
    }


def _row(family: Metric) -> tuple[str, ...]:
    name, labels = shown_name(family), labels_of(family)
    shown = f"`{name}`" + (f" by {', '.join(f'`{label}`' for label in labels)}" if labels else "")
    kind = "gauge" if family.type == "info" else family.type
    return shown, kind, family.documentation, actions.ACTIONS[name]


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> Iterator[str]:
    yield f"| {' | '.join(head)} |"
    yield "|" + "---|" * len(head)
    for row in rows:
        yield f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |"
    yield ""


def _said_of(enum: type[Any]) -> dict[str, str]:
    """A closed enum's members, lower case, with the docstrings below them."""
    (statement,) = ast.parse(inspect.getsource(enum)).body
    assert isinstance(statement, ast.ClassDef), "an enum is a class"
    said: dict[str, str] = {}
    for member, text in zip(statement.body, statement.body[1:], strict=False):
        if isinstance(member, ast.Assign) and isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant):
            name = cast("ast.Name", member.targets[0]).id
            said[name.lower()] = str(text.value.value)
    return said


async def _families() -> dict[str, list[Metric]]:
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, "keys.toml")
        write_key_file(path, generate())
        keys = load_key_file(path)
        process = [*ProcessMetrics("relay", lambda: keys).collect(), *CertificateMetrics(lambda: 0.0).collect()]
        beacon = Beacon(cast("Any", None), cast("Any", None))
        return {
            "Every service": process,
            "Relay": _of_relay(),
            "Relay with `--redis`": list(CacheMetrics(cast("Any", _NoCache())).collect()),
            "Relay and transceiver with `--redis`": list(BeaconMetrics(beacon, looks=True).collect()),
            "Transceiver": _of_transceiver(path, keys),
            "Transceiver with `--workers`": list(Board(1).collect()),
            "Signaling": _of_signaling(path, keys),
        }


class _NoCache:
    counts: Mapping[str, int] = {}
    waiting = 0


def _of_relay() -> list[Metric]:
    relay = Relay(RelayConfig([(_HERE, _HERE)], Policy(KeyRing([(0, bytes(16), "active")]))))
    relay.start()
    try:
        source = RelayMetrics(
            relay, workers=1, max_flows=1, is_draining=bool, overflows=lambda: 0, takeovers_failed=lambda: 0
        )
        table = ClusterTable(RelaySettings(listeners=(), key_file=Path("keys.toml"), transceivers=()))
        return [*source.collect(), *FlowSample(relay).collect(), *ClusterMetrics(table, dict).collect()]
    finally:
        relay.stop()


def _of_transceiver(path: Path, keys: KeyFile) -> list[Metric]:
    media, http = ("127.0.0.1", 7000), ("127.0.0.1", 8080)
    settings = TransceiverSettings(
        http=http, media=media, ingresses=(), node="docs", relays=(), key_file=path, direct=("127.0.0.1", 7001)
    )
    transceiver = Transceiver(settings, keys, time.monotonic)
    transceiver.open(media, http, cast("Any", None), None)
    times = SignalingTimes()
    times.requests["POST", "201"] = 0
    lag = LoopLag("rtcrelay_transceiver_event_loop_lag_seconds", asyncio.get_running_loop())
    return [*TransceiverMetrics(transceiver, times, lambda: 0).collect(), *lag.collect()]


def _of_signaling(path: Path, keys: KeyFile) -> list[Metric]:
    place = Place(0.0, 0.0)
    sites = Sites((Ingress("in", ("192.0.2.1", 3478), place),), (ClusterSite(1, "here", place),))
    settings = SignalingSettings(http=("127.0.0.1", 8090), sites=path, key_file=path)
    control = signaling.Control(settings, signaling.Loaded(sites, keys, None, None, None), None, lambda: settings)
    control.counters.placed["here", "unknown"] = 0
    times = SignalingTimes()
    times.requests["POST", "201"] = 0
    lag = LoopLag("rtcrelay_signaling_event_loop_lag_seconds", asyncio.get_running_loop())
    return [*SignalingMetrics(control, times).collect(), *lag.collect()]
