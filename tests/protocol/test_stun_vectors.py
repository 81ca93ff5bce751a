"""RFC 5769: the official STUN vectors, read and written."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from vectors.rfc5769 import IPV4_RESPONSE, IPV6_RESPONSE, PASSWORD, REQUEST, TRANSACTION

from rtcrelay._dataplane import read_stun
from rtcrelay.rtc import stun


@dataclass(frozen=True)
class Vector:
    name: str
    datagram: bytes
    mapped: tuple[str, int] | None


VECTORS = [
    Vector("request (2.1)", REQUEST, None),
    Vector("IPv4 response (2.2)", IPV4_RESPONSE, ("192.0.2.1", 32853)),
    Vector("IPv6 response (2.3)", IPV6_RESPONSE, ("2001:db8:1234:5678:11:2233:4455:6677", 32853)),
]


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector.name)
def test_vector_is_read_and_verified(vector: Vector) -> None:
    message = read_stun(vector.datagram)
    assert message is not None
    assert message.transaction == TRANSACTION
    assert not stun.fingerprint_is_wrong(vector.datagram, message)
    assert stun.verified_attributes(vector.datagram, message, PASSWORD.encode()) is not None
    assert stun.mapped_address(message) == vector.mapped


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector.name)
def test_every_changed_byte_of_a_vector_is_noticed(vector: Vector) -> None:
    # But for the type of FINGERPRINT itself: a message without one is whole by its MESSAGE-INTEGRITY.
    fingerprint_type = range(len(vector.datagram) - 8, len(vector.datagram) - 6)
    for index in sorted(set(range(len(vector.datagram))) - set(fingerprint_type)):
        changed = bytearray(vector.datagram)
        changed[index] ^= 0x01
        datagram = bytes(changed)
        message = read_stun(datagram)
        assert (
            message is None
            or stun.fingerprint_is_wrong(datagram, message)
            or stun.verified_attributes(datagram, message, PASSWORD.encode()) is None
        ), index


def test_username_of_the_request_is_split_at_its_colon() -> None:
    message = read_stun(REQUEST)
    assert message is not None
    assert stun.split_username(message) == (b"evtj", b"h6vY")


@pytest.mark.parametrize("vector", VECTORS[1:], ids=lambda vector: vector.name)
def test_response_is_written_with_the_attributes_of_the_vector(vector: Vector) -> None:
    assert vector.mapped is not None
    written = stun.write_binding_success(TRANSACTION, vector.mapped, PASSWORD)
    ours, theirs = read_stun(written), read_stun(vector.datagram)
    assert ours is not None
    assert theirs is not None
    mapped = {number: value for number, _, value in theirs.attributes}[stun.Attribute.XOR_MAPPED_ADDRESS]
    assert {number: value for number, _, value in ours.attributes}[stun.Attribute.XOR_MAPPED_ADDRESS] == mapped
