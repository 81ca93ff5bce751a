"""Any text gives an answer or an SdpError: mutations of real offers, and text made to be expensive."""

from __future__ import annotations

import gc
import random
import time
import tracemalloc

import pytest

from rtcrelay.rtc.certificate import Fingerprint
from rtcrelay.rtc.offer_answer import AnswerParameters, IceCredentials, read_answer, read_offer, write_answer
from rtcrelay.rtc.sdp import MAX_BYTES, SdpError, read_description

from . import offers

SERVER = AnswerParameters(
    IceCredentials("serverufrag", "serverpassword0123456789"),
    Fingerprint("sha-256", bytes(32)),
    [("203.0.113.10", 3478)],
    ssrc=1,
)
MUTATIONS = 100_000
PARTS = 4
_ODD = [
    "",
    "\0",
    "\r",
    "\n",
    ":",
    " ",
    "=",
    "/",
    ";",
    "a=",
    "m=",
    "-1",
    "999999999999",
    "٣",
    "é",
    "\ud800",
    "\U0001f600",
]


def mutated(text: str, dice: random.Random) -> str:
    """One to six changes: characters, lines, and pieces of other offers."""
    for _ in range(dice.randint(1, 6)):
        at = dice.randrange(len(text) + 1)
        kind = dice.randrange(6)
        if kind == 0:
            text = text[:at] + dice.choice(_ODD) + text[at:]
        elif kind == 1:
            text = text[:at] + text[at + dice.randint(1, 40) :]
        elif kind == 2:
            text = text[:at] + chr(dice.randrange(32, 127)) + text[at + 1 :]
        else:
            lines = text.split("\n")
            line = dice.randrange(len(lines))
            if kind == 3:
                del lines[line]
            elif kind == 4:
                lines.insert(dice.randrange(len(lines) + 1), lines[line])
            else:
                lines[line] = lines[line][: dice.randint(0, len(lines[line]))]
            text = "\n".join(lines)
    return text


def try_offer(text: str) -> bool:
    """True if there was an answer, False if an SdpError."""
    answer = complaint = ""
    try:
        answer = write_answer(read_offer(text), SERVER)
    except SdpError as error:
        complaint = str(error)
    assert bool(answer) is not bool(complaint)
    assert "\n" not in complaint
    if complaint:
        return False
    assert "\n" not in answer.replace("\r\n", "")
    read_description(answer)  # what we write, we can read
    return True


@pytest.mark.parametrize("part", range(PARTS))
def test_no_mutated_offer_gives_anything_but_an_answer_or_an_sdp_error(part: int) -> None:
    dice = random.Random(part)
    originals = [offers.CHROMIUM, offers.FIREFOX, offers.DATA_ONLY]
    outcomes = {True: 0, False: 0}
    for _ in range(MUTATIONS // PARTS):
        outcomes[try_offer(mutated(dice.choice(originals), dice))] += 1
    assert min(outcomes.values()) > MUTATIONS // PARTS // 10  # both ways were taken


def test_memory_is_flat_over_many_mutated_offers() -> None:
    dice = random.Random(99)
    for _ in range(500):  # caches fill
        try_offer(mutated(offers.CHROMIUM, dice))
    gc.collect()
    tracemalloc.start()
    for _ in range(2000):
        try_offer(mutated(offers.CHROMIUM, dice))
    gc.collect()
    grown = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert grown < 50_000


@pytest.mark.parametrize(
    "line",
    ["m=audio 9 A 1", "a=ssrc:1 a:b", "a=rtpmap:1 a/1", "a=fmtp:1 a", "a=candidate:1 1 udp 1 1.1.1.1 1 typ host", "a="],
)
def test_an_offer_of_the_longest_kind_costs_milliseconds(line: str) -> None:
    head = offers.CHROMIUM
    text = head + (line + "\n") * ((MAX_BYTES - len(head)) // (len(line) + 1))
    start = time.process_time()
    try_offer(text)
    assert time.process_time() - start < 0.25


def test_random_text_is_refused() -> None:
    dice = random.Random(5)
    for _ in range(2000):
        text = "v=0\n" + "".join(chr(dice.randrange(1, 0x250)) for _ in range(dice.randrange(300)))
        assert not try_offer(text)
        with pytest.raises(SdpError):
            read_answer(text)
