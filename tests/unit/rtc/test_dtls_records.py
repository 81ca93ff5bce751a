"""DTLS datagrams without keys: borders of records, and repetition."""

from __future__ import annotations

import random

from rtcrelay.rtc.dtls_records import RepeatDetector, holds_change_cipher_spec, pack_datagrams, split_records


def record(content: int, body: bytes, epoch: int = 0) -> bytes:
    return bytes([content, 0xFE, 0xFD]) + epoch.to_bytes(2, "big") + bytes(6) + len(body).to_bytes(2, "big") + body


def fragment(sequence: int, offset: int = 0, kind: int = 11, length: int = 4) -> bytes:
    head = bytes([kind]) + (100).to_bytes(3, "big") + sequence.to_bytes(2, "big")
    return head + offset.to_bytes(3, "big") + length.to_bytes(3, "big") + bytes(length)


def test_records_are_split_at_their_lengths() -> None:
    data = record(22, b"abc") + record(20, b"\1", epoch=1)
    assert [(content, epoch) for content, epoch, _, _ in split_records(data)] == [(22, 0), (20, 1)]
    assert holds_change_cipher_spec(data)


def test_a_record_that_is_cut_off_is_left_out() -> None:
    data = record(22, b"abc") + record(20, b"\1")
    for length in range(len(data)):
        assert len(list(split_records(data[:length]))) == (1 if length >= 16 else 0)


def test_a_flight_is_cut_between_records() -> None:
    records = [record(22, bytes([number]) * 90) for number in range(10)]
    datagrams = pack_datagrams(b"".join(records), 250)
    assert b"".join(datagrams) == b"".join(records)
    assert [len(datagram) for datagram in datagrams] == [206] * 5


def test_a_record_over_the_mtu_is_a_datagram_of_its_own() -> None:
    small, large = record(22, b"abc"), record(22, bytes(500))
    assert pack_datagrams(small + large + small, 250) == [small, large, small]
    assert pack_datagrams(b"", 250) == []


def test_a_datagram_that_was_seen_is_a_repeat() -> None:
    detector = RepeatDetector()
    datagram = record(22, fragment(0)) + record(22, fragment(1))
    assert not detector.is_repeat(datagram)
    assert detector.is_repeat(datagram)


def test_the_next_fragment_of_a_message_is_no_repeat() -> None:
    detector = RepeatDetector()
    assert not detector.is_repeat(record(22, fragment(1, 0)))
    assert not detector.is_repeat(record(22, fragment(1, 4)))


def test_the_same_numbers_with_other_bytes_are_no_repeat() -> None:
    detector = RepeatDetector()
    assert not detector.is_repeat(record(22, fragment(1)))
    assert not detector.is_repeat(record(22, fragment(1)[:-1] + b"x"))


def test_one_new_fragment_among_old_ones_is_no_repeat() -> None:
    detector = RepeatDetector()
    assert not detector.is_repeat(record(22, fragment(0)))
    assert not detector.is_repeat(record(22, fragment(0)) + record(22, fragment(1)))
    assert detector.is_repeat(record(22, fragment(0) + fragment(1)))


def test_a_hello_verify_request_is_never_a_repeat() -> None:
    detector = RepeatDetector()
    for _ in range(3):
        assert not detector.is_repeat(record(22, fragment(0, kind=3)))


def test_finished_and_data_alone_are_no_repeat() -> None:
    detector = RepeatDetector()
    for _ in range(2):
        assert not detector.is_repeat(record(20, b"\1") + record(22, bytes(40), epoch=1))
        assert not detector.is_repeat(record(23, bytes(40), epoch=1))


def test_any_bytes_raise_nothing_and_are_not_kept_without_bound() -> None:
    detector = RepeatDetector()
    dice = random.Random(1)
    for _ in range(5000):
        detector.is_repeat(dice.randbytes(dice.randrange(80)))
        detector.is_repeat(record(22, fragment(dice.randrange(65536), dice.randrange(2**24))))
        list(split_records(dice.randbytes(40)))
    assert len(detector._seen) <= 512
