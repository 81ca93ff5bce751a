"""What does an operator see of a transceiver? Plain values, units in the names, no secrets."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from rtcrelay.transceiver.session import Session

if TYPE_CHECKING:
    from rtcrelay.transceiver.transceiver import Transceiver


def describe_process(transceiver: Transceiver) -> dict[str, object]:
    """`/v1/stats`: the process, its gauges, and ``counters``, ``drops`` and ``ends`` since it started."""
    settings = transceiver.settings
    return {
        "kind": "stats",
        "v": 1,
        "role": "transceiver",
        "node": settings.node,
        "cluster": settings.cluster,
        "pid": os.getpid(),
        "uptime_seconds": round(transceiver.now() - transceiver.started_at, 3),
        "is_draining": transceiver.is_draining,
        "gauges": {
            "sessions": transceiver.session_count,
            "sessions_connected": sum(session.is_connected for session in transceiver.sessions()),
            "paths": transceiver.router.path_count,
        },
        **transceiver.counters.snapshot(),
    }


def describe_session(session: Session, now: float) -> dict[str, object]:
    """One row of `/v1/sessions`.

    ``state``: new (no check yet), checked, connected. ``client``: ``ip:port`` of the selected path, ``ingress`` its
    ingress id, both null before the first check. ``rtp_packets_in`` and ``rtp_packets_out`` count the session's
    Opus packets. ``*_ms``: age at the first check, at the keys (False Start), at the end of the DTLS handshake, at
    the first RTP packet in and out, in milliseconds since the offer; null: not yet.
    """
    path, audio_in, audio_out, dtls = session.link.paths.selected, session.audio_in, session.audio_out, session.dtls
    return {
        "kind": "session",
        "v": 1,
        "id": session.id,
        "ufrag": session.ice.ufrag,
        "state": "connected" if session.is_connected else "checked" if path else "new",
        "dtls": dtls.state.value,
        "dtls_role": dtls.role,
        "dtls_retransmissions": dtls.retransmissions,
        "srtp": dtls.srtp.profile.name if dtls.srtp else None,
        "client": _address(path.key[0], path.key[1]) if path else None,
        "ingress": path.key[2] if path else None,
        "path_validated": path is not None and path.validated,
        "paths": len(session.link.paths),
        "moves": session.link.paths.moves,
        "channels": len(session.channels.open_channels()) if session.channels else 0,
        "rtp_packets_in": audio_in.packets,
        "rtp_bytes_in": audio_in.payload_bytes,
        "rtp_packets_out": audio_out.packets if audio_out else 0,
        "rtp_bytes_out": audio_out.payload_bytes if audio_out else 0,
        "age_seconds": round(now - session.marks.created, 3),
        "idle_seconds": round(now - session.link.heard_at, 3),
        **session.marks.ages_ms(),
    }


def _address(ip: str, port: int) -> str:
    return f"[{ip}]:{port}" if ":" in ip else f"{ip}:{port}"
