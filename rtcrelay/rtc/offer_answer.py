"""Who offers what, and what is answered? (RFC 9429, 8829 for the words; RFC 8839, 8841, 8842, 9143 for the parts)

One Opus stream and one data-channel association on one bundled transport. The server answers as an ICE-lite
agent; the client's half (`write_offer`, `read_answer`) is here too, so that both agree.
"""

from __future__ import annotations

import ipaddress
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from rtcrelay.rtc.certificate import Fingerprint
from rtcrelay.rtc.sdp import DEFAULT_MAX_MESSAGE_BYTES, Candidate, Direction, Media, SdpError, read_description

if TYPE_CHECKING:
    from rtcrelay._dataplane import Address

SCTP_PORT: Final = 5000
"""The SCTP port of WebRTC by convention."""
_SCTP_PROTOCOLS: Final = ("UDP/DTLS/SCTP", "TCP/DTLS/SCTP")
_RTP_PROTOCOLS: Final = ("UDP/TLS/RTP/SAVPF", "UDP/TLS/RTP/SAVP", "TCP/DTLS/RTP/SAVPF", "RTP/SAVPF", "RTP/SAVP")
"""All mean DTLS-SRTP here: an offer without a fingerprint is refused anyway (RFC 9429 section 5.1.2)."""
_PTIMES_MS: Final = (10, 20, 40, 60)
"""Packet lengths that Opus encoders can make of one frame and that anybody wants."""
_REVERSED: Final[dict[Direction, Direction]] = {
    "sendrecv": "sendrecv",
    "sendonly": "recvonly",
    "recvonly": "sendonly",
    "inactive": "inactive",
}


@dataclass(frozen=True, slots=True)
class IceCredentials:
    """A user fragment and its password."""

    ufrag: str
    password: str

    def __repr__(self) -> str:
        """Without the password: it is a secret."""
        return f"IceCredentials(ufrag={self.ufrag!r})"


@dataclass(frozen=True, slots=True)
class AudioOffer:
    """The Opus stream that is accepted."""

    payload_type: int
    """As the offer numbers it: 111, 109, 96, …; a wrong one is discarded in silence by the peer."""
    min_ptime_ms: int
    """``minptime`` of the offer's fmtp, 3 to 120; 10 if it says nothing."""
    direction: Direction
    """Ours: the offer's, reversed."""
    ptime_ms: int = 20
    """How long the packets are that the offerer likes best: 10, 20, 40 or 60; 20 if it says nothing of these."""
    max_ptime_ms: int = 120
    """The longest that it takes, ``ptime_ms`` to 120."""
    wants_dtx: bool = False
    """Whether it asks for ``usedtx``."""


@dataclass(frozen=True, slots=True)
class DataOffer:
    """The data-channel association that is accepted."""

    sctp_port: int
    """The offerer's."""
    max_message_bytes: int
    """What the offerer receives at most; 0: anything."""


@dataclass(frozen=True, slots=True)
class Section:
    """One m-line of the offer, for the answer: they keep their order (RFC 3264 section 6)."""

    kind: str
    protocol: str
    format: str
    mid: str | None
    accepted: bool


@dataclass(frozen=True, slots=True)
class Offer:
    """What a client asks for, already reduced to what it gets."""

    ice: IceCredentials
    """The offerer's."""
    fingerprints: tuple[Fingerprint, ...]
    """Of which the offerer's certificate must match one; never empty."""
    dtls_role: Literal["client", "server"]
    """Ours: client (setup:active) unless the offerer insists on being active itself."""
    sections: tuple[Section, ...]
    audio: AudioOffer | None
    data: DataOffer | None
    bundled: bool
    """Whether the offer had a BUNDLE group."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a server granted, as the client reads it."""

    ice: IceCredentials
    fingerprints: tuple[Fingerprint, ...]
    dtls_role: Literal["client", "server"]
    """The client's own."""
    ice_lite: bool
    candidates: tuple[Candidate, ...]
    payload_type: int | None
    """Of Opus; None if the audio was rejected."""
    data: DataOffer | None
    """None if data channels were rejected."""
    audio_direction: Direction
    """What the server does with audio; inactive if it was rejected."""


