"""What does a PATCH on a session want? Trickled candidates or an ICE restart (RFC 9725 sections 4.3 and 4.4).

Law: whatever is refused here, the session goes on as it was.
"""

from __future__ import annotations

from typing import Final

from aiohttp import web

from rtcrelay.http.problems import Problem
from rtcrelay.rtc.sdp import SdpError
from rtcrelay.rtc.trickle import Fragment, read_fragment
from rtcrelay.transceiver.transceiver import Placed, Transceiver

FRAGMENT_TYPE: Final = "application/trickle-ice-sdpfrag"
_ANY: Final = ("*", '"*"')
"""RFC 9725 says ``*`` in its words and ``"*"`` in its example: both are taken."""


def answer_patch(transceiver: Transceiver, placed: Placed, if_match: str | None, text: str) -> web.Response:
    """204 for candidates, which an ICE-lite server needs none of; 200 with new credentials for a restart.

    Raises Problem: 428 without If-Match, 412 if it names another ICE session, 400 for a body that is no fragment,
    422 for one that asks for what cannot be.
    """
    if if_match is None:
        raise Problem(428, "a PATCH needs If-Match: the session's ETag for candidates, * for an ICE restart")
    is_any = if_match.strip() in _ANY
    if not is_any and placed.etag not in [tag.strip() for tag in if_match.split(",")]:
        raise Problem(412, "If-Match names another ICE session than the current one")
    try:
        fragment = read_fragment(text)
    except SdpError as error:
        raise Problem(400, str(error)) from error
    _check_mids(placed, fragment)
    if fragment.ufrag == placed.session.link.generations.newest.remote.ufrag:
        return web.Response(status=204)
    if not is_any:
        raise Problem(422, "the ice-ufrag is not this ICE session's: a restart needs If-Match: *")
    if fragment.ice is None:
        raise Problem(400, "an ICE restart needs an ice-pwd besides the ice-ufrag")
    answer = transceiver.restart_ice(placed, fragment.ice)
    return web.Response(status=200, text=answer, content_type=FRAGMENT_TYPE, headers={"ETag": placed.etag})


def _check_mids(placed: Placed, fragment: Fragment) -> None:
    known = {section.mid for section in placed.session.offer.sections}
    for mid in fragment.mids:
        if mid not in known:
            raise Problem(422, f"the offer had no m-line with the mid {mid!r}")
