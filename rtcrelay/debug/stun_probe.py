"""Which binding request does a probe send, and is what comes back an answer to it?

Right requests, and requests that are wrong in one way each, to see what a server does with them.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

from rtcrelay._dataplane import read_stun
from rtcrelay.debug.stun_report import why_not_stun
from rtcrelay.debug.stun_values import decode_value
from rtcrelay.debug.stun_writing import MessagePlan, write_planned
from rtcrelay.errors import UsageError
from rtcrelay.rtc import stun
from rtcrelay.rtc.stun import HEADER_BYTES, Attribute

if TYPE_CHECKING:
    from rtcrelay._dataplane import Address, StunMessage

BAD: Final = {
    "fingerprint": "one bit of the FINGERPRINT is wrong",
    "integrity": "one bit of the MESSAGE-INTEGRITY is wrong, the FINGERPRINT is right",
    "length": "the header's length is 4 too large",
    "cookie": "the magic cookie is another",
    "truncate": "the last 4 bytes are missing",
    "padding": "the last attribute has no padding, so that the length is no multiple of 4",
}
"""The ways to be wrong."""

_WRONG_PASSWORD: Final = "not the password"  # noqa: S105  # on purpose
_PRIORITY: Final = 1_862_270_975
"""Peer-reflexive type preference 110, highest local preference, component 1 (RFC 8445 section 7.1.1)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """What each request of a probe holds."""

    username: str | None = None
    """RECEIVER:SENDER; None for a plain request, which relays and STUN servers answer themselves."""
    password: str | None = field(default=None, repr=False)
    """Signs the request, and must have signed the answer."""
    use_candidate: bool = False
    software: str | None = None
    fingerprint: bool = True
    bad: str | None = None
    """A key of `BAD`, or None."""
    tie_breaker: bytes = bytes(8)


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back for a request."""

    size: int
    """Bytes."""
    mapped: Address | None
    """How the answering side sees us; None if it does not say."""
    error: tuple[int, str] | None
    """Code and reason of an error response."""
    software: str | None
    refused: str | None
    """Why an ICE agent would not believe it, or None."""


def write_probe(probe: Probe, transaction: bytes) -> bytes:
    """One request. Raises UsageError if what is to be wrong is not in it."""
    is_check = probe.username is not None
    plan = MessagePlan(
        transaction=transaction,
        username=probe.username,
        password=probe.password,
        role="controlling" if is_check else None,
        tie_breaker=probe.tie_breaker,
        priority=_PRIORITY if is_check else None,
        use_candidate=probe.use_candidate,
        software=probe.software,
        fingerprint=probe.fingerprint,
    )
    return write_planned(plan) if probe.bad is None else _spoil(plan, probe.bad)


def transaction_of(datagram: bytes) -> bytes | None:
    """The transaction id of a binding response, whether or not the rest of it is sound; None if it is none."""
    kind = int.from_bytes(datagram[:2], "big")
    is_response = len(datagram) >= HEADER_BYTES and kind in (stun.BINDING_SUCCESS, stun.BINDING_ERROR)
    return datagram[8:HEADER_BYTES] if is_response else None


def read_answer(probe: Probe, datagram: bytes, *, expected: bool = True) -> Answer:
    """Reads a response to a request of the probe. ``expected``: it came from where the request went."""
    message = read_stun(datagram)
    if message is None:
        return Answer(len(datagram), None, None, None, f"malformed: {why_not_stun(datagram)}")
    return Answer(
        len(datagram),
        stun.mapped_address(message),
        _error(message),
        _value(message, Attribute.SOFTWARE),
        _why_refused(probe, datagram, message, expected),
    )


def _why_refused(probe: Probe, datagram: bytes, message: StunMessage, expected: bool) -> str | None:
    if stun.fingerprint_is_wrong(datagram, message):
        return "the FINGERPRINT is wrong"
    is_success = message.kind == stun.BINDING_SUCCESS
    if probe.password is not None and probe.bad != "integrity" and is_success:
        if all(number != Attribute.MESSAGE_INTEGRITY for number, _, _ in message.attributes):
            return "no MESSAGE-INTEGRITY: who answered does not know the password"
        if stun.verified_attributes(datagram, message, probe.password.encode()) is None:
            return "the MESSAGE-INTEGRITY is wrong: another password"
    # RFC 8445 section 7.2.5.2.1: ICE takes an answer only from where the request went.
    return None if expected else "it came from another address than the request went to"


def _error(message: StunMessage) -> tuple[int, str] | None:
    value: Any = _value(message, Attribute.ERROR_CODE)
    return None if value is None else (value["code"], value["reason"])


def _value(message: StunMessage, wanted: Attribute) -> Any:
    for number, _, value in message.attributes:
        if number == wanted:
            return decode_value(number, value, message.transaction)
    return None


def _spoil(plan: MessagePlan, how: str) -> bytes:
    """A request that is wrong in one of the ways of `BAD`."""
    if how == "padding":
        return _unpadded(plan)
    if how == "integrity":
        signed = plan.password or _WRONG_PASSWORD
        return _with_wrong_integrity(replace(plan, password=signed))
    message = bytearray(write_planned(plan))
    if how == "fingerprint":
        if not plan.fingerprint:
            raise UsageError("--bad fingerprint and --no-fingerprint exclude each other")
        message[-1] ^= 1
    elif how == "length":
        message[2:4] = (int.from_bytes(message[2:4], "big") + 4).to_bytes(2, "big")
    elif how == "cookie":
        message[4:8] = bytes(4)
    else:
        del message[-4:]
    return bytes(message)


def _with_wrong_integrity(plan: MessagePlan) -> bytes:
    bare = write_planned(replace(plan, fingerprint=False))
    spoiled = bare[:-1] + bytes([bare[-1] ^ 1])
    if not plan.fingerprint:
        return spoiled
    return stun.append_fingerprint(spoiled)


def _unpadded(plan: MessagePlan) -> bytes:
    whole = write_planned(replace(plan, fingerprint=False))
    software = b"probe"
    body = whole[HEADER_BYTES:] + int(Attribute.SOFTWARE).to_bytes(2, "big") + len(software).to_bytes(2, "big")
    body += software
    return whole[:2] + len(body).to_bytes(2, "big") + whole[4:HEADER_BYTES] + body
