"""Which STUN message was asked for? A plan of plain values, and the message that it makes."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Literal

from rtcrelay.errors import UsageError
from rtcrelay.rtc import stun
from rtcrelay.rtc.stun import Attribute

if TYPE_CHECKING:
    from rtcrelay._dataplane import Address

KINDS: Final = {
    "request": stun.BINDING_REQUEST,
    "indication": stun.BINDING_INDICATION,
    "success": stun.BINDING_SUCCESS,
    "error": stun.BINDING_ERROR,
}
"""The binding messages by their class."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MessagePlan:
    """What a message shall hold."""

    kind: str = "request"
    """A key of `KINDS`."""
    transaction: bytes
    """12 bytes."""
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    priority: int | None = None
    role: Literal["controlling", "controlled"] | None = None
    tie_breaker: bytes = bytes(8)
    use_candidate: bool = False
    software: str | None = None
    mapped: Address | None = None
    """For XOR-MAPPED-ADDRESS."""
    error: tuple[int, str] | None = None
    """Code, 300 to 699, and reason."""
    others: tuple[tuple[int, bytes], ...] = ()
    """Any more attributes, before the integrity."""
    fingerprint: bool = True


def write_planned(plan: MessagePlan) -> bytes:
    """The message. Raises UsageError if it is too long for a STUN message."""
    attributes: list[tuple[int, bytes]] = []
    if plan.software is not None:
        attributes.append((Attribute.SOFTWARE, plan.software.encode()))
    if plan.username is not None:
        attributes.append((Attribute.USERNAME, plan.username.encode()))
    if plan.role is not None:
        role = Attribute.ICE_CONTROLLING if plan.role == "controlling" else Attribute.ICE_CONTROLLED
        attributes.append((role, plan.tie_breaker))
    if plan.priority is not None:
        attributes.append((Attribute.PRIORITY, plan.priority.to_bytes(4, "big")))
    if plan.use_candidate:
        attributes.append((Attribute.USE_CANDIDATE, b""))
    if plan.mapped is not None:
        attributes.append((Attribute.XOR_MAPPED_ADDRESS, stun.xor_address(plan.mapped, plan.transaction)))
    if plan.error is not None:
        code, reason = plan.error
        attributes.append((Attribute.ERROR_CODE, struct.pack("!HBB", 0, *divmod(code, 100)) + reason.encode()))
    attributes += plan.others
    try:
        return stun.write_message(
            KINDS[plan.kind], plan.transaction, attributes, password=plan.password, fingerprint=plan.fingerprint
        )
    except struct.error as error:
        raise UsageError("the attributes are too long for a STUN message, which holds 65535 bytes") from error
