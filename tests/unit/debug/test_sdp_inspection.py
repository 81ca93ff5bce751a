"""Session descriptions: what is found in sound ones (nothing), and in each kind of faulty one."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtcrelay._dataplane import KeyRing, Route, mint_ufrag
from rtcrelay.debug.sdp_candidates import is_private, read_candidates
from rtcrelay.debug.sdp_inspection import Inspection, description_text, inspect_description, inspection_row
from rtcrelay.errors import DataError

RING = KeyRing([(2, bytes(16), "active"), (3, bytes(range(16)), "revoked")])
UFRAG = mint_ufrag(RING, Route("endpoint", 7, ip="10.0.3.7", port=7000, key_id=2))
VIP = ("203.0.113.10", 3478)
PRINT = "AB:" * 31 + "AB"
TRANSPORT = (
    f"a=ice-ufrag:{UFRAG}",
    "a=ice-pwd:0123456789abcdefghijklmn",
    f"a=fingerprint:sha-256 {PRINT}",
    "a=setup:active",
    "a=candidate:1 1 udp 2130706431 203.0.113.10 3478 typ host",
)
AUDIO = ("m=audio 3478 UDP/TLS/RTP/SAVPF 111", "c=IN IP4 203.0.113.10", "a=mid:0", *TRANSPORT, "a=rtcp-mux")
OPUS = ("a=rtpmap:111 opus/48000/2", "a=fmtp:111 minptime=10;useinbandfec=1")
HEAD = ("v=0", "o=- 1 1 IN IP4 127.0.0.1", "s=-", "t=0 0")
ANSWER = "\r\n".join((*HEAD, "a=ice-lite", "a=group:BUNDLE 0", *AUDIO, *OPUS)) + "\r\n"


def codes(found: Inspection) -> list[str]:
    return [finding.code for finding in found.findings]


def inspected(text: str, vips: Sequence[tuple[str, int]] = (VIP,)) -> Inspection:
    return inspect_description(text, vips=vips, ring=RING)


def test_a_sound_answer_has_no_finding_and_its_route_is_read() -> None:
    found = inspected(ANSWER)
    assert codes(found) == []
    assert (found.role, found.has_faults) == ("answer", False)
    [row] = found.ufrags
    assert (row["verdict"], row["endpoint"], row["cluster"], row["key_id"]) == ("ok", "10.0.3.7:7000", 7, 2)


def test_nothing_of_a_password_is_told() -> None:
    assert "0123456789abcdefghijklmn" not in json.dumps(inspection_row(inspected(ANSWER)))


@pytest.mark.parametrize(
    ("old", "new", "code", "fault"),
    [
        ("a=rtcp-mux\r\n", "", "no_rtcp_mux", True),
        ("opus/48000/2", "G722/8000", "no_opus", True),
        (f"a=fingerprint:sha-256 {PRINT}\r\n", "", "no_fingerprint", True),
        ("a=setup:active\r\n", "", "no_setup", False),
        (f"a=ice-ufrag:{UFRAG}\r\n", "", "no_credentials", True),
        ("BUNDLE 0", "BUNDLE 0 9", "bundle_mid", True),
        ("m=audio 3478", "m=audio 0", "no_media", True),
        ("a=ice-lite\r\n", "", "no_ice_lite", False),
        (f"a=ice-ufrag:{UFRAG}", "a=ice-ufrag:" + "x" * 33, "long_ufrag", True),
        (f"a=ice-ufrag:{UFRAG}", "a=ice-ufrag:ab+/", "ufrag_characters", False),
        (f"a=ice-ufrag:{UFRAG}", "a=ice-ufrag:abcd", "foreign_ufrag", True),
        (UFRAG, "d" + UFRAG[1:], "closed_ufrag", True),
        ("203.0.113.10 3478 typ", "203.0.113.11 3478 typ", "vip_missing", True),
        ("203.0.113.10 3478 typ", "203.0.113.11 3478 typ", "not_a_vip", True),
        ("a=candidate:1 1 udp 2130706431 203.0.113.10 3478 typ host\r\n", "", "no_candidates", True),
        ("2130706431 203.0.113.10", "2130706431 relay.example.org", "host_name", True),
        ("typ host", "typ srflx raddr 0.0.0.0 rport 0", "lite_kind", False),
        ("a=candidate:1 1", "a=candidate:1 one", "bad_candidate", False),
        ("2130706431 203.0.113.10", "2130706431 10.0.0.5", "private_address", False),
        ("typ host", "typ srflx raddr 192.168.1.2 rport 9", "private_address", False),
        ("c=IN IP4 203.0.113.10", "c=IN IP4 172.16.0.9", "private_address", False),
        ("o=- 1 1 IN IP4 127.0.0.1", "o=- 1 1 IN IP4 10.1.1.1", "private_address", False),
    ],
)
def test_each_fault_is_found(old: str, new: str, code: str, fault: bool) -> None:
    assert old in ANSWER
    found = inspected(ANSWER.replace(old, new))
    levels = {finding.code: finding.level for finding in found.findings}
    assert levels.get(code) == ("fault" if fault else "warning")


def test_a_ufrag_of_the_kind_session_is_a_fault() -> None:
    session = mint_ufrag(RING, Route("session", 7, ip="10.0.3.7", port=8080, key_id=2))
    assert codes(inspected(ANSWER.replace(UFRAG, session))) == ["session_ufrag"]


def test_several_m_lines_want_bundle_and_one_ufrag() -> None:
    second = "\r\n".join(line.replace("a=mid:0", "a=mid:1") for line in (*AUDIO, *OPUS)) + "\r\n"
    assert codes(inspected(ANSWER + second)) == []
    assert codes(inspected((ANSWER + second).replace("a=group:BUNDLE 0\r\n", ""))) == ["no_bundle"]
    other = (ANSWER + second.replace(UFRAG, "abcd")).replace("BUNDLE 0", "BUNDLE 0 1")
    assert "several_ufrags" in codes(inspected(other))


def test_the_offer_of_a_browser_has_no_finding_and_its_own_ufrag_is_no_fault() -> None:
    text = ANSWER.replace("setup:active", "setup:actpass").replace("a=ice-lite\r\n", "").replace(UFRAG, "UFRG")
    found = inspected(text, vips=())
    assert (found.role, codes(found)) == ("offer", [])
    assert codes(inspected(text)) == ["vip_in_offer"]


def test_an_offer_that_a_transceiver_refuses_is_a_fault() -> None:
    text = ANSWER.replace("setup:active", "setup:actpass").replace("opus/48000/2", "G722/8000")
    assert "refused" in codes(inspected(text))


def test_without_a_key_ring_the_ufrag_is_shown_as_it_is() -> None:
    found = inspect_description(ANSWER)
    assert (found.ufrags, codes(found)) == ([{"ufrag": UFRAG}], [])


def test_private_addresses_are_told_once_and_not_without_end() -> None:
    more = "".join(f"a=candidate:1 1 udp 1 10.0.0.{n} 9 typ host\r\n" for n in range(1, 30))
    found = inspect_description(ANSWER + more + more)
    assert [f.message for f in found.findings][-1] == "21 more private addresses are told"
    assert len(found.findings) == 9


@pytest.mark.parametrize(
    ("host", "private"),
    [
        *((host, True) for host in ("10.1.2.3", "172.31.0.1", "192.168.0.1", "169.254.1.1", "127.0.0.1", "100.64.0.1")),
        *((host, True) for host in ("::1", "fe80::1", "fd00::1")),
        *((host, False) for host in ("203.0.113.1", "8.8.8.8", "172.32.0.1", "0.0.0.0", "2001:db8::1", "x.local")),
    ],
)
def test_what_counts_as_private(host: str, private: bool) -> None:
    assert is_private(host) is private


def test_candidates_are_read_with_what_a_call_has_no_use_for() -> None:
    text = (
        "a=candidate:0 2 TCP 1 2001:DB8::0:1 9 typ relay raddr 10.0.0.1 rport 7 tcptype active\nm=x\n"
        + "a=candidate:x\n"
    )
    [candidate], bad = read_candidates(text)
    assert (candidate.media, candidate.component, candidate.transport, candidate.host) == (-1, 2, "tcp", "2001:db8::1")
    assert (candidate.related, candidate.tcp_type) == ("10.0.0.1", "active")
    assert bad == ["a=candidate:x"]


@pytest.mark.parametrize("data", [ANSWER, "\n " + ANSWER, json.dumps({"type": "answer", "sdp": ANSWER})])
def test_a_description_comes_as_text_or_as_browsers_print_it(data: str) -> None:
    assert description_text(data.encode()) == ANSWER


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"\xff\xfe", "the session description is not UTF-8 text (byte 0)"),
        (b"{", "the input looks like JSON, expected an object with the member 'sdp'"),
        (b'{"a": 1}', "the input looks like JSON, expected an object with the member 'sdp'"),
        (b'{"sdp": 1}', "the member 'sdp' of the JSON object is not a string"),
        (b"{" * 100_000, "the input looks like JSON, expected an object with the member 'sdp'"),
    ],
)
def test_what_is_no_description_is_told(data: bytes, message: str) -> None:
    with pytest.raises(DataError) as caught:
        description_text(data)
    assert str(caught.value) == message


@given(st.lists(st.sampled_from([*HEAD, *AUDIO, *OPUS, "a=ice-lite", "m=audio 0 x", "a=candidate:", "c=IN IP4 ::1"])))
def test_any_lines_give_an_inspection_or_a_data_error(lines: list[str]) -> None:
    with suppress(DataError):
        json.dumps(inspection_row(inspected("v=0\n" + "\n".join(lines))))
