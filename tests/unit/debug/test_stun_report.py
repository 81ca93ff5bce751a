"""STUN messages taken apart: the official vectors, every kind of value, integrity, and why something is no message."""

from __future__ import annotations

import hmac
import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from vectors.rfc5769 import IPV4_RESPONSE, IPV6_RESPONSE, LONG_TERM, PASSWORD, REQUEST, TRANSACTION

from rtcrelay import keys
from rtcrelay._dataplane import Route, SppHeader, mint_ufrag, pack_spp, read_stun
from rtcrelay.debug.stun_integrity import Passwords, read_passwords
from rtcrelay.debug.stun_report import looks_like_stun, read_report, why_not_stun
from rtcrelay.debug.stun_values import decode_value, show_value
from rtcrelay.errors import DataError
from rtcrelay.rtc import stun


def known(*passwords: str) -> Passwords:
    return Passwords(others=[password.encode() for password in passwords])


@pytest.mark.parametrize(
    ("datagram", "software", "mapped"),
    [
        (REQUEST, "STUN test client", None),
        (IPV4_RESPONSE, "test vector", "192.0.2.1:32853"),
        (IPV6_RESPONSE, "test vector", "[2001:db8:1234:5678:11:2233:4455:6677]:32853"),
    ],
)
def test_the_official_vectors_are_read_and_right(datagram: bytes, software: str, mapped: str | None) -> None:
    found = read_report(datagram, known("another", PASSWORD))
    values = {attribute.name: attribute.value for attribute in found.attributes}
    assert values["SOFTWARE"] == software
    assert values.get("XOR-MAPPED-ADDRESS") == mapped
    assert (found.fingerprint, found.integrity, found.integrity_sha256) == ("ok", "ok", "absent")
    assert (found.verdict, found.transaction, found.length) == ("ok", TRANSACTION, len(datagram))


def test_the_official_vector_with_long_term_credentials_is_right() -> None:
    found = read_report(LONG_TERM, known("TheMatrIX"))
    assert (found.integrity, found.fingerprint, found.verdict) == ("ok", "absent", "ok")
    assert [a.value for a in found.attributes][:3] == ["マトリックス", "f//499k954d6OL34oL9FSTvy64sA", "example.org"]
    assert read_report(LONG_TERM, known("TheMatrix")).integrity == "wrong"


def test_a_changed_byte_and_a_wrong_password_are_told_apart() -> None:
    changed = REQUEST[:24] + b"X" + REQUEST[25:]
    assert (read_report(changed, known(PASSWORD)).fingerprint, read_report(changed, known(PASSWORD)).verdict) == (
        "wrong",
        "wrong",
    )
    found = read_report(REQUEST, known("wrong"))
    assert (found.fingerprint, found.integrity, found.verdict) == ("ok", "wrong", "wrong")
    assert read_report(REQUEST, Passwords()).verdict == "unchecked"


def test_a_message_without_any_check_is_unsigned() -> None:
    assert read_report(stun.write_message(1, bytes(12), [], fingerprint=False), Passwords()).verdict == "unsigned"


def signed(number: int, function: str, size: int) -> bytes:
    head = struct.pack("!HHI", 1, 4 + size, stun.MAGIC_COOKIE) + TRANSACTION
    return head + struct.pack("!HH", number, size) + hmac.digest(b"secret", head, function)[:size]


@pytest.mark.parametrize("size", [16, 32])
def test_integrity_with_sha256_is_checked_also_if_it_is_cut(size: int) -> None:
    datagram = signed(0x001C, "sha256", size)
    assert read_report(datagram, known("secret")).integrity_sha256 == "ok"
    assert read_report(datagram, known("other")).integrity_sha256 == "wrong"
    assert read_report(signed(0x001C, "sha256", 12), known("secret")).integrity_sha256 == "wrong"


def test_the_short_integrity_of_libwebrtc_is_checked() -> None:
    assert read_report(signed(0xC060, "sha1", 4), known("secret")).integrity == "ok"


# -- whose password


