"""STUN messages: what is believed, and what is not."""

from __future__ import annotations

import zlib

import pytest

from rtcrelay._dataplane import StunMessage, read_stun
from rtcrelay.rtc import stun

PASSWORD = "0123456789abcdefghijkl"
TRANSACTION = bytes(range(12))
CHECK = stun.IceCheck(1, True, bytes(8), use_candidate=True)
REQUEST = stun.write_binding_request(TRANSACTION, "server:client", PASSWORD, CHECK)


def read(datagram: bytes) -> StunMessage:
    message = read_stun(datagram)
    assert message is not None
    return message


def test_the_right_password_gives_the_covered_attributes() -> None:
    attributes = stun.verified_attributes(REQUEST, read(REQUEST), PASSWORD.encode())
    assert attributes is not None
    assert attributes[stun.Attribute.USERNAME] == b"server:client"
    assert stun.Attribute.USE_CANDIDATE in attributes


@pytest.mark.parametrize("password", ["", "0123456789abcdefghijk", "0123456789abcdefghijkL"])
def test_another_password_gives_nothing(password: str) -> None:
    assert stun.verified_attributes(REQUEST, read(REQUEST), password.encode()) is None


def test_a_message_without_integrity_gives_nothing() -> None:
    bare = stun.write_message(stun.BINDING_REQUEST, TRANSACTION, [(stun.Attribute.USERNAME, b"a:b")])
    assert stun.verified_attributes(bare, read(bare), PASSWORD.encode()) is None


def test_what_stands_behind_the_integrity_is_not_believed() -> None:
    # USE-CANDIDATE appended to somebody else's check, and the length corrected: its integrity still holds.
    check = stun.IceCheck(1, True, bytes(8))
    honest = stun.write_binding_request(TRANSACTION, "server:client", PASSWORD, check)[:-8]
    body = honest[20:] + bytes.fromhex("00250000")
    forged = honest[:2] + (len(body)).to_bytes(2, "big") + honest[4:20] + body
    attributes = stun.verified_attributes(forged, read(forged), PASSWORD.encode())
    assert attributes is not None
    assert stun.Attribute.USE_CANDIDATE not in attributes


def test_the_first_of_two_equal_attributes_counts() -> None:
    twice = stun.write_message(
        stun.BINDING_REQUEST,
        TRANSACTION,
        [(stun.Attribute.USERNAME, b"a:b"), (stun.Attribute.USERNAME, b"c:d")],
        password=PASSWORD,
    )
    attributes = stun.verified_attributes(twice, read(twice), PASSWORD.encode())
    assert attributes == {stun.Attribute.USERNAME: b"a:b"}
    assert stun.split_username(read(twice)) == (b"a", b"b")


def test_a_message_without_fingerprint_has_no_wrong_one() -> None:
    bare = stun.write_message(stun.BINDING_REQUEST, TRANSACTION, [], fingerprint=False)
    assert not stun.fingerprint_is_wrong(bare, read(bare))


def test_a_fingerprint_that_is_not_last_is_wrong() -> None:
    header = bytes.fromhex("0001000c2112a442") + TRANSACTION
    crc = zlib.crc32(header) ^ 0x5354554E
    datagram = header + bytes.fromhex("80280004") + crc.to_bytes(4, "big") + bytes.fromhex("00250000")
    assert stun.fingerprint_is_wrong(datagram, read(datagram))


@pytest.mark.parametrize(
    ("username", "halves"),
    [(b"a:b", (b"a", b"b")), (b"a:b:c", (b"a", b"b:c")), (b":b", (b"", b"b")), (b"ab", None), (b"", None)],
)
def test_username_is_split_at_its_first_colon(username: bytes, halves: tuple[bytes, bytes] | None) -> None:
    datagram = stun.write_message(stun.BINDING_REQUEST, TRANSACTION, [(stun.Attribute.USERNAME, username)])
    assert stun.split_username(read(datagram)) == halves


def test_a_message_without_username_has_no_halves() -> None:
    datagram = stun.write_message(stun.BINDING_REQUEST, TRANSACTION, [])
    assert stun.split_username(read(datagram)) is None
    assert stun.mapped_address(read(datagram)) is None


@pytest.mark.parametrize("value", [b"", bytes(7), bytes.fromhex("0002a147e112a643"), bytes(20), bytes(21)])
def test_a_mapped_address_of_wrong_form_is_none(value: bytes) -> None:
    datagram = stun.write_message(stun.BINDING_SUCCESS, TRANSACTION, [(stun.Attribute.XOR_MAPPED_ADDRESS, value)])
    assert stun.mapped_address(read(datagram)) is None


def test_attributes_are_padded_to_four_bytes() -> None:
    for length in range(9):
        datagram = stun.write_message(stun.BINDING_REQUEST, TRANSACTION, [(stun.Attribute.SOFTWARE, bytes(length))])
        assert len(datagram) % 4 == 0
        assert read(datagram).attributes[0][2] == bytes(length)
