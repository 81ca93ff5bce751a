"""What an operator hears of drops and errors, in virtual time."""

from __future__ import annotations

import logging

from rtcrelay._dataplane import DROP_REASONS, KeyRing, Policy, Relay, RelayConfig
from rtcrelay.relay.digest import KINDS, Digest, Kind


def said(digest: Digest, now: float, **counts: int) -> list[str]:
    return [line.message for line in digest.handle_snapshot(counts, now)]


def test_the_first_of_a_kind_is_said_at_once_with_its_meaning_and_advice() -> None:
    digest = Digest()
    assert said(digest, 0.0, send_too_big=0) == []
    (line,) = digest.handle_snapshot({"send_too_big": 3}, 2.0)
    assert line.level == logging.WARNING
    assert line.message == (
        "3 packets were dropped within 2 s (send_too_big): the datagram is larger than the path's MTU; between relays"
        " and transceivers an MTU of at least 1566 is needed"
    )


def test_the_next_ones_are_said_together_a_minute_later() -> None:
    digest = Digest()
    assert len(said(digest, 0.0, table_full=1)) == 1
    for second in range(2, 60, 2):
        assert said(digest, float(second), table_full=1 + second) == []
    (sentence,) = said(digest, 60.0, table_full=70)
    assert sentence.startswith("69 packets were dropped within 60 s (table_full): the path table is full")
    assert said(digest, 62.0, table_full=71) == []


def test_what_stopped_is_not_said_again() -> None:
    digest = Digest()
    assert len(said(digest, 0.0, send_failed=1)) == 1
    assert said(digest, 60.0, send_failed=1) == []
    assert said(digest, 6000.0, send_failed=1) == []
    assert len(said(digest, 6002.0, send_failed=2)) == 1, "and at once when it begins anew"


def test_one_kind_does_not_silence_another() -> None:
    digest = Digest()
    assert len(said(digest, 0.0, send_failed=1)) == 1
    assert len(said(digest, 2.0, send_failed=2, send_unreachable=1)) == 1


def test_one_packet_is_singular() -> None:
    assert said(Digest(), 0.0, send_failed=1) == [
        "1 packet was dropped within 1 s (send_failed): the kernel refused to send, for another reason"
    ]


def test_a_count_that_is_no_drop_has_its_own_sentence() -> None:
    digest = Digest()
    digest.handle_snapshot({}, 0.0)
    lines = digest.handle_snapshot({"panics": 1, "receive_errors": 5}, 2.0)
    assert [(line.level, line.message) for line in lines] == [
        (logging.WARNING, "receiving failed 5 times within 2 s"),
        (
            logging.ERROR,
            "a defect of rtcrelay stopped a worker's turn within 2 s; please report what stderr says",
        ),
    ]


def test_a_trickle_from_strangers_is_never_said() -> None:
    digest = Digest()
    for minute in range(60):
        for part in range(3):
            count = minute * 90 + 30 * (part + 1)
            assert said(digest, minute * 60.0 + 20.0 * part, ufrag_forged=count) == []


def test_a_burst_from_strangers_is_said_as_soon_as_it_is_one() -> None:
    digest = Digest()
    assert said(digest, 0.0, ufrag_forged=0) == []
    assert said(digest, 2.0, ufrag_forged=99) == []
    (sentence,) = said(digest, 4.0, ufrag_forged=100)
    assert sentence.startswith("100 packets were dropped within 4 s (ufrag_forged): the ufrag fails its check")


def test_a_long_burst_is_said_once_a_minute() -> None:
    digest = Digest()
    spoken = [second for second in range(0, 601, 2) if said(digest, float(second), ufrag_forged=1000 * (second + 1))]
    assert spoken == list(range(0, 601, 60))


def test_everything_at_once_stays_under_one_line_a_kind_and_minute() -> None:
    digest = Digest()
    lines = [line for second in range(0, 600, 2) for line in said(digest, second, **dict.fromkeys(KINDS, second * 999))]
    assert len(lines) <= 10 * len(KINDS)
    assert all("\n" not in line and not line.endswith(".") for line in lines)


def test_counts_that_start_anew_are_not_negative() -> None:
    digest = Digest({"send_failed": Kind()})
    assert len(said(digest, 0.0, send_failed=10)) == 1
    assert said(digest, 120.0, send_failed=0) == []


def test_every_kind_is_a_count_that_a_relay_has() -> None:
    policy = Policy(KeyRing([(0, bytes(16), "active")]))
    relay = Relay(RelayConfig([(("127.0.0.1", 0), ("127.0.0.1", 0))], policy))
    relay.start()
    known = {*DROP_REASONS, *relay.counters(), "receive_overflows"}
    relay.stop()
    assert set(KINDS) <= known
    assert {name for name, kind in KINDS.items() if not kind.sentence} <= set(DROP_REASONS)