def request(username: str, password: str, transaction: bytes = TRANSACTION) -> bytes:
    return stun.write_message(1, transaction, [(6, username.encode())], password=password)


def test_a_named_password_is_for_its_ufrag_only() -> None:
    passwords = read_passwords(b"aaaa one\n\nbbbb two\n", "x")
    assert read_report(request("aaaa:cccc", "one"), passwords).integrity == "ok"
    assert read_report(request("aaaa:cccc", "two"), passwords).integrity == "wrong"
    assert read_report(request("dddd:cccc", "two"), passwords).integrity == "unchecked"


def test_a_response_is_checked_with_the_password_of_its_request() -> None:
    passwords = read_passwords(b"aaaa one\nbbbb two\n", "x")
    response = stun.write_binding_success(TRANSACTION, ("192.0.2.1", 1), "two")
    assert read_report(response, passwords).integrity == "ok"
    read_report(request("aaaa:cccc", "one"), passwords)
    assert read_report(response, passwords).integrity == "wrong"


def test_probes_are_checked_with_the_key_ring_and_nothing_else_is(tmp_path: Path) -> None:
    path = tmp_path / "keys.toml"
    keys.write_key_file(path, keys.generate(3))
    ring = keys.load_key_file(path)
    probe = mint_ufrag(ring.ring, Route("probe_endpoint", 1, ip="10.0.0.1", port=7000, key_id=3))
    password = ring.probe_password(probe)
    assert password is not None
    assert read_report(request(f"{probe}:x", password), Passwords(probes=ring)).integrity == "ok"
    media = mint_ufrag(ring.ring, Route("endpoint", 1, ip="10.0.0.1", port=7000, key_id=3))
    assert read_report(request(f"{media}:x", "p"), Passwords(probes=ring)).integrity == "unchecked"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\n \n", "x holds no password"),
        (b"one\na b secret\n", "x: line 2 has 3 words, expected PASSWORD or UFRAG PASSWORD"),
        (b"one\n" * 5000, "x has more than 4096 passwords"),
    ],
)
def test_a_password_file_that_is_none_is_told_without_a_secret(content: bytes, message: str) -> None:
    with pytest.raises(DataError) as caught:
        read_passwords(content, "x")
    assert str(caught.value) == message


# -- what is no message

GOOD = stun.write_message(1, bytes(12), [(0x8022, b"abc")])


@pytest.mark.parametrize(
    ("datagram", "reason"),
    [
        (b"", "0 bytes, and the header alone has 20"),
        (GOOD[:19], "19 bytes, and the header alone has 20"),
        (b"\x80" + GOOD[1:], "the first byte is 0x80, expected 0x00 to 0x03"),
        (GOOD[:4] + bytes(4) + GOOD[8:], "the magic cookie is 0x00000000, expected 0x2112a442"),
        (GOOD[:2] + b"\0\x0f" + GOOD[4:], "the length 15 is not a multiple of 4"),
        (GOOD + b"\0\0\0\0", "the header says that 16 bytes follow it, and 20 do"),
        (GOOD[:-4], "the header says that 16 bytes follow it, and 12 do"),
        (GOOD[:22] + b"\0\x40" + GOOD[24:], "attribute 0x8022 (SOFTWARE) at byte 20 says 64 bytes, and 12 are left"),
        (GOOD[:30] + b"\0\5" + GOOD[32:], "attribute 0x8028 (FINGERPRINT) at byte 28 says 5 bytes, and 4 are left"),
    ],
)
def test_what_is_no_message_is_told_why(datagram: bytes, reason: str) -> None:
    assert why_not_stun(datagram) == reason
    with pytest.raises(DataError) as caught:
        read_report(datagram, Passwords())
    assert str(caught.value) == f"not a STUN message: {reason}"


