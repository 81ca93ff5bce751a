"""What should an operator do about each reason by which something went wrong? One line each, by the label's value.

What a reason means is said where it is counted: in the crate (`DROP_REASONS`), `rtcrelay.transceiver.counters` and
`rtcrelay.rtc.dtls`. ``docs/metrics.md`` is made of both.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

_WEATHER: Final = "None: scans and foreign protocols are the Internet's weather."
_KEYS: Final = "The relay and its transceivers have the same keys? `rtcrelay keys list`, `rtcrelay doctor`."
_STRANGE: Final = "Something else than rtcrelay sends to the internal address: find it with `rtcrelay capture`."
_REPORT: Final = "Please report it, with what the log says."
_NO_MEDIA: Final = "None if rare; always from one client: `rtcrelay sessions list` shows whose."

RELAY_DROPS: Final[Mapping[str, str]] = {
    "empty": _WEATHER,
    "oversize": "Clients with jumbo packets; if from transceivers, a backend sends more than 1500 bytes at once.",
    "first_byte": _WEATHER,
    "zrtp": "None, unless your clients speak ZRTP, which is not supported.",
    "turn_channel": "Clients take this address for a TURN server: see their ICE configuration.",
    "quic": _WEATHER,
    "stun_short": _WEATHER,
    "stun_malformed": "None if rare; from your clients: `rtcrelay capture` and `rtcrelay explain` show the message.",
    "stun_fingerprint": _WEATHER,
    "stun_rate": "A load balancer that checks too often, or a scan; 10 a second from one network are answered.",
    "draining": "Normal while the relay drains; else `rtcrelay nodes uncordon`.",
    "dtls_short": _WEATHER,
    "rtp_short": _WEATHER,
    "ufrag_foreign": "Clients were told this address by something else than rtcrelay; `rtcrelay sdp inspect` their answer.",
    "ufrag_unknown_key": _KEYS,
    "ufrag_revoked_key": "Normal after `rtcrelay keys revoke`; the calls it ended are set up anew.",
    "ufrag_forged": "Somebody guesses, or one key id has two secrets: compare fingerprints, `rtcrelay keys list`.",
    "ufrag_kind": "Somebody sends a session's name as a ufrag: a client with a defect, or a guess.",
    "cluster_unknown": "--cluster is another one than the transceivers', or --clusters lacks it; docs/two-tiers.md.",
    "cluster_down": "None of that cluster's relays answers: `rtcrelay probe route`, and their --peers; docs/two-tiers.md.",
    "second_hop": "The table of clusters of another relay is wrong: it leads here for a cluster that is not ours.",
    "node_unknown": "--nodes lacks a transceiver, or its heartbeat does not come: `rtcrelay nodes list`.",
    "endpoint_forbidden": "--transceivers lacks the address of a transceiver that has our keys; SIGHUP after the change.",
    "admission_rate": "A flood from one source, or a carrier's NAT that belongs in --admission-exempt.",
    "table_full": "--max-flows allows more; known flows go on. `rtcrelay flows top` shows whether they are calls.",
    "no_route": "Brief after a restart; for long, clients send media without checks: `rtcrelay probe route`.",
    "killed": "Normal after `rtcrelay flows kill`.",
    "next_hop_dead": "A transceiver is gone, or its --relays lacks this relay: `rtcrelay probe route`.",
    "spp_short": _STRANGE,
    "spp_magic": _STRANGE,
    "spp_client": _STRANGE,
    "spp_direction": "The sender is neither in --transceivers nor in --peers, or its table of relays is wrong.",
    "source": _WEATHER,
    "send_buffer_full": "net.core.wmem_max, and the interface's queue: `rtcrelay doctor`.",
    "send_too_big": "Between relays and transceivers an MTU of 1566 is needed: `rtcrelay doctor`.",
    "send_unreachable": "`ip route get` the transceivers' addresses.",
    "send_failed": "The log has the kernel's word.",
}
"""Reasons of ``rtcrelay_relay_dropped_packets_total``."""

TRANSCEIVER_DROPS: Final[Mapping[str, str]] = {
    "untrusted_source": "--relays lacks a relay, or a stranger reaches the media port: close it to the outside.",
    "spp_malformed": _STRANGE,
    "empty": _WEATHER,
    "oversize": "A client with jumbo packets; none if rare.",
    "not_webrtc": _WEATHER,
    "stun_malformed": _WEATHER,
    "stun_not_a_request": "None: late answers.",
    "stun_no_username": "None if rare; a health check belongs to the relay's address, not here.",
    "unknown_ufrag": "A little after each hang-up; much: two transceivers have one address, or one was restarted.",
    "wrong_fingerprint": _WEATHER,
    "wrong_integrity": "Somebody knows ufrags without their passwords, or a client mixes up two calls.",
    "probe_refused": "More probes than are answered: who probes? `rtcrelay probe route` is for now and then.",
    "unknown_path": "A little after each hang-up; much: `rtcrelay flows list` on the relay shows where it comes from.",
    "not_authentic": "A little when a port is used again; much: somebody forges or replays packets.",
    "no_keys": "A little at set-up; much from one client: its DTLS does not complete, `rtcrelay sessions list`.",
    "rtp_malformed": _NO_MEDIA,
    "other_payload_type": "A client sends what was not negotiated; `rtcrelay sdp inspect` its offer and answer.",
    "paths_full": "Hundreds of sessions share one address and port: a proxy in front that should not be there.",
    "unproved_path": "A little when clients move; much: somebody tries to aim media at others.",
    "send_blocked": "net.core.wmem_max: `rtcrelay doctor`; then more processes.",
    "send_failed": "The log has the kernel's word; a relay may be gone.",
    "too_long_to_send": "The backend gives packets over 1400 bytes: send less at once.",
    "defect": _REPORT,
    "rtcp_malformed": _NO_MEDIA,
    "over_bit_rate": "A client sends more than --max-session-bit-rate; raise it if that is right.",
    "too_many_sources": "A client with more than 8 SSRCs: a defect of its own, or an attack on its own session.",
    "not_taken": "The application behind rtcrelay.oneport is too slow: give it another process.",
}
"""Reasons of ``rtcrelay_transceiver_dropped_packets_total``."""

ENDS: Final[Mapping[str, str]] = {
    "deleted": "Normal: the client hung up.",
    "silent": "Clients that left without a word; many more than usual: the way to clients is broken, `rtcrelay flows top`.",
    "too_long": "--max-session-duration; raise it if calls are meant to be longer.",
    "shutdown": "This transceiver was ended; many: --drain-timeout is too short.",
    "close_notify": "Normal: the client closed the page.",
    "alert": "The client's DTLS failed; its log says why.",
    "dtls_version": "The client speaks only DTLS 1.3 or 1.0: not supported.",
    "dtls_fingerprint": "Somebody is in between, or signaling mixes up two calls: look at once.",
    "dtls_failed": "See rtcrelay_transceiver_dtls_failures_total.",
    "sctp_closed": "Normal: the client closed its data channels.",
    "backend_failed": "The backend raised; its traceback is in the log.",
    "backend_ended": "Normal: the backend hung up.",
    "operator": "Normal after `rtcrelay sessions close`.",
    "unchecked": "No check came in 10 s: clients do not reach the relays, or these not this transceiver: `rtcrelay probe session`.",
    "backend_lost": "The service behind --backend went away or stalled: see it first.",
    "idle": "--max-session-idle; normal.",
}
"""Reasons of ``rtcrelay_transceiver_sessions_ended_total``."""

DTLS_FAILURES: Final[Mapping[str, str]] = {
    "alert": "The client's log says why; often it does not like the certificate or the suite.",
    "version": "The client speaks only DTLS 1.3 or 1.0: not supported.",
    "fingerprint": "Somebody is in between, or signaling mixes up two calls: look at once.",
    "no_srtp": "The client offers no SRTP profile of ours: a client for data channels alone, or an old one.",
    "protocol": "OpenSSL's word is in the log; `rtcrelay capture` has the handshake.",
    "timeout": "Checks come and DTLS does not: a firewall that looks into packets, or an MTU below 1200.",
}
"""Reasons of ``rtcrelay_transceiver_dtls_failures_total``."""
