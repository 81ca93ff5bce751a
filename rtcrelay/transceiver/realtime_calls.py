"""How does a page that was written for OpenAI's WebRTC interface call? ``POST /v1/realtime/calls``, beside WHIP.

The body is the offer (``application/sdp``), or a form with the fields ``sdp`` and ``session``, a JSON object that the
backend gets. The answer is 201 with the SDP and ``Location: /v1/realtime/calls/<call id>``; ``POST …/hangup`` ends
the call.
"""

from __future__ import annotations

import json
from email.message import Message
from email.parser import BytesParser
from email.policy import HTTP
from typing import Final, NamedTuple
from urllib.parse import parse_qs

from aiohttp import web

from rtcrelay.http.problems import Problem

CALLS: Final = "/v1/realtime/calls"
_SDP: Final = "application/sdp"
_FORM: Final = "multipart/form-data"
_ACCEPT: Final = {"Accept-Post": f"{_SDP}, {_FORM}"}


class CallRequest(NamedTuple):
    """What a client asks for."""

    offer: str
    session: str | None
    """JSON of an object; None: nothing special."""


def read_call_request(request: web.Request, body: bytes) -> CallRequest:
    """Reads the body of ``POST /v1/realtime/calls``. Raises Problem: 415, 400, 422."""
    kind = request.content_type
    if kind not in (_SDP, _FORM):
        raise Problem(415, f"the body is expected to be {_SDP} or {_FORM}", _ACCEPT)
    if kind == _SDP:
        query = parse_qs(request.query_string)  # the earlier interface: POST /v1/realtime?model=…
        model = query.get("model", [None])[-1]
        return CallRequest(_text(body, "the body"), json.dumps({"model": model}) if model else None)
    fields = _read_form(request.headers.get("Content-Type", ""), body)
    if "sdp" not in fields:
        raise Problem(400, "the form has no field 'sdp'")
    return CallRequest(_text(fields["sdp"], "the field 'sdp'"), _read_session(fields.get("session")))


def _read_form(content_type: str, body: bytes) -> dict[str, bytes]:
    head = f"Content-Type: {content_type}\r\n\r\n".encode("utf-8", "replace")
    form: Message = BytesParser(policy=HTTP).parsebytes(head + body)
    if not form.is_multipart():
        raise Problem(400, "the form cannot be read")
    fields: dict[str, bytes] = {}
    for part in form.get_payload():
        if isinstance(part, Message):
            name = part.get_param("name", header="content-disposition")
            payload = part.get_payload(decode=True)
            if isinstance(name, str) and isinstance(payload, bytes):
                fields[name] = payload
    return fields


def _read_session(field: bytes | None) -> str | None:
    if field is None or not field.strip():
        return None
    text = _text(field, "the field 'session'")
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise Problem(422, f"the field 'session' is no JSON: {error}") from error
    if not isinstance(value, dict):
        raise Problem(422, "the field 'session' is expected to be a JSON object")
    return text


def _text(body: bytes, what: str) -> str:
    try:
        return body.decode()
    except UnicodeDecodeError:
        raise Problem(422, f"{what} is not UTF-8") from None
