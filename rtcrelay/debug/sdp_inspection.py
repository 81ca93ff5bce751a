"""What is wrong with a session description, from the view of a relay? Facts first, then findings.

A *fault* means that the call cannot work, or not through the relay; a *warning* that it may not, or that the
description tells more than it should.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from rtcrelay.config.text import format_address
from rtcrelay.debug.sdp_candidates import ToldCandidate, read_candidates
from rtcrelay.debug.sdp_rules import Finding, candidate_findings, ice_findings, leak_findings, media_findings
from rtcrelay.debug.ufrags import ufrag_row
from rtcrelay.errors import DataError
from rtcrelay.rtc.offer_answer import read_offer
from rtcrelay.rtc.sdp import Description, Media, SdpError, read_description

if TYPE_CHECKING:
    from rtcrelay._dataplane import Address, KeyRing


@dataclass(slots=True)
class Inspection:
    """What a description says, and what is wrong with it."""

    description: Description
    candidates: list[ToldCandidate]
    ufrags: list[dict[str, Any]] = field(default_factory=list)
    """Each ufrag once: ``ufrag_row`` with a key ring, else ``ufrag`` only."""
    findings: list[Finding] = field(default_factory=list)

    @property
    def role(self) -> Literal["offer", "answer", "unknown"]:
        """By setup: an offer says actpass, an answer active or passive (RFC 8842 section 5)."""
        setups = {media.setup for media in self.description.media if media.setup}
        return "offer" if "actpass" in setups else "answer" if setups else "unknown"

    @property
    def has_faults(self) -> bool:
        """Whether any finding is a fault."""
        return any(finding.level == "fault" for finding in self.findings)


def description_text(data: bytes) -> str:
    """The description of a file: as it is, or the ``sdp`` of a JSON object as browsers give it. Raises DataError."""
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        raise DataError(f"the session description is not UTF-8 text (byte {error.start})") from error
    if not text.lstrip().startswith("{"):
        return text.lstrip()
    try:
        sdp = json.loads(text)["sdp"]
    except (ValueError, KeyError, RecursionError) as error:
        raise DataError("the input looks like JSON, expected an object with the member 'sdp'") from error
    if not isinstance(sdp, str):
        raise DataError("the member 'sdp' of the JSON object is not a string")
    return sdp


def inspect_description(text: str, *, vips: Sequence[Address] = (), ring: KeyRing | None = None) -> Inspection:
    """Reads a description and looks for faults. ``vips`` are the public addresses that clients should be told.

    Raises DataError if it cannot be read at all.
    """
    try:
        description = read_description(text)
    except SdpError as error:
        raise DataError(str(error)) from error
    candidates, bad = read_candidates(text)
    found = Inspection(description, candidates)
    found.ufrags = [
        {"ufrag": ufrag} if ring is None else ufrag_row(ring, ufrag)
        for ufrag in dict.fromkeys(media.ufrag for media in description.media if media.ufrag)
    ]
    found.findings = [
        *media_findings(description),
        *_refusal(text, found.role),
        *ice_findings(description, found.ufrags, is_answer=found.role == "answer"),
        *candidate_findings(description, candidates, bad, vips, is_offer=found.role == "offer"),
        *leak_findings(candidates, text),
    ]
    return found


def _refusal(text: str, role: str) -> Iterator[Finding]:
    """What our own transceiver says to an offer."""
    if role == "offer":
        try:
            read_offer(text)
        except SdpError as error:
            yield Finding("fault", "refused", f"a transceiver of rtcrelay refuses this offer: {error}")


def inspection_row(found: Inspection) -> dict[str, Any]:
    """An inspection as JSON has it. Passwords are left out."""
    description = found.description
    return {
        "kind": "sdp",
        "v": 1,
        "role": found.role,
        "ice_lite": description.ice_lite,
        "bundle": list(description.bundle),
        "ufrags": found.ufrags,
        "media": [_media_row(media) for media in description.media],
        "candidates": [_candidate_row(candidate) for candidate in found.candidates],
        "findings": [{"level": f.level, "code": f.code, "message": f.message} for f in found.findings],
    }


def _media_row(media: Media) -> dict[str, Any]:
    number = media.opus if media.kind == "audio" else None
    opus = None
    if number is not None:
        opus = {"payload_type": number, "parameters": media.parameters.get(number), "ptime_ms": media.ptime_ms}
    return {
        "media": media.kind,
        "mid": media.mid,
        "port": media.port,
        "protocol": media.protocol,
        "offered": media.is_offered,
        "direction": media.direction,
        "setup": media.setup,
        "rtcp_mux": media.rtcp_mux,
        "bundle_only": media.bundle_only,
        "ufrag": media.ufrag,
        "fingerprints": [str(fingerprint) for fingerprint in media.fingerprints],
        "opus": opus,
    }


def _candidate_row(candidate: ToldCandidate) -> dict[str, Any]:
    where = (candidate.host, candidate.port)
    return {
        "media": candidate.media,
        "address": format_address(where),
        "transport": candidate.transport,
        "type": candidate.kind,
        "component": candidate.component,
        "priority": candidate.priority,
        "related": candidate.related,
        "tcp_type": candidate.tcp_type,
    }
