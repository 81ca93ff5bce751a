"""What does an operator see of a transceiver? Plain values, units in the names, no secrets."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

import rtcrelay
from rtcrelay.rtc.rtp import OPUS_CLOCK_HZ

if TYPE_CHECKING:
    from rtcrelay.config import TransceiverSettings
    from rtcrelay.transceiver.session import Session
    from rtcrelay.transceiver.transceiver import Transceiver


STATES: Final = ("new", "checked", "connected")
"""Of a live session: no check yet, an authentic check, DTLS complete."""


def state_of(session: Session) -> str:
    """One of `STATES`."""
    return "connected" if session.is_connected else "checked" if session.link.paths.selected else "new"


def describe_process(transceiver: Transceiver) -> dict[str, object]:
    """`/v1/stats`: the process, its gauges, and ``counters``, ``drops`` and ``ends`` since it started."""
    settings = transceiver.settings
    return {
        "kind": "transceiver_stats",
        "v": 1,
        "role": "transceiver",
        "node": settings.node,
        "version": rtcrelay.__version__,
        "cluster": settings.cluster,
        "pid": os.getpid(),
        "uptime_s": round(transceiver.now() - transceiver.started_at, 3),
        "is_draining": transceiver.is_draining,
        "gauges": {
            "sessions": transceiver.session_count,
            "sessions_connected": sum(session.is_connected for session in transceiver.sessions()),
            "paths": transceiver.router.path_count,
        },
        **transceiver.counters.snapshot(),
    }


def describe_session(session: Session, node: str, now: float) -> dict[str, object]:
    """One row of `/v1/sessions`. ``node`` is the transceiver's name.

    ``state``: new (no check yet), checked, connected. ``client``: ``ip:port`` of the selected path, ``ingress`` its
    ingress id, both null before the first check. ``rtp_packets_in`` and ``rtp_packets_out`` count the session's
    Opus packets. ``rtp_lost_in``: packets of the client that never came; ``rtp_lost_out``: what the client last said of
    ours. ``loss_in`` and ``loss_out``: the lost part, 0 to 1, between the last two reports. ``jitter_in_ms``,
    ``jitter_out_ms``: as RFC 3550 counts it. ``round_trip_ms``: of the last report, null: none yet.
    ``ear_*``: what became of the client's voice on its way to samples, see `rtcrelay.audio.ear.Ear`; null: the backend
    takes packets. Other ``*_ms``: age at the first check, at the keys (False Start), at the end of the DTLS handshake,
    at the first RTP packet in and out, in milliseconds since the offer; null: not yet.
    """
    path, dtls = session.link.paths.selected, session.dtls
    return {
        "kind": "session",
        "v": 1,
        "id": session.id,
        "node": node,
        "ufrag": session.ice.ufrag,
        "state": state_of(session),
        "dtls": dtls.state.value,
        "dtls_role": dtls.role,
        "dtls_retransmissions": dtls.retransmissions,
        "srtp": dtls.srtp.profile.name if dtls.srtp else None,
        "client": _address(path.key[0], path.key[1]) if path else None,
        "ingress": path.key[2] if path else None,
        "path_validated": path is not None and path.validated,
        "paths": len(session.link.paths),
        "moves": session.link.paths.moves,
        "channels": session.messages.open_channels,
        **_media(session),
        **_heard(session),
        "age_s": round(now - session.marks.created, 3),
        "idle_s": round(now - session.link.heard_at, 3),
        **session.marks.ages_ms(),
    }


def describe_fully(session: Session, settings: TransceiverSettings, now: float) -> dict[str, object]:
    """`/v1/sessions/ID`: the row, and besides ``backend``, ``ends_in_s`` (the time limit), every path
    (``all_paths``), the labels of the open data channels, and every RTP source that was heard (``sources``)."""
    reports, link = session.media.reports, session.link
    current = reports.current
    return {
        **describe_session(session, settings.node, now),
        "backend": settings.backend,
        "ends_in_s": round(session.marks.created + settings.max_session_seconds - now, 3),
        "all_paths": [
            {
                "client": _address(path.key[0], path.key[1]),
                "ingress": path.key[2],
                "selected": path is link.paths.selected,
                "validated": path.validated,
                "idle_s": round(now - path.last_heard_at, 3),
                "authenticated_s": None if path.authenticated_at is None else round(now - path.authenticated_at, 3),
            }
            for path in link.paths.all_paths()
        ],
        "channel_labels": session.messages.labels,
        "sources": [
            {
                "ssrc": source.ssrc,
                "current": source is current,
                "packets": source.received,
                "lost_packets": source.lost,
                "loss": round(source.last_fraction_lost, 4),
                "jitter_ms": round(source.jitter / OPUS_CLOCK_HZ * 1000, 3),
            }
            for source in reports.sources.values()
        ],
    }


def describe_media(session: Session, now: float) -> dict[str, object]:
    """The message of a data channel labelled ``stats``: what `describe_session` has about the media, and ages."""
    return {
        "type": "stats",
        "v": 1,
        "session": session.id,
        "age_s": round(now - session.marks.created, 3),
        "moves": session.link.paths.moves,
        **_media(session),
    }


_HEARD: Final = (
    *("lost_packets", "recovered_packets", "late_packets", "concealed_frames", "silent_frames", "waits_frames"),
)  # fmt: skip


def _heard(session: Session) -> dict[str, int | None]:
    ear = session.conversation.ear
    return {f"ear_{name}": None if ear is None else getattr(ear, name) for name in _HEARD}


def _media(session: Session) -> dict[str, object]:
    reports = session.media.reports
    source, remote, round_trip = reports.current, reports.remote, reports.round_trip
    return {
        "rtp_packets_in": session.media.packets_in,
        "rtp_bytes_in": session.media.bytes_in,
        "rtp_lost_in": reports.lost,
        "loss_in": round(source.last_fraction_lost, 4) if source else 0.0,
        "jitter_in_ms": round(source.jitter / OPUS_CLOCK_HZ * 1000, 3) if source else 0.0,
        "rtp_packets_out": reports.sent_packets,
        "rtp_bytes_out": reports.sent_bytes,
        "rtp_lost_out": remote.lost,
        "loss_out": round(remote.fraction_lost, 4),
        "jitter_out_ms": round(remote.jitter / OPUS_CLOCK_HZ * 1000, 3),
        "round_trip_ms": None if round_trip is None else round(round_trip * 1000, 3),
        "rtcp_reports_in": reports.reports_received,
        "rtcp_reports_out": reports.reports_sent,
    }


def _address(ip: str, port: int) -> str:
    return f"[{ip}]:{port}" if ":" in ip else f"{ip}:{port}"
