"""What the answer asks of the client's Opus: redundancy, silence, the length of packets (RFC 7587, RFC 8866)."""

from __future__ import annotations

import pytest

from rtcrelay.rtc.certificate import Fingerprint
from rtcrelay.rtc.offer_answer import AnswerParameters, AudioOffer, IceCredentials, read_offer, write_answer

from . import offers

FMTP = "a=fmtp:111 minptime=10;useinbandfec=1"


def answer_to(fmtp: str = FMTP, *attributes: str, wants_dtx: bool = False) -> list[str]:
    """The lines of the answer to Chromium's offer with another fmtp and more attributes."""
    assert FMTP in offers.CHROMIUM
    text = offers.CHROMIUM.replace(FMTP, "\n".join([fmtp, *attributes]))
    ice, fingerprint = IceCredentials("ufrag", "p" * 24), Fingerprint("sha-256", bytes(32))
    parameters = AnswerParameters(ice, fingerprint, [("192.0.2.1", 3478)], 7, wants_dtx)
    return write_answer(read_offer(text), parameters).split("\r\n")


def test_redundancy_against_loss_is_always_asked_for() -> None:
    for fmtp in (FMTP, "a=fmtp:111 minptime=10", "a=fmtp:111 useinbandfec=0", "a=fmtp:96 x"):
        assert "a=fmtp:111 minptime=10;useinbandfec=1" in answer_to(fmtp)


@pytest.mark.parametrize(
    ("fmtp", "wants_dtx", "asked"),
    [
        (FMTP, False, False),
        (FMTP, True, True),
        (FMTP + ";usedtx=1", False, True),
        (FMTP + "; usedtx=1", False, True),
        (FMTP + ";usedtx=0", False, False),
        (FMTP + ";usedtx=0", True, True),
        (FMTP + ";usedtx", False, False),
        (FMTP + ";xusedtx=1", False, False),
    ],
)
def test_silence_may_be_left_out_if_the_offer_or_the_backend_asks(fmtp: str, wants_dtx: bool, asked: bool) -> None:
    assert (f"{FMTP};usedtx=1" in answer_to(fmtp, wants_dtx=wants_dtx)) is asked


@pytest.mark.parametrize(
    ("attributes", "ptime", "maxptime"),
    [
        ((), 20, 120),
        (("a=ptime:40",), 40, 120),
        (("a=ptime:10", "a=maxptime:60"), 10, 60),
        (("a=maxptime:20",), 20, 20),
        (("a=ptime:60", "a=maxptime:20"), 60, 60),
        (("a=ptime:30",), 20, 120),
        (("a=ptime:0", "a=maxptime:0"), 20, 120),
        (("a=ptime:-20", "a=maxptime:x"), 20, 120),
        (("a=ptime:99999999999999999999", "a=maxptime:9999"), 20, 120),
        (("a=ptime:٢٠", "a=maxptime:"), 20, 120),
    ],
)
def test_packets_are_as_long_as_the_offer_likes_them(attributes: tuple[str, ...], ptime: int, maxptime: int) -> None:
    lines = answer_to(FMTP, *attributes)
    assert f"a=ptime:{ptime}" in lines
    assert f"a=maxptime:{maxptime}" in lines


def test_the_same_parameter_twice_counts_once() -> None:
    assert FMTP in answer_to(FMTP + ";usedtx=0;usedtx=1")


def test_the_wishes_of_an_offer_are_typed() -> None:
    text = offers.CHROMIUM.replace(FMTP, "a=fmtp:111 minptime=20;usedtx=1\na=ptime:40\na=maxptime:80")
    assert read_offer(text).audio == AudioOffer(111, 20, "sendrecv", 40, 80, True)