@given(st.data())
def test_the_explanation_agrees_with_the_relays_parser(data: st.DataObject) -> None:
    datagram = bytearray(data.draw(st.sampled_from([REQUEST, IPV4_RESPONSE, GOOD, bytes(20)])))
    for _ in range(data.draw(st.integers(0, 3))):
        datagram[data.draw(st.integers(0, len(datagram) - 1))] = data.draw(st.integers(0, 255))
    cut = bytes(datagram[: data.draw(st.integers(0, len(datagram)))]) if data.draw(st.booleans()) else bytes(datagram)
    assert (read_stun(cut) is None) == bool(why_not_stun(cut))


@given(st.lists(st.tuples(st.integers(0, 0xFFFF), st.binary(max_size=24)), max_size=6))
def test_any_attributes_give_a_report(attributes: list[tuple[int, bytes]]) -> None:
    found = read_report(stun.write_message(1, bytes(12), attributes), known("p"))
    for attribute in found.attributes:
        assert isinstance(show_value(attribute.value, attribute.raw), str)


def test_the_spp_header_in_front_is_taken_off_and_kept() -> None:
    header = SppHeader(("198.51.100.7", 51234), ("10.0.0.5", 3479))
    found = read_report(pack_spp(header) + REQUEST, known(PASSWORD))
    assert (found.spp, found.verdict) == (header, "ok")


def test_a_payload_looks_like_stun_by_its_cookie() -> None:
    assert looks_like_stun(GOOD)
    assert looks_like_stun(GOOD[:-4])
    assert not looks_like_stun(b"\x80" + GOOD[1:])
    assert not looks_like_stun(b"")


@pytest.mark.parametrize(
    ("number", "value", "expected", "shown"),
    [
        (0x0001, "0001138cc0000201", "192.0.2.1:5004", "192.0.2.1:5004"),
        (0x0003, "00000006", ["change IP", "change port"], "change IP, change port"),
        (0x0009, "00000457526f6c6520436f6e666c696374", {"code": 487, "reason": "Role Conflict"}, None),
        (0x000A, "00208022", ["0x0020", "0x8022"], "0x0020, 0x8022"),
        (0x000C, "40010000", "0x4001", "0x4001"),
        (0x000D, "00000258", 600, "600"),
        (0x0017, "02000000", "IPv6", "IPv6"),
        (0x0018, "80", "and the next port", "and the next port"),
        (0x0019, "11000000", "UDP", "UDP"),
        (0x001D, "00020000", ["SHA-256"], "SHA-256"),
        (0x8002, "0002000000010000", ["SHA-256", "MD5"], "SHA-256, MD5"),
        (0x0025, "", "", ""),
        (0x0025, "00", None, "00"),
        (0x0027, "0d960000", 3478, "3478"),
        (0x8025, "00000201", {"requests": 2, "responses": 1}, "requests 2, responses 1"),
        (0x802A, "932ff9b151263b36", "932ff9b151263b36", "932ff9b151263b36"),
        (0xC057, "0001000a", {"network_id": 1, "cost": 10}, "network_id 1, cost 10"),
        (0xC070, "", {"bytes": 0, "record": "none"}, "bytes 0, record none"),
        (0xC070, "16fefd", {"bytes": 3, "record": "handshake"}, "bytes 3, record handshake"),
        (0xC071, "0102030405060708", ["01020304", "05060708"], "01020304, 05060708"),
        (0xC071, "010203", None, "010203"),
        (0x0020, "0003", None, "0003"),
        (0x0020, "", None, ""),
        (0x0009, "00", None, "00"),
        (0x7FFF, "00" * 30, None, "00" * 24 + "... (30 bytes)"),
    ],
)
def test_a_value_is_decoded_or_shown_as_bytes(number: int, value: str, expected: object, shown: str | None) -> None:
    raw = bytes.fromhex(value)
    decoded = decode_value(number, raw, TRANSACTION)
    assert decoded == expected
    if shown is not None:
        assert show_value(decoded, raw) == shown


def test_a_priority_is_taken_apart() -> None:
    decoded = decode_value(0x0024, bytes.fromhex("6e0001ff"), TRANSACTION)
    assert show_value(decoded, b"") == "1845494271 (type 110, local 1, component 1)"