def read_offer(text: str) -> Offer:
    """Reads an offer and decides what is accepted. Raises SdpError, which says what is missing or wrong."""
    description = read_description(text)
    if description.ice_lite:  # RFC 8445 section 6.1.1: neither of two lite agents would send a check
        raise SdpError("the offer says a=ice-lite, but so does the server: one side must be a full ICE agent")
    if not description.media:
        raise SdpError("the offer has no m-line")
    accepted: list[Media] = []
    audio: AudioOffer | None = None
    data: DataOffer | None = None
    sections = []
    for media in description.media:
        fits = _shares_transport(media, description.bundle, accepted)
        if fits and audio is None and _is_opus(media):
            audio = _audio_offer(media)
        elif fits and data is None and _is_data(media):
            data = DataOffer(media.sctp_port or SCTP_PORT, media.max_message_bytes)
        else:
            fits = False
        if fits:
            accepted.append(media)
        first_format = media.formats[0] if media.formats else "0"
        sections.append(Section(media.kind, media.protocol, first_format, media.mid, fits))
    if not accepted:
        raise SdpError("the offer has neither an Opus audio stream nor a data channel")
    ice, fingerprints, setup = _transport(_carrier(description.media, description.bundle, accepted[0]))
    return Offer(
        ice,
        fingerprints,
        "server" if setup == "active" else "client",
        tuple(sections),
        audio,
        data,
        bool(description.bundle),
    )


def read_answer(text: str) -> Answer:
    """Reads the answer to an offer of `write_offer`. Raises SdpError."""
    description = read_description(text)
    granted = [media for media in description.media if media.port != 0]
    if not granted:
        raise SdpError("the answer rejects every m-line")
    ice, fingerprints, setup = _transport(granted[0])
    if setup == "actpass":
        raise SdpError("the answer says setup:actpass, expected active or passive")
    audio = next((media for media in granted if media.kind == "audio"), None)
    channels = next((media for media in granted if media.kind == "application"), None)
    return Answer(
        ice,
        fingerprints,
        "server" if setup == "active" else "client",
        description.ice_lite,
        tuple(granted[0].candidates),
        audio.opus if audio else None,
        DataOffer(channels.sctp_port or SCTP_PORT, channels.max_message_bytes) if channels else None,
        audio.direction if audio else "inactive",
    )


@dataclass(frozen=True, slots=True)
class AnswerParameters:
    """What the server adds to an answer."""

    ice: IceCredentials
    """The server's."""
    fingerprint: Fingerprint
    candidates: Sequence[Address]
    """The addresses a client may send to, best first: the ingresses' VIPs."""
    ssrc: int
    """Of the audio that the server sends."""
    wants_dtx: bool = False
    """Whether the client is asked to send nothing in silence, even if it does not ask for that itself."""


def write_answer(offer: Offer, parameters: AnswerParameters) -> str:
    """The answer of an ICE-lite server, lines ended by CRLF. m-lines keep the offer's order."""
    lines = [*_session_lines(), "a=ice-lite"]
    if offer.bundled:
        mids = [section.mid for section in offer.sections if section.accepted and section.mid]
        lines.append("a=group:BUNDLE " + " ".join(mids))
    lines.append("a=msid-semantic:WMS *")
    setup = "active" if offer.dtls_role == "client" else "passive"
    transport = _transport_lines(parameters.ice, parameters.fingerprint, setup, parameters.candidates)
    ip, port = parameters.candidates[0]
    for section in offer.sections:
        mid = [f"a=mid:{section.mid}"] if section.mid else []
        if not section.accepted:
            lines += [f"m={section.kind} 0 {section.protocol} {section.format}", "c=IN IP4 0.0.0.0", "a=inactive", *mid]
        elif section.kind == "audio":
            assert offer.audio is not None
            lines += [f"m=audio {port} {section.protocol} {offer.audio.payload_type}", _connection(ip), *mid]
            lines += transport + _audio_lines(offer.audio, parameters.ssrc, wants_dtx=parameters.wants_dtx)
        else:
            lines += [f"m=application {port} {section.protocol} webrtc-datachannel", _connection(ip), *mid]
            lines += transport + _data_lines()
    return "\r\n".join(lines) + "\r\n"


def write_offer(
    ice: IceCredentials, fingerprint: Fingerprint, *, ssrc: int, payload_type: int = 111, data: bool = True
) -> str:
    """A client's offer: sendrecv Opus as mid 0 and, with ``data``, data channels as mid 1. No candidates: an
    ICE-lite server learns the address from the first check."""
    transport = _transport_lines(ice, fingerprint, "actpass", ())
    audio = AudioOffer(payload_type, 10, "sendrecv")
    lines = [*_session_lines(), "a=group:BUNDLE 0 1" if data else "a=group:BUNDLE 0", "a=msid-semantic:WMS *"]
    lines += [f"m=audio 9 UDP/TLS/RTP/SAVPF {payload_type}", "c=IN IP4 0.0.0.0", "a=mid:0"]
    lines += transport + _audio_lines(audio, ssrc)
    if data:
        lines += ["m=application 9 UDP/DTLS/SCTP webrtc-datachannel", "c=IN IP4 0.0.0.0", "a=mid:1"]
        lines += transport + _data_lines()
    return "\r\n".join(lines) + "\r\n"


# -- reading


