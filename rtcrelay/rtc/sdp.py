"""What does a session description say that matters to us? (RFC 8866, 9429)

Any text gives a typed value or an `SdpError` that names what was wrong; nothing else, in time and memory
proportional to the text. That is why the parser is our own: aiortc's, a judge in the tests, refuses a whole
offer for an attribute that nobody needs, and its work grows with the square of some attributes' number.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass, field
from typing import Final, Literal, TypeAlias

from rtcrelay.errors import PeerError
from rtcrelay.rtc.certificate import FINGERPRINT_BYTES, Fingerprint

Direction: TypeAlias = Literal["sendrecv", "sendonly", "recvonly", "inactive"]
Setup: TypeAlias = Literal["actpass", "active", "passive"]

MAX_BYTES: Final = 65_536
"""The longest description that is read."""
MAX_MEDIA: Final = 32
"""m-lines at most. Chosen: a voice call has one to three."""
_MAX_FORMATS: Final = 128
"""Payload types per m-line: there are 128."""
_MAX_CANDIDATES: Final = 64
_MAX_FINGERPRINTS: Final = 8
DEFAULT_MAX_MESSAGE_BYTES: Final = 65_536
"""RFC 8841 section 6.1."""

_MEDIA_LINE: Final = re.compile(r"([!-~]+) ([0-9]{1,5})(?:/[0-9]+)? ([!-~]+)((?: [!-~]+)*) *", re.ASCII)
_UFRAG: Final = re.compile(r"[A-Za-z0-9+/]{4,256}", re.ASCII)
_PASSWORD: Final = re.compile(r"[A-Za-z0-9+/]{22,256}", re.ASCII)
_TOKEN: Final = re.compile(r"[!#$%&'*+.0-9A-Z^_`a-z{|}~-]{1,64}", re.ASCII)
_RTPMAP: Final = re.compile(r"([0-9]{1,3}) +([!-~]+)", re.ASCII)
_CANDIDATE: Final = re.compile(
    r"([!-~]{1,32}) ([0-9]{1,3}) ([A-Za-z]+) ([0-9]{1,10}) ([!-~]+) ([0-9]{1,5}) typ ([a-z]+)", re.ASCII
)


class SdpError(PeerError):
    """The description is malformed or lacks what a call needs; ``str()`` names it."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """One UDP candidate of component 1 (RFC 8839 section 5.1)."""

    foundation: str
    priority: int
    ip: str
    """An IP address; candidates with host names are left out."""
    port: int
    kind: str
    """``host``, ``srflx``, ``prflx`` or ``relay``."""


@dataclass(slots=True)
class Media:
    """One m-line with the session's attributes filled in where it has none of its own."""

    kind: str
    """``audio``, ``video``, ``application`` or whatever else it says."""
    port: int
    protocol: str
    formats: tuple[str, ...]
    mid: str | None = None
    direction: Direction = "sendrecv"
    ufrag: str | None = None
    password: str | None = field(default=None, repr=False)
    fingerprints: list[Fingerprint] = field(default_factory=list)
    setup: str | None = None
    rtcp_mux: bool = False
    bundle_only: bool = False
    codecs: dict[int, str] = field(default_factory=dict)
    """Payload type to ``name/clock/channels``, in lower case."""
    parameters: dict[int, str] = field(default_factory=dict)
    """Payload type to the text of ``a=fmtp``."""
    ptime_ms: int | None = None
    """How long the packets are that the describer likes best (RFC 8866 section 6.4)."""
    max_ptime_ms: int | None = None
    sctp_port: int | None = None
    max_message_bytes: int = DEFAULT_MAX_MESSAGE_BYTES
    candidates: list[Candidate] = field(default_factory=list)

    @property
    def is_offered(self) -> bool:
        """False if port 0 rejects or disables it; with bundle-only port 0 means something else (RFC 9143)."""
        return self.port != 0 or self.bundle_only

    @property
    def opus(self) -> int | None:
        """The first payload type that is Opus and cannot be mistaken for RTCP (RFC 5761); None if there is none."""
        for word in self.formats:
            number = int(word) if word.isascii() and word.isdigit() and len(word) <= 3 else -1
            if self.codecs.get(number) == "opus/48000/2" and (0 <= number < 64 or 96 <= number < 128):
                return number
        return None


@dataclass(frozen=True, slots=True)
class Description:
    """A whole session description."""

    media: tuple[Media, ...]
    bundle: tuple[str, ...]
    """The mids of the BUNDLE group; empty if there is none."""
    ice_lite: bool


def read_description(text: str) -> Description:
    """Reads a description, lines ended by CRLF or LF. Raises SdpError."""
    if len(text) > MAX_BYTES:
        raise SdpError(f"the session description has {len(text)} characters, expected at most {MAX_BYTES}")
    lines = [line.rstrip("\r") for line in text.split("\n")]
    if lines[0] != "v=0":
        raise SdpError(f"the session description starts with {_quoted(lines[0])}, expected 'v=0'")
    session = Media("session", 0, "", ())
    bundle: tuple[str, ...] = ()
    ice_lite = False
    media: list[Media] = []
    for line in lines[1:]:
        if line.startswith("m="):
            if len(media) == MAX_MEDIA:
                raise SdpError(f"the session description has more than {MAX_MEDIA} m-lines")
            media.append(_read_media_line(line, session))
        elif line.startswith("a="):
            name, _, value = line[2:].partition(":")
            if not media and name == "group" and value.startswith("BUNDLE"):
                bundle = bundle or tuple(value.split()[1:])
                if len(bundle) > MAX_MEDIA:
                    raise SdpError(f"the BUNDLE group names more than {MAX_MEDIA} m-lines")
            elif not media and name == "ice-lite":
                ice_lite = True
            else:
                _read_attribute(media[-1] if media else session, name, value)
    return Description(tuple(media), bundle, ice_lite)


