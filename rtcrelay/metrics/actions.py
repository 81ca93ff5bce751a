"""What should an operator do about each metric? One line each; meanings are where the metrics are made.

``docs/metrics.md`` is made of both by ``python -m rtcrelay.cli.docs``, and a test compares the names with what servers
show. Where nothing is to be done, the line says what the number is for.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

_VERSIONS: Final = (
    "More than one version at a time is a rollout; for long it is a forgotten node: `rtcrelay nodes list`."
)
_BUFFERS: Final = "When it rises: `rtcrelay doctor` (net.core.rmem_max), then more workers or processes."
_GROUPS: Final = "Shows how much the kernel saves; nothing to do."
_HTTP: Final = "When it rises: a scan, or a proxy that holds too many connections; raise the proxy's reuse of them."
_LAG: Final = "p99 above 0.02: take load away (more processes); above 0.1 callers hear it. `rtcrelay sessions list`."
_DRAIN: Final = "1 without a rollout: `rtcrelay nodes list` says whose order; `rtcrelay nodes uncordon` takes it back."
_REDIS: Final = "When it rises: `rtcrelay doctor` and `rtcrelay routes stats`; calls go on, recovery gets slower."

PROCESS: Final[Mapping[str, str]] = {
    "rtcrelay_build_info": _VERSIONS,
    "rtcrelay_key_info": "One id with two fingerprints, or a key that not all hold: `rtcrelay keys list`, then docs/keys.md.",
    "process_virtual_memory_bytes": "Nothing: the path table is reserved as a whole.",
    "process_resident_memory_bytes": "Grows without more sessions or flows for days: report it, and restart by hand-over.",
    "process_start_time_seconds": "Changes without a rollout: the process was restarted; read the end of its log.",
    "process_cpu_seconds_total": "Near one core for each worker: add workers or processes (docs/capacity.md).",
    "process_open_fds": "Near process_max_fds: connections leak or the limit is low; `rtcrelay doctor`.",
    "process_max_fds": "The limit for process_open_fds (LimitNOFILE).",
    "rtcrelay_tls_certificate_expiry_timestamp_seconds": "Less than a fortnight away: renew it, then SIGHUP; no restart.",
}
"""Of every service."""

RELAY: Final[Mapping[str, str]] = {
    "rtcrelay_relay_packets_total": "public_in without public_out: `rtcrelay flows top`; it shows which flows are one-way.",
    "rtcrelay_relay_bytes_total": "For the bandwidth bill: compare with the interface's limit.",
    "rtcrelay_relay_dropped_packets_total": "By reason, see below.",
    "rtcrelay_relay_receive_overflows_total": _BUFFERS,
    "rtcrelay_relay_kernel_drops_total": _BUFFERS + " One worker alone: a few sources send most of the traffic.",
    "rtcrelay_relay_receive_batch_buffers": "Mostly at 64: the worker is at its limit; add workers.",
    "rtcrelay_relay_gro_buffers_total": _GROUPS,
    "rtcrelay_relay_gro_packets_total": _GROUPS,
    "rtcrelay_relay_gso_sends_total": _GROUPS,
    "rtcrelay_relay_gso_packets_total": _GROUPS,
    "rtcrelay_relay_gso_refused_total": "When it rises: an MTU below 1500 or IPsec on the way; it costs processor time only.",
    "rtcrelay_relay_route_lookups_total": "refused of ufrag: keys differ or somebody guesses; miss of flow: paths were lost.",
    "rtcrelay_relay_claims_total": "learned or restored without a restart: clients or load balancers move paths.",
    "rtcrelay_relay_announces_total": "Falls to 0 while sessions are silent: transceivers' announces do not come through.",
    "rtcrelay_relay_probes_total": "Of `rtcrelay probe route`; more than yours: somebody has a key.",
    "rtcrelay_relay_stun_answered_total": "Falls to 0: the load balancer's health checks no longer come.",
    "rtcrelay_relay_killed_flows_total": "Of `rtcrelay flows kill`; the log says when.",
    "rtcrelay_relay_route_cache_questions_total": "Rises: paths came to this relay that it does not know; normal after a restart.",
    "rtcrelay_relay_held_packets_total": "Rises with the questions; held for 20 ms at most.",
    "rtcrelay_relay_fan_out_packets_total": "Rises for long: two sessions share an address; `rtcrelay flows list` shows claims.",
    "rtcrelay_relay_icmp_errors_total": "When it rises: a transceiver is gone or a firewall rejects; `rtcrelay probe route`.",
    "rtcrelay_relay_receive_errors_total": "When it rises: read the log; the kernel says why.",
    "rtcrelay_relay_worker_panics_total": "Not 0: a defect; please report what the log says.",
    "rtcrelay_relay_flows": "Near the limit: raise --max-flows; falls to 0: clients no longer reach the address.",
    "rtcrelay_relay_flows_limit": "The limit for rtcrelay_relay_flows (--max-flows).",
    "rtcrelay_relay_flows_examined": "What rtcrelay_relay_flows_one_way is a part of.",
    "rtcrelay_relay_flows_one_way": "More than a few percent: `rtcrelay flows top`, then `rtcrelay probe route` to that transceiver.",
    "rtcrelay_relay_cluster_relays": "Fewer than the cluster has: `rtcrelay nodes list`; a relay is away, drained, or outside --peers.",
    "rtcrelay_relay_cluster_heartbeats_refused_total": "When it rises: --peers lacks a network, or a stranger writes there.",
    "rtcrelay_relay_sites_redis_up": "0: that site's relays are taken as they were known; see its Redis.",
    "rtcrelay_relay_next_hops": "Fewer than transceivers that have calls: some get no packets from here.",
    "rtcrelay_relay_workers": "Fewer than configured: the relay ends with 70 and is restarted; read the log.",
    "rtcrelay_relay_workers_configured": "What rtcrelay_relay_workers ought to be (--workers).",
    "rtcrelay_relay_draining": _DRAIN,
    "rtcrelay_relay_takeovers_failed_total": "When it rises: the log of both processes says why; calls are not harmed.",
}
"""Of relays."""

REDIS: Final[Mapping[str, str]] = {
    "rtcrelay_route_cache_written_total": "Falls to 0 with calls running: see the errors.",
    "rtcrelay_route_cache_write_errors_total": _REDIS,
    "rtcrelay_route_cache_write_dropped_total": "When it rises: Redis is too slow for the call rate; `rtcrelay routes stats`.",
    "rtcrelay_route_cache_asked_total": "Rises after restarts and re-hashes; always: flows change their relay all the time.",
    "rtcrelay_route_cache_found_total": "Against asked: how many recoveries Redis shortened.",
    "rtcrelay_route_cache_missed_total": "Most of asked: the cache is empty or another one; `rtcrelay routes list`.",
    "rtcrelay_route_cache_refused_total": 'When it rises: somebody else writes there; docs/routes.md, "Who may write".',
    "rtcrelay_route_cache_read_errors_total": _REDIS,
    "rtcrelay_route_cache_ask_dropped_total": "When it rises: a flood of strange packets, or Redis too slow; `rtcrelay flows stats`.",
    "rtcrelay_route_cache_defects_total": "Not 0: a defect; please report what the log says.",
    "rtcrelay_route_cache_events_lost_total": "When it rises: the control plane gets no processor; routes are written later.",
    "rtcrelay_route_cache_queue_length": "Stays above 0: Redis is slow; full at 65536, then routes are dropped.",
    "rtcrelay_heartbeats_written_total": "Does not rise: others take this node for dead after 15 s; `rtcrelay nodes list`.",
    "rtcrelay_heartbeat_errors_total": _REDIS,
    "rtcrelay_heartbeats_refused_total": 'When it rises: another version or a stranger writes there; docs/routes.md, "Who may write".',
    "rtcrelay_orders_total": "Orders of `rtcrelay nodes cordon` and the like; the log says whose.",
    "rtcrelay_nodes_alive": "Fewer than there are: `rtcrelay nodes list` names the missing ones.",
}
"""Of relays and, as far as heartbeats go, transceivers with ``--redis``."""

TRANSCEIVER: Final[Mapping[str, str]] = {
    "rtcrelay_transceiver_sessions": "Many new ones: clients are told an address that does not lead here; `rtcrelay probe session`.",
    "rtcrelay_transceiver_sessions_limit": "The limit for rtcrelay_transceiver_sessions (--max-sessions).",
    "rtcrelay_transceiver_load": "Above 0.7: add transceivers; made for autoscaling.",
    "rtcrelay_transceiver_paths": "Several for each session: clients move; `rtcrelay sessions list`.",
    "rtcrelay_transceiver_draining": _DRAIN,
    "rtcrelay_transceiver_sessions_ended_total": "By reason, see below.",
    "rtcrelay_transceiver_dtls_failures_total": "By reason, see below.",
    "rtcrelay_transceiver_signaling_duration_seconds": "p99 above 0.1: the process is overloaded; see event_loop_lag.",
    "rtcrelay_transceiver_signaling_requests_total": "4xx: clients or tokens; 5xx: 503 is no room, 500 a defect (the log).",
    "rtcrelay_transceiver_sessions_created_total": "The call rate; falls to 0: signaling does not reach this transceiver.",
    "rtcrelay_transceiver_offers_refused_total": "Without offers_unplaced: clients' SDP is not accepted; `rtcrelay sdp inspect`.",
    "rtcrelay_transceiver_offers_unplaced_total": "When it rises: no room; add transceivers, see rtcrelay_transceiver_load.",
    "rtcrelay_transceiver_ice_restarts_total": "Many: clients' networks change, or they lose the way; `rtcrelay sessions list`.",
    "rtcrelay_transceiver_requests_passed_on_total": "Normal behind a load balancer.",
    "rtcrelay_transceiver_worker_requests_total": "Normal with several workers: each takes what comes, for all.",
    "rtcrelay_transceiver_worker_up": "0 for longer than a start takes: the log says why that worker ended.",
    "rtcrelay_transceiver_worker_starts_total": "Above 1 for each worker: it died with its calls; read the log.",
    "rtcrelay_transceiver_connections_refused_total": _HTTP,
    "rtcrelay_transceiver_connections_late_total": _HTTP,
    "rtcrelay_transceiver_checks_total": "0 with new sessions: nothing comes through the relays; `rtcrelay probe route`.",
    "rtcrelay_transceiver_checks_repeated_total": "A few are retransmissions; many: somebody replays packets.",
    "rtcrelay_transceiver_probes_total": "Of `rtcrelay probe route`; more than yours: somebody has a key.",
    "rtcrelay_transceiver_paths_moved_total": "Many: clients' networks or NATs change; `rtcrelay sessions list` shows moves.",
    "rtcrelay_transceiver_path_validations_total": "Goes with paths_moved.",
    "rtcrelay_transceiver_path_validations_answered_total": "Far fewer than asked: spoofed addresses, or one-way paths.",
    "rtcrelay_transceiver_announces_total": "For sessions that are silent; nothing to do.",
    "rtcrelay_transceiver_dtls_connected_total": "Fewer than sessions_created: see sessions_ended and dtls_failures.",
    "rtcrelay_transceiver_frames_skipped_total": "When it rises: the process is late; see frame_lateness.",
    "rtcrelay_transceiver_backend_failures_total": "When it rises: the backend raised; its traceback is in the log.",
    "rtcrelay_transceiver_packets_total": "in without out, or the other way: `rtcrelay sessions list`, then `rtcrelay flows top`.",
    "rtcrelay_transceiver_bytes_total": "For the bandwidth bill.",
    "rtcrelay_transceiver_rtp_packets_total": "50 a second for each speaker and direction; far fewer: loss or silence.",
    "rtcrelay_transceiver_rtcp_packets_total": "None in: clients' reports do not come, and loss towards them is unknown.",
    "rtcrelay_transceiver_messages_total": "The application's; nothing to do.",
    "rtcrelay_transceiver_dropped_packets_total": "By reason, see below.",
    "rtcrelay_transceiver_receive_overflows_total": "When it rises: `rtcrelay doctor` (net.core.rmem_max), then more processes.",
    "rtcrelay_transceiver_frame_lateness_seconds": "p99 above 0.02: callers hear gaps; take load away (more processes).",
    "rtcrelay_transceiver_event_loop_lag_seconds": _LAG,
}
"""Of transceivers."""

SIGNALING: Final[Mapping[str, str]] = {
    "rtcrelay_signaling_calls_total": "By cluster: where calls go; `rtcrelay steer explain` says why.",
    "rtcrelay_signaling_calls_unplaced_total": "When it rises: no cluster has room or answers; `rtcrelay steer explain`.",
    "rtcrelay_signaling_transceivers_unreachable_total": "When it rises: a transceiver is gone or firewalled; `rtcrelay nodes list`.",
    "rtcrelay_signaling_transceivers_refused_total": "When it rises: transceivers are full; add some.",
    "rtcrelay_signaling_requests_passed_on_total": "Normal: hang-ups and restarts.",
    "rtcrelay_signaling_connections_refused_total": _HTTP,
    "rtcrelay_signaling_connections_late_total": _HTTP,
    "rtcrelay_signaling_heartbeat_errors_total": "When it rises: `rtcrelay doctor`; calls go to the transceivers that were known.",
    "rtcrelay_signaling_heartbeats_refused_total": "When it rises: --signaling-peers lacks a network, or a stranger writes there.",
    "rtcrelay_signaling_duration_seconds": "p99 above 0.25: transceivers are slow or far; `rtcrelay probe session` shows where.",
    "rtcrelay_signaling_requests_total": "4xx: clients or tokens; 5xx: 503 is no room, 500 a defect (the log).",
    "rtcrelay_signaling_transceivers": "0 in a cluster: its calls go to the next nearest; `rtcrelay nodes list`.",
    "rtcrelay_signaling_ingress_up": "0: clients are no longer told this ingress; `rtcrelay probe stun` it from outside.",
    "rtcrelay_signaling_redis_up": "0: that site's calls go to the transceivers that were known; see its Redis.",
    "rtcrelay_signaling_draining": "1 without a rollout: somebody asked for it on this machine; `rtcrelay drain --cancel`.",
    "rtcrelay_signaling_event_loop_lag_seconds": "p99 above 0.1: more fronts behind the load balancer.",
}
"""Of signaling."""

ACTIONS: Final[Mapping[str, str]] = {**PROCESS, **RELAY, **REDIS, **TRANSCEIVER, **SIGNALING}
"""Every metric by its full name."""
