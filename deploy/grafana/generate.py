"""Makes ``rtcrelay.json``: ``python deploy/grafana/generate.py``. A test compares the file with what this makes."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Query = tuple[str, str]
"""PromQL and the legend of its series."""

_DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}
_COLUMNS, _WIDTH, _HEIGHT = 24, 8, 7


@dataclass(frozen=True, slots=True)
class Panel:
    """A chart, or a number. ``$i`` in a query is the choice of instances."""

    title: str
    unit: str
    """One of Grafana's (packages/grafana-data/src/valueFormats/categories.ts)."""
    queries: Sequence[Query]
    help: str
    kind: str = "timeseries"
    stacked: bool = False
    red_from: float | None = None
    """From which value on it is a fault."""


def rate(metric: str, more: str = "") -> str:
    """How often, for each series."""
    return f"rate({metric}{{$i{more}}}[$__rate_interval])"


def quantile(part: float, metric: str, by: str = "instance") -> str:
    """Of a histogram."""
    return f"histogram_quantile({part}, sum by ({by}, le) ({rate(metric + '_bucket')}))"


def total(query: str, by: str = "") -> str:
    """The sum, or the sums by labels."""
    return f"sum by ({by}) ({query})" if by else f"sum({query})"


OVERVIEW = (
    Panel("Sessions", "short", [(total("rtcrelay_transceiver_sessions{$i}"), "")], "Calls that live now.", kind="stat"),
    Panel(
        "Room left",
        "short",
        [(f"{total('rtcrelay_transceiver_sessions_limit{$i}')} - {total('rtcrelay_transceiver_sessions{$i}')}", "")],
        "Calls that transceivers would take on by their number.",
        kind="stat",
    ),
    Panel(
        "New calls",
        "cps",
        [(total(rate("rtcrelay_transceiver_sessions_created_total")), "")],
        "Offers that became a session.",
        kind="stat",
    ),
    Panel(
        "Refused for want of room",
        "cps",
        [(f"{total(rate('rtcrelay_transceiver_offers_unplaced_total'))} or vector(0)", "")],
        "Callers that were told to come again. rtcrelay nodes list shows the load of each transceiver.",
        kind="stat",
        red_from=0.01,
    ),
    Panel(
        "One-way flows",
        "percentunit",
        [("max(instance:rtcrelay_relay_flows_one_way:ratio{$i}) or vector(0)", "")],
        "The relay that is worst. rtcrelay flows top marks them.",
        kind="stat",
        red_from=0.05,
    ),
    Panel(
        "Alerts",
        "short",
        [('count(ALERTS{alertname=~"Rtcrelay.*", alertstate="firing"}) or vector(0)', "")],
        "Each has a line on what to type first.",
        kind="stat",
        red_from=1,
    ),
)
RELAY = (
    Panel(
        "Packets",
        "pps",
        [(total(rate("rtcrelay_relay_packets_total"), "direction"), "{{direction}}")],
        "Public is the side of clients. In and out of the two sides ought to be alike.",
    ),
    Panel(
        "Bit rate",
        "bps",
        [(total(f"8 * {rate('rtcrelay_relay_bytes_total')}", "direction"), "{{direction}}")],
        "Above UDP.",
    ),
    Panel(
        "Dropped, by reason",
        "pps",
        [(f"{total(rate('rtcrelay_relay_dropped_packets_total'), 'reason')} > 0", "{{reason}}")],
        "docs/metrics.md says what each reason means and asks for.",
        stacked=True,
    ),
    Panel(
        "Flows",
        "short",
        [("rtcrelay_relay_flows{$i}", "{{instance}}"), ("min(rtcrelay_relay_flows_limit{$i})", "smallest limit")],
        "Paths in the table.",
    ),
    Panel(
        "One-way flows",
        "percentunit",
        [("instance:rtcrelay_relay_flows_one_way:ratio{$i}", "{{instance}}")],
        "Part of the examined paths on which one side alone sends; none with fewer than 20 paths.",
        red_from=0.05,
    ),
    Panel(
        "Dropped by the kernel",
        "pps",
        [
            (total(rate("rtcrelay_relay_receive_overflows_total"), "instance"), "{{instance}}"),
            (total(rate("rtcrelay_transceiver_receive_overflows_total"), "instance"), "{{instance}}"),
        ],
        "Receive buffers that were full. rtcrelay doctor, then more workers or processes.",
        red_from=1,
    ),
    Panel(
        "Where routes were found",
        "ops",
        [(total(rate("rtcrelay_relay_route_lookups_total"), "source, result"), "{{source}}: {{result}}")],
        "By ufrag at set-up, by flow afterwards, by redis after restarts and re-hashes.",
    ),
    Panel(
        "Claims",
        "ops",
        [(total(rate("rtcrelay_relay_claims_total"), "event"), "{{event}}")],
        "Learned and restored ones come of restarts and re-hashes.",
    ),
    Panel(
        "Buffers for each receiving call",
        "short",
        [
            (
                f"{total(rate('rtcrelay_relay_receive_batch_buffers_sum'), 'instance, worker')}"
                f" / {total(rate('rtcrelay_relay_receive_batch_buffers_count'), 'instance, worker')}",
                "{{instance}} worker {{worker}}",
            )
        ],
        "Near 64: the worker is at its limit.",
        red_from=48,
    ),
)
REDIS = (
    Panel(
        "Route cache",
        "ops",
        [
            (total(rate(f"rtcrelay_route_cache_{name}_total")), name.replace("_", " "))
            for name in ("written", "asked", "found", "missed", "refused")
        ],
        "Routes written, and questions of relays that lost their paths.",
    ),
    Panel(
        "Errors",
        "ops",
        [
            (total(rate("rtcrelay_heartbeat_errors_total"), "instance"), "heartbeats {{instance}}"),
            (total(rate("rtcrelay_route_cache_read_errors_total"), "instance"), "reads {{instance}}"),
            (total(rate("rtcrelay_route_cache_write_errors_total"), "instance"), "writes {{instance}}"),
            (total(rate("rtcrelay_signaling_heartbeat_errors_total"), "instance"), "signaling {{instance}}"),
        ],
        "Calls go on; recovery gets slower.",
        red_from=0.1,
    ),
    Panel(
        "Routes that wait to be written",
        "short",
        [("rtcrelay_route_cache_queue_length{$i}", "{{instance}}")],
        "Stays above 0: Redis is slow.",
    ),
)
TRANSCEIVER = (
    Panel(
        "Sessions, by state",
        "short",
        [(total("rtcrelay_transceiver_sessions{$i}", "state"), "{{state}}")],
        "New: no packet of the client came yet.",
        stacked=True,
    ),
    Panel(
        "Load",
        "percentunit",
        [("max by (instance, measure) (rtcrelay_transceiver_load{$i})", "{{instance}} {{measure}}")],
        "From 100 % on a transceiver refuses calls.",
        red_from=1,
    ),
    Panel(
        "Sessions ended, by reason",
        "cps",
        [(f"{total(rate('rtcrelay_transceiver_sessions_ended_total'), 'reason')} > 0", "{{reason}}")],
        "Unchecked: nothing of the client ever came. docs/metrics.md has the others.",
        stacked=True,
    ),
    Panel(
        "Event loop late by",
        "s",
        [
            (quantile(0.5, "rtcrelay_transceiver_event_loop_lag_seconds"), "{{instance}} p50"),
            (quantile(0.99, "rtcrelay_transceiver_event_loop_lag_seconds"), "{{instance}} p99"),
        ],
        "What a packet may have to wait. Above 0.1 s callers hear it.",
        red_from=0.1,
    ),
    Panel(
        "Frames late by",
        "s",
        [(quantile(0.99, "rtcrelay_transceiver_frame_lateness_seconds"), "{{instance}} p99")],
        "Sound of backends that speak. A frame has 20 ms.",
        red_from=0.02,
    ),
    Panel(
        "Set-up takes",
        "s",
        [
            (
                quantile(0.99, "rtcrelay_transceiver_signaling_duration_seconds", "instance, method"),
                "{{instance}} {{method}}",
            )
        ],
        "Offer to answer, p99.",
        red_from=0.5,
    ),
    Panel(
        "Sound",
        "pps",
        [(total(rate("rtcrelay_transceiver_rtp_packets_total"), "direction"), "{{direction}}")],
        "50 a second for each speaker.",
    ),
    Panel(
        "Dropped, by reason",
        "pps",
        [(f"{total(rate('rtcrelay_transceiver_dropped_packets_total'), 'reason')} > 0", "{{reason}}")],
        "docs/metrics.md says what each reason means and asks for.",
        stacked=True,
    ),
    Panel(
        "What goes wrong",
        "cps",
        [
            (f"{total(rate('rtcrelay_transceiver_dtls_failures_total'), 'reason')} > 0", "DTLS {{reason}}"),
            (total(rate("rtcrelay_transceiver_backend_failures_total")), "backend raised"),
            (total(rate("rtcrelay_transceiver_offers_refused_total")), "offers refused"),
            (total(rate("rtcrelay_transceiver_frames_skipped_total")), "frames skipped"),
        ],
        "Failures of DTLS, backends and offers.",
    ),
)
SIGNALING = (
    Panel(
        "Calls, by cluster",
        "cps",
        [(total(rate("rtcrelay_signaling_calls_total"), "cluster"), "{{cluster}}")],
        "Where calls were placed.",
        stacked=True,
    ),
    Panel(
        "Not placed at once",
        "cps",
        [
            (total(rate("rtcrelay_signaling_calls_unplaced_total")), "calls unplaced"),
            (total(rate("rtcrelay_signaling_transceivers_refused_total")), "transceivers full"),
            (total(rate("rtcrelay_signaling_transceivers_unreachable_total")), "transceivers unreachable"),
        ],
        "rtcrelay steer explain says why.",
        red_from=0.1,
    ),
    Panel(
        "A request takes",
        "s",
        [
            (quantile(0.5, "rtcrelay_signaling_duration_seconds", "method"), "{{method}} p50"),
            (quantile(0.99, "rtcrelay_signaling_duration_seconds", "method"), "{{method}} p99"),
        ],
        "The transceiver's time is in it.",
        red_from=0.5,
    ),
    Panel(
        "Requests, by status",
        "reqps",
        [(total(rate("rtcrelay_signaling_requests_total"), "method, status"), "{{method}} {{status}}")],
        "503 is no room.",
        stacked=True,
    ),
    Panel(
        "Transceivers with room",
        "short",
        [("max by (cluster) (rtcrelay_signaling_transceivers{$i})", "{{cluster}}")],
        "0: the cluster takes no calls.",
    ),
    Panel(
        "Ingresses that answer",
        "short",
        [("min by (ingress) (rtcrelay_signaling_ingress_up{$i})", "{{ingress}}")],
        "1 if it answers every front, else 0: clients are not told it.",
    ),
)
PROCESSES = (
    Panel(
        "Processors",
        "short",
        [(rate("process_cpu_seconds_total"), "{{instance}}")],
        "Busy processors; a transceiver uses one at most, a relay one for each worker.",
    ),
    Panel("Memory", "bytes", [("process_resident_memory_bytes{$i}", "{{instance}}")], "Resident."),
    Panel(
        "Versions",
        "short",
        [("count by (role, version) (rtcrelay_build_info{$i})", "{{role}} {{version}}")],
        "More than one for a role is a rollout.",
    ),
)
ROWS = (
    ("Now", OVERVIEW),
    ("Relay", RELAY),
    ("Redis", REDIS),
    ("Transceiver", TRANSCEIVER),
    ("Signaling", SIGNALING),
    ("Processes", PROCESSES),
)


