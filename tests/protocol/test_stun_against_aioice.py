"""An independent judge: aioice reads what we write, and we read what aioice writes."""

from __future__ import annotations

import secrets

import pytest
from aioice import stun as aioice_stun

from rtcrelay._dataplane import read_stun
from rtcrelay.rtc import stun

PASSWORD = "0123456789abcdefghijkl"
TRANSACTION = secrets.token_bytes(12)


def judged(datagram: bytes) -> aioice_stun.Message:
    """aioice raises on a wrong FINGERPRINT and says whether MESSAGE-INTEGRITY is right."""
    message = aioice_stun.parse_message(datagram)
    assert message.check_message_integrity(PASSWORD.encode())
    assert "FINGERPRINT" in message.attributes
    return message


@pytest.mark.parametrize("controlling", [True, False])
@pytest.mark.parametrize("use_candidate", [True, False])
def test_aioice_reads_our_request(controlling: bool, use_candidate: bool) -> None:
    check = stun.IceCheck(1_853_817_087, controlling, bytes(range(8)), use_candidate)
    datagram = stun.write_binding_request(TRANSACTION, "server:client", PASSWORD, check)
    message = judged(datagram)
    assert message.message_method is aioice_stun.Method.BINDING
    assert message.message_class is aioice_stun.Class.REQUEST
    assert message.attributes["USERNAME"] == "server:client"
    assert message.attributes["PRIORITY"] == 1_853_817_087
    role = "ICE-CONTROLLING" if controlling else "ICE-CONTROLLED"
    assert message.attributes[role] == int.from_bytes(bytes(range(8)), "big")
    assert ("USE-CANDIDATE" in message.attributes) is use_candidate


@pytest.mark.parametrize("address", [("198.51.100.7", 51234), ("2001:db8::7", 3478)])
def test_aioice_reads_our_response(address: tuple[str, int]) -> None:
    datagram = stun.write_binding_success(TRANSACTION, address, PASSWORD)
    message = judged(datagram)
    assert message.message_class is aioice_stun.Class.RESPONSE
    assert message.transaction_id == TRANSACTION
    assert message.attributes["XOR-MAPPED-ADDRESS"] == address


def test_aioice_reads_our_error() -> None:
    message = aioice_stun.parse_message(stun.write_binding_error(TRANSACTION, 400, "Bad Request"))
    assert message.attributes["ERROR-CODE"] == (400, "Bad Request")


def test_aioice_refuses_our_request_under_another_password() -> None:
    check = stun.IceCheck(1, True, bytes(8))
    datagram = stun.write_binding_request(TRANSACTION, "server:client", PASSWORD, check)
    assert not aioice_stun.parse_message(datagram).check_message_integrity(b"another password......")


@pytest.mark.parametrize("address", [("198.51.100.7", 51234), ("2001:db8::7", 3478)])
def test_we_read_the_messages_of_aioice(address: tuple[str, int]) -> None:
    theirs = aioice_stun.Message(aioice_stun.Method.BINDING, aioice_stun.Class.RESPONSE, TRANSACTION)
    theirs.attributes["XOR-MAPPED-ADDRESS"] = address
    theirs.add_message_integrity(PASSWORD.encode())
    datagram = bytes(theirs)
    message = read_stun(datagram)
    assert message is not None
    assert not stun.fingerprint_is_wrong(datagram, message)
    assert stun.verified_attributes(datagram, message, PASSWORD.encode()) is not None
    assert stun.mapped_address(message) == address
