"""What two hops amount to, and where the operator should look."""

from __future__ import annotations

import pytest

from rtcrelay.debug.pinging import PingTally
from rtcrelay.debug.route_probe import Hop, inner_seconds, judge, plain
from rtcrelay.debug.stun_probe import Probe


def hops(relay: float | None, transceiver: float | None, trouble: str | None = None) -> tuple[Hop, Hop]:
    """Two hops by their one round trip in seconds; None: no answer."""
    found = Hop("relay", "203.0.113.10:3478", PingTally(), trouble=trouble), Hop("transceiver", "node 17", PingTally())
    for hop, seconds in zip(found, (relay, transceiver), strict=True):
        hop.tally.sent = 1
        if seconds is not None:
            hop.tally.add(seconds)
    return found


@pytest.mark.parametrize(
    ("relay", "transceiver", "works", "sentence", "hint"),
    [
        (0.01, 0.03, True, "the route works: the relay passes it on, and the transceiver has key 2", ""),
        (None, 0.03, True, "the route works, but the relay does not answer for itself", "it drains"),
        (0.01, None, False, "the relay answers, and no transceiver at node 17 behind it does", "have key 2"),
        (None, None, False, "no relay answers at 203.0.113.10:3478 (ICMP: no)", "firewall"),
    ],
)
def test_each_case_has_its_sentence_and_its_hint(
    relay: float | None, transceiver: float | None, works: bool, sentence: str, hint: str
) -> None:
    verdict = judge(*hops(relay, transceiver, "ICMP: no"), 2)
    assert (verdict.works, verdict.sentence) == (works, sentence)
    assert hint in " ".join(verdict.hints)
    assert bool(verdict.hints) == bool(hint)


def test_the_inner_leg_is_the_difference_and_never_below_zero() -> None:
    assert inner_seconds(*hops(0.010, 0.030)) == pytest.approx(0.020)
    assert inner_seconds(*hops(0.030, 0.010)) == 0
    assert inner_seconds(*hops(None, 0.010)) is None


def test_the_relay_is_asked_without_any_name() -> None:
    assert plain(Probe(username="a:b", password="p", use_candidate=True)) == Probe()


def test_a_row_of_a_silent_hop_has_no_figures() -> None:
    row = hops(None, None)[0].row()
    assert (row["answers"], row["rtt_min_ms"], row["mapped"], row["sent"]) == (False, None, None, 1)