def dashboard() -> dict[str, Any]:
    """The dashboard as Grafana 9 and later import it."""
    return {
        "uid": "rtcrelay",
        "title": "rtcrelay",
        "description": "Relays, transceivers and signaling. Needs the recording rules of deploy/prometheus.",
        "tags": ["rtcrelay", "webrtc"],
        "schemaVersion": 37,
        "editable": True,
        "graphTooltip": 1,
        "refresh": "30s",
        "time": {"from": "now-1h", "to": "now"},
        "timezone": "",
        "templating": {
            "list": [
                _datasource(),
                _choice("job", "Job", "rtcrelay_build_info"),
                _choice("instance", "Instance", 'rtcrelay_build_info{job=~"$job"}'),
            ]
        },
        "annotations": {"list": []},
        "panels": list(_panels()),
    }


def _panels() -> Iterator[dict[str, Any]]:
    top, number = 0, 0
    for title, panels in ROWS:
        number += 1
        place = {"x": 0, "y": top, "w": _COLUMNS, "h": 1}
        yield {"id": number, "type": "row", "title": title, "collapsed": False, "gridPos": place, "panels": []}
        top += 1
        width, height = (4, 4) if panels[0].kind == "stat" else (_WIDTH, _HEIGHT)
        for at, panel in enumerate(panels):
            number += 1
            across = _COLUMNS // width
            yield _panel(
                number, panel, {"x": at % across * width, "y": top + at // across * height, "w": width, "h": height}
            )
        top += -(-len(panels) // (_COLUMNS // width)) * height


def _panel(number: int, panel: Panel, place: dict[str, int]) -> dict[str, Any]:
    is_stat = panel.kind == "stat"
    steps: list[dict[str, Any]] = [{"color": "green", "value": None}]
    if panel.red_from is not None:
        steps.append({"color": "red", "value": panel.red_from})
    custom = {
        "drawStyle": "line",
        "lineWidth": 1,
        "fillOpacity": 20 if panel.stacked else 5,
        "showPoints": "never",
        "stacking": {"mode": "normal" if panel.stacked else "none", "group": "A"},
        "thresholdsStyle": {"mode": "off" if panel.red_from is None else "line"},
    }
    defaults: dict[str, Any] = {"unit": panel.unit, "min": 0, "thresholds": {"mode": "absolute", "steps": steps}}
    legend = {"displayMode": "list", "placement": "bottom", "showLegend": True, "calcs": []}
    return {
        "id": number,
        "type": panel.kind,
        "title": panel.title,
        "description": panel.help,
        "datasource": _DATASOURCE,
        "gridPos": place,
        "fieldConfig": {"defaults": defaults if is_stat else defaults | {"custom": custom}, "overrides": []},
        "options": {"reduceOptions": {"calcs": ["lastNotNull"]}, "graphMode": "area", "colorMode": "value"}
        if is_stat
        else {"legend": legend, "tooltip": {"mode": "multi", "sort": "desc"}},
        "targets": [_target(chr(ord("A") + at), *query) for at, query in enumerate(panel.queries)],
    }


def _target(name: str, query: str, legend: str) -> dict[str, Any]:
    shown = query.replace("$i", 'job=~"$job", instance=~"$instance"')
    return {"refId": name, "datasource": _DATASOURCE, "expr": shown, "legendFormat": legend or "__auto"}


def _datasource() -> dict[str, Any]:
    return {"name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus", "current": {}}


def _choice(name: str, label: str, of: str) -> dict[str, Any]:
    """A variable of several values, all of them at first."""
    query = f"label_values({of}, {name})"
    return {
        "name": name,
        "label": label,
        "type": "query",
        "datasource": _DATASOURCE,
        "definition": query,
        "query": {"query": query, "refId": name},
        "refresh": 2,
        "sort": 1,
        "multi": True,
        "includeAll": True,
        "allValue": ".*",
        "current": {"selected": True, "text": ["All"], "value": ["$__all"]},
    }


def main() -> int:
    """Writes the file beside this one."""
    Path(__file__).with_name("rtcrelay.json").write_text(json.dumps(dashboard(), indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
