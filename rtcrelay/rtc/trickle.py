"""What does a trickle-ICE fragment say? (RFC 8840 section 9, as WHIP's PATCH uses it: RFC 9725 section 4.3)

Any text gives a typed value or an `SdpError` that names what was wrong. A fragment is a session description
without its first lines, so the same reader does the work; here is what fragments are stricter about.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from rtcrelay.rtc.offer_answer import IceCredentials, Offer, candidate_lines
from rtcrelay.rtc.sdp import MAX_BYTES, SdpError, read_description

if TYPE_CHECKING:
    from rtcrelay._dataplane import Address

MAX_CANDIDATES: Final = 256
"""Chosen: a client with several interfaces has some twenty."""
_LINE: Final = re.compile(r"[a-z]=[^\x00\r\n]*", re.ASCII)
_CANDIDATE: Final = re.compile(
    r"candidate:[A-Za-z0-9+/]{1,32} [0-9]{1,3} [!-~]{1,32} [0-9]{1,10} [!-~]{1,255} [0-9]{1,5} typ [!-~]{1,32}.*",
    re.ASCII,
)
_KINDS: Final = frozenset("amcbiksvto")
"""The lines of a description. Fragments have only ``a=`` and ``m=``, but some clients send more of theirs."""


@dataclass(frozen=True, slots=True)
class Fragment:
    """What a client tells about its end of ICE after the offer."""

    ice: IceCredentials | None
    """Its credentials; None if there is no password, which only a restart needs."""
    ufrag: str
    """Whose candidates these are."""
    mids: tuple[str, ...]
    """The m-lines that are named."""
    candidates: int
    """How many there are. An ICE-lite server has no use for them."""


def read_fragment(text: str) -> Fragment:
    """Reads a fragment, lines ended by CRLF or LF. Raises SdpError."""
    if len(text) > MAX_BYTES:
        raise SdpError(f"the fragment has {len(text)} characters, expected at most {MAX_BYTES}")
    lines = [line.rstrip("\r") for line in text.split("\n")]
    candidates = 0
    for line in lines:
        if line and (not _LINE.fullmatch(line) or line[0] not in _KINDS):
            raise SdpError(f"the line {line[:80]!a} is none of a fragment's, expected a=... or m=...")
        if line.startswith("a=candidate:"):
            candidates += 1
            if not _CANDIDATE.fullmatch(line[2:]):
                raise SdpError(f"the candidate {line[:80]!a} is malformed")
    if candidates > MAX_CANDIDATES:
        raise SdpError(f"the fragment has {candidates} candidates, expected at most {MAX_CANDIDATES}")
    return _read_transport([line for line in lines if line and line[0] in "am"], candidates)


def write_fragment(offer: Offer, ice: IceCredentials, candidates: Sequence[Address]) -> str:
    """The answer to an ICE restart: new credentials and the same addresses, for the m-line that carries the bundle."""
    section = next(section for section in offer.sections if section.accepted)
    lines = ["a=ice-lite"]
    if offer.bundled:
        lines.append("a=group:BUNDLE " + " ".join(s.mid for s in offer.sections if s.accepted and s.mid))
    lines.append(f"m={section.kind} 9 {section.protocol} {section.format}")
    lines += [f"a=mid:{section.mid}"] if section.mid else []
    lines += [f"a=ice-ufrag:{ice.ufrag}", f"a=ice-pwd:{ice.password}"]
    lines += candidate_lines(candidates)
    return "\r\n".join(lines) + "\r\n"


def _read_transport(lines: list[str], candidates: int) -> Fragment:
    # An m-line is what the reader hangs attributes on; a fragment without one has them at session level.
    has_media = any(line.startswith("m=") for line in lines)
    media = read_description("\n".join(["v=0", *lines, *([] if has_media else ["m=audio 9 RTP/AVP 0"])])).media
    ufrags = {each.ufrag for each in media if each.ufrag is not None}
    passwords = {each.password for each in media if each.password is not None}
    if not ufrags:
        raise SdpError("the fragment has no ice-ufrag")
    if len(ufrags) > 1 or len(passwords) > 1:
        raise SdpError("the fragment has several ice-ufrags or ice-pwds, expected those of the one bundle")
    ufrag = ufrags.pop()
    ice = IceCredentials(ufrag, passwords.pop()) if passwords else None
    return Fragment(ice, ufrag, tuple(each.mid for each in media if each.mid is not None), candidates)