def _read_media_line(line: str, session: Media) -> Media:
    match = _MEDIA_LINE.fullmatch(line[2:])
    if match is None or int(match[2]) > 65535:
        raise SdpError(f"the m-line {_quoted(line)} is malformed")
    formats = tuple(match[4].split())
    if len(formats) > _MAX_FORMATS:
        raise SdpError(f"the m-line of {_quoted(match[1])} has more than {_MAX_FORMATS} formats")
    return Media(
        match[1],
        int(match[2]),
        match[3],
        formats,
        direction=session.direction,
        ufrag=session.ufrag,
        password=session.password,
        fingerprints=list(session.fingerprints),
        setup=session.setup,
    )


def _read_attribute(media: Media, name: str, value: str) -> None:
    """Takes over what we use; everything else in a description is somebody else's."""
    reader = _READERS.get(name)
    if reader is not None:
        reader(media, value)
    elif name in ("sendrecv", "sendonly", "recvonly", "inactive"):
        media.direction = name  # type: ignore[assignment]  # one of the four, as just seen
    elif name == "rtcp-mux":
        media.rtcp_mux = True
    elif name == "bundle-only":
        media.bundle_only = True


def _read_mid(media: Media, value: str) -> None:
    if not _TOKEN.fullmatch(value):
        raise SdpError(f"the mid {_quoted(value)} is not a token of at most 64 characters")
    media.mid = value


def _read_ufrag(media: Media, value: str) -> None:
    if not _UFRAG.fullmatch(value):
        raise SdpError(f"the ice-ufrag {_quoted(value)} is not 4 to 256 ice-chars")
    media.ufrag = value


def _read_password(media: Media, value: str) -> None:
    if not _PASSWORD.fullmatch(value):
        raise SdpError("the ice-pwd is not 22 to 256 ice-chars")  # a secret: not shown
    media.password = value


def _read_fingerprint(media: Media, value: str) -> None:
    algorithm, _, text = value.partition(" ")
    length = FINGERPRINT_BYTES.get(algorithm.lower())
    if length is None:
        return  # a hash function that we do not believe; another line may have one
    try:
        digest = bytes.fromhex(text.strip().replace(":", "")) if text.isascii() else b""
    except ValueError:
        digest = b""
    if len(digest) != length:
        raise SdpError(f"the fingerprint {_quoted(value)} is not {length} hexadecimal bytes")
    if len(media.fingerprints) < _MAX_FINGERPRINTS:
        media.fingerprints.append(Fingerprint(algorithm.lower(), digest))


def _read_setup(media: Media, value: str) -> None:
    if value not in ("actpass", "active", "passive"):
        raise SdpError(f"the setup {_quoted(value)} is not actpass, active or passive")
    media.setup = value


def _read_rtpmap(media: Media, value: str) -> None:
    match = _RTPMAP.fullmatch(value.strip())
    if match is None:
        raise SdpError(f"the rtpmap {_quoted(value)} is malformed")
    if len(media.codecs) < _MAX_FORMATS:
        media.codecs[int(match[1])] = match[2].lower()


def _read_fmtp(media: Media, value: str) -> None:
    number, _, text = value.partition(" ")
    if number.isascii() and number.isdigit() and len(number) <= 3 and len(media.parameters) < _MAX_FORMATS:
        media.parameters[int(number)] = text.strip()


def _read_ptime(media: Media, value: str) -> None:
    media.ptime_ms = _maybe_milliseconds(value)


def _read_max_ptime(media: Media, value: str) -> None:
    media.max_ptime_ms = _maybe_milliseconds(value)


def _maybe_milliseconds(value: str) -> int | None:
    # A wish that nobody can read is no reason to refuse a call.
    digits = value.strip()
    return int(digits) if digits.isascii() and digits.isdigit() and len(digits) <= 4 else None


def _read_sctp_port(media: Media, value: str) -> None:
    media.sctp_port = _number(value, "sctp-port", 1, 65535)


def _read_max_message_size(media: Media, value: str) -> None:
    media.max_message_bytes = _number(value, "max-message-size", 0, 2**63)


def _read_candidate(media: Media, value: str) -> None:
    # A candidate that we cannot use is no fault of the description: TCP, host names (mDNS), other components.
    match = _CANDIDATE.match(value)
    if match is None or match[3].lower() != "udp" or match[2] != "1" or len(media.candidates) == _MAX_CANDIDATES:
        return
    port, priority = int(match[6]), int(match[4])
    try:
        ip = str(ipaddress.ip_address(match[5]))
    except ValueError:
        return
    if 0 < port <= 65535:
        media.candidates.append(Candidate(match[1], priority, ip, port, match[7]))


_READERS: Final = {
    "mid": _read_mid,
    "ice-ufrag": _read_ufrag,
    "ice-pwd": _read_password,
    "fingerprint": _read_fingerprint,
    "setup": _read_setup,
    "rtpmap": _read_rtpmap,
    "fmtp": _read_fmtp,
    "ptime": _read_ptime,
    "maxptime": _read_max_ptime,
    "sctp-port": _read_sctp_port,
    "max-message-size": _read_max_message_size,
    "candidate": _read_candidate,
}


def _number(text: str, name: str, lowest: int, highest: int) -> int:
    digits = text.strip()
    if not (digits.isascii() and digits.isdigit() and len(digits) <= 20 and lowest <= int(digits) <= highest):
        raise SdpError(f"the {name} {_quoted(text)} is not a number from {lowest} to {highest}")
    return int(digits)


def _quoted(text: str) -> str:
    """For messages: short, and without what would break a terminal or a header."""
    return ascii(text if len(text) <= 80 else text[:77] + "...")
