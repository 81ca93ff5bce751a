"""Which rules does a session description break? One function for each part of it; each finding is a sentence."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

from rtcrelay.config.text import format_address
from rtcrelay.debug.sdp_candidates import ToldCandidate, is_private
from rtcrelay.debug.ufrags import FORM_REASONS, ufrag_phrase
from rtcrelay.rtc.sdp import Description, Media

if TYPE_CHECKING:
    from rtcrelay._dataplane import Address

Level: TypeAlias = Literal["fault", "warning"]
"""A *fault* means that the call cannot work, or not through the relay; a *warning* that it may not, or that the
description tells more than it should."""

MAX_UFRAG_CHARACTERS: Final = 32
"""What may be sent at most (RFC 8839 section 5.4)."""
_CONNECTION: Final = re.compile(r"(?:o=.*|c=)IN IP[46] ([!-~]+)", re.ASCII)
_MAX_TOLD: Final = 8


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that an operator should know."""

    level: Level
    code: str
    """A short name that stays the same between versions."""
    message: str
    """One sentence without a full stop."""


def media_findings(description: Description) -> Iterator[Finding]:
    """The m-lines and their BUNDLE group (RFC 9143), RTCP on the same port (RFC 5761), Opus, certificates."""
    offered = [media for media in description.media if media.is_offered]
    if not offered:
        yield Finding("fault", "no_media", "no m-line is offered or accepted")
    if len(offered) > 1 and not description.bundle:
        message = f"{len(offered)} m-lines and no BUNDLE group: a relay has one transport for a call"
        yield Finding("warning", "no_bundle", message)
    mids = {media.mid for media in description.media}
    for mid in description.bundle:
        if mid not in mids:
            yield Finding("fault", "bundle_mid", f"the BUNDLE group names the mid {mid!a}, which no m-line has")
    for number, media in enumerate(description.media):
        if media.is_offered:
            yield from _one_media(f"m-line {number} ({media.kind})", media)


def _one_media(name: str, media: Media) -> Iterator[Finding]:
    if media.kind in ("audio", "video") and not media.rtcp_mux:
        message = f"{name} has no rtcp-mux: RTCP would come on a port of its own, which nobody relays"
        yield Finding("fault", "no_rtcp_mux", message)
    if media.kind == "audio" and media.opus is None:
        yield Finding("fault", "no_opus", f"{name} has no Opus (opus/48000/2)")
    if media.bundle_only:
        return  # its transport is another m-line's
    if not media.fingerprints:
        yield Finding("fault", "no_fingerprint", f"{name} has no certificate fingerprint with SHA-256 or better")
    if media.ufrag is None or media.password is None:
        yield Finding("fault", "no_credentials", f"{name} has no ice-ufrag and ice-pwd")
    if media.setup is None:
        yield Finding("warning", "no_setup", f"{name} has no setup: who begins the DTLS handshake is a guess")


def ice_findings(description: Description, ufrags: Sequence[dict[str, Any]], *, is_answer: bool) -> Iterator[Finding]:
    """The ufrag, and what an ICE-lite agent must say (RFC 8445 section 2.5)."""
    bundled = {media.ufrag for media in description.media if media.ufrag and media.mid in description.bundle}
    if len(bundled) > 1:
        yield Finding("warning", "several_ufrags", f"one BUNDLE group has {len(bundled)} ufrags, expected one")
    for row in ufrags:
        ufrag = row["ufrag"]
        if len(ufrag) > MAX_UFRAG_CHARACTERS:
            message = f"the ufrag has {len(ufrag)} characters, expected at most {MAX_UFRAG_CHARACTERS} (RFC 8839 5.4)"
            yield Finding("fault", "long_ufrag", message)
        if set(ufrag) & {"+", "/"}:
            yield Finding("warning", "ufrag_characters", "the ufrag has + or /, which some clients do not take")
        yield from _route_findings(row, is_server=description.ice_lite)
    if is_answer and not description.ice_lite:
        message = "the answer has no ice-lite: the server would send checks of its own, which no relay forwards first"
        yield Finding("warning", "no_ice_lite", message)


def _route_findings(row: dict[str, Any], *, is_server: bool) -> Iterator[Finding]:
    verdict = row.get("verdict", "ok")
    if verdict in FORM_REASONS:
        if is_server:
            message = f"the server's ufrag is no routing ufrag ({row['message']}): a relay drops its first packet"
            yield Finding("fault", "foreign_ufrag", message)
    elif verdict != "ok":
        yield Finding("fault", "closed_ufrag", f"the ufrag {ufrag_phrase(row)}")
    elif row.get("route") == "session":
        yield Finding("fault", "session_ufrag", "the ufrag is of the kind session, which is never valid for media")


def candidate_findings(
    description: Description,
    candidates: Sequence[ToldCandidate],
    bad: Sequence[str],
    vips: Sequence[Address],
    *,
    is_offer: bool,
) -> Iterator[Finding]:
    """Whether clients are sent to the relays, and nowhere else."""
    for line in bad[:_MAX_TOLD]:
        yield Finding("warning", "bad_candidate", f"malformed: {line!a}")
    told = {(c.host, c.port) for c in candidates if c.transport == "udp"}
    if description.ice_lite and not told:
        yield Finding("fault", "no_candidates", "an ICE-lite server without UDP candidates: nobody can reach it")
    for candidate in candidates:
        if description.ice_lite and candidate.kind != "host":
            message = f"{_told(candidate)} is {candidate.kind}: an ICE-lite server tells host candidates only"
            yield Finding("warning", "lite_kind", message)
        if description.ice_lite and candidate.ip is None:
            yield Finding("fault", "host_name", f"{_told(candidate)} is a name: clients cannot look it up")
    if vips and not description.ice_lite and is_offer:
        message = "the VIPs were not looked for: this is a client's offer, and its candidates are the client's"
        yield Finding("warning", "vip_in_offer", message)
        return
    if not vips:
        return
    for vip in vips:
        if vip not in told:
            yield Finding("fault", "vip_missing", f"the VIP {format_address(vip)} is not among the candidates")
    for host, port in sorted(told - set(vips)):
        message = f"the candidate {format_address((host, port))} is none of the VIPs: packets to it pass no relay"
        yield Finding("fault", "not_a_vip", message)


def leak_findings(candidates: Sequence[ToldCandidate], text: str) -> Iterator[Finding]:
    """Private addresses that everybody who sees the description learns."""
    where: dict[str, str] = {}
    for candidate in candidates:
        if is_private(candidate.host):
            where.setdefault(candidate.host, "a candidate")
        if candidate.related and is_private(candidate.related):
            where.setdefault(candidate.related, "a candidate's raddr")
    for match in map(_CONNECTION.fullmatch, text.splitlines()):
        # Browsers write 127.0.0.1 into every o= line, which says nothing.
        if match and is_private(match[1]) and match[1] != "127.0.0.1":
            where.setdefault(match[1], f"the {match[0][:2]} line")
    for address, place in list(where.items())[:_MAX_TOLD]:
        yield Finding("warning", "private_address", f"{place} tells the private address {address}")
    if len(where) > _MAX_TOLD:
        yield Finding("warning", "private_address", f"{len(where) - _MAX_TOLD} more private addresses are told")


def _told(candidate: ToldCandidate) -> str:
    return f"the candidate {candidate.host} port {candidate.port}"
