"""What do services log? Every event by the words that it is logged with: its name, and the keys of its values.

In JSON a line has the name as ``event`` and each value under its key; a test holds every logging call of the package
against this table, and ``docs/logs.md`` is made of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple


class Event(NamedTuple):
    """One kind of line."""

    name: str
    """What machines know it by; it does not change when the words do."""
    keys: tuple[str, ...] = ()
    """The keys of the values, in the order in which the words have them."""
    more: str = ""
    """What else such a line has, in JSON."""


EVENTS: Final[Mapping[str, Event]] = {
    # Of every service.
    "not reloaded, everything stays as it was: %s": Event("reload_failed", ("error",)),
    "%s has changed, which takes effect at the next start": Event("setting_waits", ("setting",)),
    "cannot notify the service manager at %s: %s": Event("notify_failed", ("socket", "error")),
    "TLS is turned on or off only at the next start": Event("tls_waits"),
    "metrics and health on %s": Event("metrics_listening", ("address",)),
    "no metrics: %s": Event("metrics_failed", ("error",)),
    "HTTP connections to port %d are refused (%d): %s": Event("connections_refused", ("port", "times", "reason")),
    "a request failed": Event("request_failed", (), "`exception`"),
    "not passed on: a request about %s": Event("not_passed_on", ("what",)),
    "a thread ended": Event("thread_ended", (), "`exception`"),
    # Heartbeats.
    "no heartbeat was written (%d times): %s; everything else goes on": Event("heartbeat_failed", ("times", "error")),
    "another process calls itself as this one does (%d times): %s": Event("name_taken", ("times", "by")),
    "a heartbeat failed (%d times): %s; everything else goes on": Event(
        "heartbeat_defect", ("times", "error"), "`exception`"
    ),
    # Relays.
    "rtcrelay %s, relay of cluster %s, workers %d, keys %s; transceivers %s; peers %s": Event(
        "relay_started", ("version", "cluster", "workers", "keys", "transceivers", "peers")
    ),
    "forwarding from %s, internal address %s": Event("listening", ("address", "internal")),
    "%d workers run and not %d, since the other relay had no more": Event("fewer_workers", ("workers", "wanted")),
    "no admin interface: %s: %s": Event("admin_failed", ("socket", "error")),
    "reloaded: cluster %s, keys %s": Event("relay_reloaded", ("cluster", "keys")),
    "%s wants this relay to be %s": Event("relay_ordered", ("by", "state")),
    "%s: not ready for more, still forwarding": Event("relay_unready", ("state",)),
    "no longer %s": Event("relay_ready", ("state",)),
    "heartbeats name %d transceivers by their node ids": Event("node_hints", ("transceivers",)),
    "heartbeats name addresses outside --transceivers (%d times): %s": Event("node_hint_refused", ("times", "what")),
    "two transceivers have one --node-id (%d times): %s": Event("node_id_taken", ("times", "what")),
    "killed %d of %d paths, as asked on the admin socket": Event("flows_killed", ("killed", "asked")),
    "%s, so this relay must be restarted: ending with %d": Event("relay_broken", ("reason", "status")),
    "stopping": Event("relay_stopping"),
    "no successor can take over at %s: %s": Event("takeover_unavailable", ("socket", "error")),
    "no successor can take over: %s": Event("takeover_paused", ("error",)),
    "a successor did not take over, this relay goes on: %s": Event("takeover_failed", ("reason",)),
    "process %s has taken over": Event("taken_over", ("pid",)),
    "routes are remembered in %s": Event("route_cache_started", ("store",)),
    "%d routes were not written: %s": Event("routes_lost", ("routes", "reason")),
    "the route cache failed and starts again; forwarding goes on": Event("route_cache_restarted", (), "`exception`"),
    "the route cache is out of reach (%d times): %s; forwarding goes on": Event(
        "route_cache_unreachable", ("times", "error")
    ),
    "the route cache failed (%d times): %s; forwarding goes on": Event(
        "route_cache_defect", ("times", "error"), "`exception`"
    ),
    "%s serves again": Event("route_cache_back", ("store",)),
    "%s": Event("notice", ("sentence",)),  # what was counted, at most once a minute a kind; and warnings at the start
    "heartbeats name relays that cannot be (%d times): %s": Event("cluster_relay_refused", ("times", "what")),
    "relays of other clusters, also by their heartbeats: %s": Event("cluster_relays", ("clusters",)),
    "the relays of other clusters are not known before the first heartbeats: %s": Event(
        "cluster_relays_unread", ("error",)
    ),
    # Transceivers.
    "rtcrelay %s, transceiver %s, %d workers": Event("workers_started", ("version", "node", "workers")),
    "all %d workers are ready": Event("workers_ready", ("workers",)),
    "worker %d (process %d) ended%s: %s": Event(
        "worker_ended", ("number", "pid", "lost", "why"), "`worker`, `reason`, `sessions`"
    ),
    "worker %d (process %d) is stuck, it is killed": Event("worker_stuck", ("number", "pid")),
    "worker %d died at once %d times in a row: the service ends": Event("workers_broken", ("number", "times")),
    "started with the settings as they were: %s": Event("worker_settings_kept", ("error",)),
    "a defect of rtcrelay ended this worker": Event("worker_defect", (), "`exception`"),
    "rtcrelay %s, transceiver %s": Event("transceiver_started", ("version", "node")),
    "media on %s%s": Event("media_listening", ("address", "aside")),
    "signaling on %s://%s": Event("signaling_listening", ("scheme", "address")),
    "the media socket has a buffer of %d bytes instead of %d: raise %s": Event(
        "buffer_small", ("granted_bytes", "wanted_bytes", "sysctl")
    ),
    "cannot %s (%d times)": Event("socket_failed", ("what", "times")),
    "session %s created, ufrag %s": Event("session_created", ("id", "ufrag")),
    "session %s restarts ICE, ufrag %s": Event("session_restarts_ice", ("id", "ufrag")),
    "session %s ended: %s%s": Event(
        "session_ended",
        ("id", "reason", "detail"),
        "all of docs/schemas/session.json; `client` is null without `--log-addresses`",
    ),
    "session %s: backend %s%s": Event("backend", ("id", "state", "detail")),
    "session %s: the service sent what makes no sense: %s": Event("backend_rubbish", ("id", "error")),
    "session %s: the backend raised": Event("backend_raised", ("id",), "`exception`"),
    "session %s: the backend raised while it was closed": Event("backend_raised_closing", ("id",), "`exception`"),
    "draining: %d sessions may go on for %s; a second signal ends them": Event("drain", ("sessions", "for_at_most")),
    "draining: no new calls, %d sessions go on": Event("transceiver_unready", ("sessions",)),
    "no longer draining, %d sessions": Event("transceiver_ready", ("sessions",)),
    "the time to drain is over: %d sessions are ended": Event("drain_over", ("sessions",)),
    "stopping, %d sessions are ended": Event("transceiver_stopping", ("sessions",)),
    "%s wants this transceiver to be %s": Event("transceiver_ordered", ("by", "state")),
    "reloaded: keys %s": Event("transceiver_reloaded", ("keys",)),
    # Signaling.
    "rtcrelay %s, signaling for %d clusters": Event("signaling_started", ("version", "clusters")),
    "calls come in at %s://%s": Event("calls_listening", ("scheme", "address")),
    "%s of %s does not take calls: %s": Event("transceiver_out", ("address", "cluster", "reason")),
    "heartbeats could not be read (%d times): %s": Event("heartbeats_unread", ("times", "error")),
    "ingress %s does not answer and is told to nobody": Event("ingress_down", ("ingress",)),
    "ingress %s answers or is no longer known": Event("ingress_up", ("ingress",)),
    "cannot ask %s: %s": Event("ingress_unasked", ("address", "error")),
    "reloaded: %d ingresses, %d clusters": Event("signaling_reloaded", ("ingresses", "clusters")),
    # Parrots.
    "parrot at ws://%s%s (realtime) and ws+pcm://%s%s (plain)": Event(
        "parrot_started", ("address", "realtime_path", "plain_address", "plain_path")
    ),
}
"""By the template of the message."""


def values_of(template: object, args: object) -> dict[str, object]:
    """``event`` and the values of a record by their keys; nothing of what is not in the table: libraries log too."""
    event = EVENTS.get(template) if isinstance(template, str) else None
    if event is None:
        return {}
    values = args if isinstance(args, tuple) else ()
    named = zip(event.keys, values, strict=False)
    shown = {key: value if isinstance(value, int | float) else str(value) for key, value in named}
    return {"event": event.name, **shown}