def _shares_transport(media: Media, bundle: Sequence[str], accepted: Sequence[Media]) -> bool:
    """There is one transport: the BUNDLE group's, or the first accepted m-line's if there is no group."""
    if not media.is_offered:
        return False
    return media.mid in bundle if bundle else not accepted


def _is_opus(media: Media) -> bool:
    return media.kind == "audio" and media.protocol in _RTP_PROTOCOLS and media.opus is not None and media.rtcp_mux


def _is_data(media: Media) -> bool:
    return (
        media.kind == "application"
        and media.protocol in _SCTP_PROTOCOLS
        and media.formats[:1] == ("webrtc-datachannel",)
    )


def _audio_offer(media: Media) -> AudioOffer:
    payload_type = media.opus
    assert payload_type is not None
    wishes: dict[str, str] = {}
    for parameter in media.parameters.get(payload_type, "").split(";"):
        name, _, value = parameter.strip().partition("=")
        wishes.setdefault(name, value)
    minptime = wishes.get("minptime", "")
    is_number = minptime.isascii() and minptime.isdigit() and len(minptime) <= 3
    ptime = media.ptime_ms if media.ptime_ms in _PTIMES_MS else 20
    return AudioOffer(
        payload_type,
        int(minptime) if is_number and 3 <= int(minptime) <= 120 else 10,
        _REVERSED[media.direction],
        ptime,
        min(120, max(ptime, media.max_ptime_ms or 120)),
        wishes.get("usedtx") == "1",
    )


def _carrier(media: Sequence[Media], bundle: Sequence[str], accepted: Media) -> Media:
    """The m-line whose transport attributes count: the one that the BUNDLE group names first and that has them
    (a bundle-only m-line has none, RFC 9143 section 7.1.3)."""
    with_transport: dict[str | None, Media] = {}
    for candidate in media:
        if candidate.ufrag:
            with_transport.setdefault(candidate.mid, candidate)
    return next((with_transport[mid] for mid in bundle if mid in with_transport), accepted)


def _transport(media: Media) -> tuple[IceCredentials, tuple[Fingerprint, ...], str]:
    if media.ufrag is None or media.password is None:
        raise SdpError("the description has no ice-ufrag and ice-pwd")
    if not media.fingerprints:
        raise SdpError("the description has no fingerprint with SHA-256, SHA-384 or SHA-512")
    # RFC 8842 section 5.3 wants a setup; a peer that forgets it can do both, or we find out in the handshake.
    return IceCredentials(media.ufrag, media.password), tuple(media.fingerprints), media.setup or "actpass"


# -- writing


def _session_lines() -> list[str]:
    return ["v=0", f"o=- {secrets.randbits(62)} 1 IN IP4 127.0.0.1", "s=-", "t=0 0"]


def _connection(ip: str) -> str:
    return f"c=IN IP{ipaddress.ip_address(ip).version} {ip}"


def _transport_lines(
    ice: IceCredentials, fingerprint: Fingerprint, setup: str, candidates: Sequence[Address]
) -> list[str]:
    lines = [f"a=ice-ufrag:{ice.ufrag}", f"a=ice-pwd:{ice.password}"]
    lines += [f"a=fingerprint:{fingerprint}", f"a=setup:{setup}"]
    return lines + candidate_lines(candidates)


def candidate_lines(candidates: Sequence[Address]) -> list[str]:
    """Host candidates, best first, and the word that there are no more."""
    lines = []
    for index, (ip, port) in enumerate(candidates):
        # RFC 8445 section 5.1.2.1: type preference 126 (host), local preference 65535 and down, component 1.
        priority = (126 << 24) | ((65535 - index) << 8) | 255
        lines.append(f"a=candidate:{index + 1} 1 udp {priority} {ip} {port} typ host")
    return [*lines, "a=end-of-candidates"] if lines else []


def _audio_lines(audio: AudioOffer, ssrc: int, *, wants_dtx: bool = False) -> list[str]:
    # fmtp and ptime say what their writer wants to receive (RFC 7587 section 7): the redundancy against loss
    # always; DTX and the packets' length as the peer has them, since an echo sends back what came.
    number = audio.payload_type
    dtx = ";usedtx=1" if audio.wants_dtx or wants_dtx else ""
    return [
        f"a={audio.direction}",
        "a=rtcp-mux",
        "a=rtcp-rsize",
        f"a=rtpmap:{number} opus/48000/2",
        f"a=fmtp:{number} minptime={audio.min_ptime_ms};useinbandfec=1{dtx}",
        f"a=ptime:{audio.ptime_ms}",
        f"a=maxptime:{audio.max_ptime_ms}",
        "a=msid:rtcrelay audio",
        f"a=ssrc:{ssrc} cname:rtcrelay",
    ]


def _data_lines() -> list[str]:
    return [f"a=sctp-port:{SCTP_PORT}", f"a=max-message-size:{DEFAULT_MAX_MESSAGE_BYTES}"]
