"""Requests of a probe, judged by aioice, and what is believed of answers."""

from __future__ import annotations

from dataclasses import replace

import pytest
from aioice import stun as judge

from rtcrelay._dataplane import read_stun
from rtcrelay.debug.stun_probe import BAD, Probe, read_answer, transaction_of, write_probe
from rtcrelay.errors import UsageError
from rtcrelay.rtc import stun

TRANSACTION = bytes(range(12))
CHECK = Probe(username="server:client", password="a password of some length", tie_breaker=b"12345678")
PLAIN = Probe()
MAPPED = ("198.51.100.7", 51234)


def success(password: str | None = CHECK.password) -> bytes:
    return stun.write_binding_success(TRANSACTION, MAPPED, password)


def test_a_plain_request_has_a_fingerprint_and_nothing_else() -> None:
    message = judge.parse_message(write_probe(PLAIN, TRANSACTION))
    assert (message.message_method, message.message_class) == (judge.Method.BINDING, judge.Class.REQUEST)
    assert message.transaction_id == TRANSACTION
    assert set(message.attributes) == {"FINGERPRINT"}
    assert len(write_probe(Probe(fingerprint=False), TRANSACTION)) == 20


def test_a_check_is_what_an_ice_agent_expects() -> None:
    assert CHECK.password is not None
    message = judge.parse_message(write_probe(CHECK, TRANSACTION))
    assert message.check_message_integrity(CHECK.password.encode())
    assert message.attributes["USERNAME"] == "server:client"
    assert message.attributes["ICE-CONTROLLING"] == int.from_bytes(CHECK.tie_breaker, "big")
    assert message.attributes["PRIORITY"] == 110 << 24 | 0xFFFF << 8 | 255
    assert "USE-CANDIDATE" not in message.attributes
    full = Probe(username="s:c", use_candidate=True, software="rtcrelay")
    attributes = judge.parse_message(write_probe(full, TRANSACTION)).attributes
    assert "USE-CANDIDATE" in attributes
    assert attributes["SOFTWARE"] == "rtcrelay"


@pytest.mark.parametrize("bad", BAD)
@pytest.mark.parametrize("probe", [CHECK, PLAIN], ids=["check", "plain"])
def test_each_way_to_be_wrong_is_refused_by_a_stranger(probe: Probe, bad: str) -> None:
    spoiled = Probe(username=probe.username, password=probe.password, bad=bad)
    message = write_probe(spoiled, TRANSACTION)
    if bad in ("cookie", "padding"):  # aioice looks at neither
        assert read_stun(message) is None
    elif bad == "integrity":
        read = judge.parse_message(message)  # the fingerprint is right
        assert not read.check_message_integrity((probe.password or "not the password").encode())
    else:
        with pytest.raises(ValueError, match="STUN message"):
            judge.parse_message(message)


@pytest.mark.parametrize("bad", BAD)
def test_only_what_is_wrong_differs(bad: str) -> None:
    good = write_probe(CHECK, TRANSACTION)
    message = write_probe(replace(CHECK, bad=bad), TRANSACTION)
    if bad == "padding":
        assert len(message) % 4
    elif bad == "truncate":
        assert message == good[:-4]
    else:
        assert len(message) == len(good)
        differing = [at for at, (one, other) in enumerate(zip(message, good, strict=True)) if one != other]
        expected = {"fingerprint": {len(good) - 1}, "length": {3}, "cookie": {4, 5, 6, 7}}
        # The fingerprint covers the integrity: it is right for the message as sent.
        assert set(differing) <= expected.get(bad, {len(good) - 9, *range(len(good) - 4, len(good))})


def test_a_wrong_fingerprint_needs_one() -> None:
    with pytest.raises(UsageError, match="exclude each other"):
        write_probe(Probe(bad="fingerprint", fingerprint=False), TRANSACTION)


def test_a_good_answer_says_how_we_are_seen() -> None:
    answer = read_answer(CHECK, success())
    assert (answer.mapped, answer.refused, answer.error) == (MAPPED, None, None)
    assert transaction_of(success()) == TRANSACTION


@pytest.mark.parametrize(
    ("datagram", "expected", "why"),
    [
        (success("another password of some length"), True, "another password"),
        (success(None), True, "does not know the password"),
        (success(), False, "another address"),
        (success()[:-1] + bytes([success()[-1] ^ 1]), True, "FINGERPRINT is wrong"),
        (success()[:-2], True, "malformed: the header says that"),
    ],
)
def test_what_an_ice_agent_would_not_believe_is_refused_with_the_reason(
    datagram: bytes, expected: bool, why: str
) -> None:
    refused = read_answer(CHECK, datagram, expected=expected).refused
    assert refused is not None
    assert why in refused


def test_an_error_needs_no_integrity() -> None:
    answer = read_answer(CHECK, stun.write_binding_error(TRANSACTION, 401, "Unauthorized"))
    assert (answer.error, answer.refused, answer.mapped) == ((401, "Unauthorized"), None, None)


@pytest.mark.parametrize("datagram", [b"", b"\x01\x01", bytes(20), write_probe(PLAIN, TRANSACTION)])
def test_what_is_no_response_has_no_transaction(datagram: bytes) -> None:
    assert transaction_of(datagram) is None
