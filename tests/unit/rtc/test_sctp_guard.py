"""What the guard before aiortc's SCTP lets through: each limit at its edge."""

from __future__ import annotations

import pytest

from rtcrelay.rtc.sctp_guard import (
    ABORT,
    COOKIE_ECHO,
    DATA,
    FORWARD_TSN,
    HEARTBEAT,
    INIT,
    INIT_ACK,
    RE_CONFIG,
    SACK,
    SHUTDOWN,
    SHUTDOWN_ACK,
    chunks,
    is_acceptable,
)

ERROR = 9


def chunk(kind: int, body: bytes) -> bytes:
    length = 4 + len(body)
    return bytes([kind, 0]) + length.to_bytes(2, "big") + body + bytes(-length % 4)


def accepted(*parts: bytes) -> bool:
    return is_acceptable(bytes(12) + b"".join(parts))


def parameter(length: int, body: bytes = b"") -> bytes:
    return b"\0\x0d" + length.to_bytes(2, "big") + body


def sack(*gaps: tuple[int, int], duplicates: int = 0) -> bytes:
    head = bytes(8) + len(gaps).to_bytes(2, "big") + duplicates.to_bytes(2, "big")
    body = b"".join(start.to_bytes(2, "big") + end.to_bytes(2, "big") for start, end in gaps)
    return chunk(SACK, head + body + bytes(4 * duplicates))


BODIES = {DATA: bytes(13), SACK: bytes(12), SHUTDOWN: bytes(4), FORWARD_TSN: bytes(4), INIT: bytes(16)}


@pytest.mark.parametrize(
    ("kind", "most"),
    [
        (DATA, 64),
        (HEARTBEAT, 2),
        (RE_CONFIG, 2),
        *((kind, 1) for kind in (SACK, FORWARD_TSN, SHUTDOWN, COOKIE_ECHO, ABORT, ERROR, SHUTDOWN_ACK, 77)),
    ],
)
def test_a_packet_has_so_many_chunks_of_a_kind_and_no_more(kind: int, most: int) -> None:
    one = chunk(kind, BODIES.get(kind, b""))
    assert accepted(*[one] * most)
    assert not accepted(*[one] * (most + 1))


@pytest.mark.parametrize(
    ("kind", "shortest"),
    [(DATA, 13), (INIT, 16), (INIT_ACK, 16), (SACK, 12), (SHUTDOWN, 4), (FORWARD_TSN, 4)],
)
def test_a_chunk_has_its_fixed_part(kind: int, shortest: int) -> None:
    assert accepted(chunk(kind, bytes(shortest)))
    for length in range(shortest):
        assert not accepted(chunk(kind, bytes(length))), length


@pytest.mark.parametrize("kind", [INIT, INIT_ACK, HEARTBEAT, 5, ABORT, ERROR, RE_CONFIG])
def test_a_parameter_has_the_length_of_its_own_header_at_least(kind: int) -> None:
    fixed = bytes(16) if kind in (INIT, INIT_ACK) else b""
    assert accepted(chunk(kind, fixed + parameter(4)))
    assert accepted(chunk(kind, fixed + parameter(5, b"x")))
    for length in range(4):
        assert not accepted(chunk(kind, fixed + parameter(length))), length
        assert not accepted(chunk(kind, fixed + parameter(8, bytes(4)) + parameter(length))), length


def test_a_reconfiguration_asks_for_two_things_at_most() -> None:
    assert accepted(chunk(RE_CONFIG, 2 * parameter(4)))
    assert not accepted(chunk(RE_CONFIG, 3 * parameter(4)))
    assert accepted(chunk(HEARTBEAT, 3 * parameter(4)))


def test_an_init_is_alone_in_its_packet() -> None:
    init = chunk(INIT, bytes(16))
    assert accepted(init)
    for other in (chunk(COOKIE_ECHO, b""), chunk(DATA, bytes(13)), chunk(77, b"")):
        assert not accepted(init, other)
        assert not accepted(other, init)


def test_the_gaps_of_a_sack_go_up_and_not_far() -> None:
    assert accepted(sack((2, 3), (5, 5), (7, 2048)))
    assert not accepted(sack((2, 2049)))
    assert not accepted(sack((5, 5), (2, 3)))
    assert not accepted(sack((5, 4)))
    assert not accepted(sack((2, 5), (5, 6)))
    assert not accepted(sack((0, 1)))


def test_a_sack_holds_all_the_gaps_and_duplicates_that_it_counts() -> None:
    assert accepted(sack((2, 3), duplicates=2))
    whole = sack((2, 3), duplicates=2)[4:]
    for length in range(12, len(whole)):
        assert not accepted(chunk(SACK, whole[:length])), length


def test_a_forward_tsn_names_32_streams_at_most() -> None:
    assert accepted(chunk(FORWARD_TSN, bytes(4 + 4 * 32)))
    assert not accepted(chunk(FORWARD_TSN, bytes(4 + 4 * 33)))
    assert not accepted(chunk(FORWARD_TSN, bytes(4 + 3)))


@pytest.mark.parametrize("length", [0, 1, 2, 3, 5, 6, 100])
def test_a_chunk_whose_length_is_wrong_spoils_its_packet(length: int) -> None:
    wrong = bytes([77, 0]) + length.to_bytes(2, "big")
    assert chunks(bytes(12) + wrong) is None
    assert not accepted(wrong)
    assert not accepted(chunk(DATA, bytes(13)), wrong)


def test_a_packet_without_a_chunk_is_none() -> None:
    for length in range(16):
        assert not is_acceptable(bytes(length))
    assert chunks(bytes(12) + chunk(77, b"ab")) is not None
