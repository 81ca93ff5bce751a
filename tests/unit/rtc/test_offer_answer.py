"""Offers and answers: what is accepted, what is rejected, and what is said."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from aiortc import RTCPeerConnection
from aiortc.sdp import SessionDescription

from rtcrelay.rtc.certificate import Fingerprint
from rtcrelay.rtc.offer_answer import (
    Answer,
    AnswerParameters,
    DataOffer,
    IceCredentials,
    read_answer,
    read_offer,
    write_answer,
    write_offer,
)
from rtcrelay.rtc.sdp import MAX_BYTES, MAX_MEDIA, SdpError

from . import offers

SERVER = AnswerParameters(
    IceCredentials("serverufrag", "serverpassword0123456789"),
    Fingerprint("sha-256", bytes(range(32))),
    [("203.0.113.10", 3478), ("2001:db8::10", 3479)],
    ssrc=4711,
)


def answer_to(offer: str, parameters: AnswerParameters = SERVER) -> str:
    return write_answer(read_offer(offer), parameters)


def media_lines(answer: str) -> list[str]:
    return [line for line in answer.split("\r\n") if line.startswith("m=")]


def replaced(offer: str, old: str, new: str) -> str:
    assert old in offer
    return offer.replace(old, new)


def test_a_chromium_offer_gets_audio_and_data() -> None:
    offer = read_offer(offers.CHROMIUM)
    assert offer.ice == IceCredentials("UFRG", "0123456789abcdefghijklmn")
    assert offer.dtls_role == "client"
    assert offer.audio is not None
    assert (offer.audio.payload_type, offer.audio.min_ptime_ms, offer.audio.direction) == (111, 10, "sendrecv")
    assert offer.data == DataOffer(5000, 262_144)
    assert media_lines(write_answer(offer, SERVER)) == [
        "m=audio 3478 UDP/TLS/RTP/SAVPF 111",
        "m=application 3478 UDP/DTLS/SCTP webrtc-datachannel",
    ]


def test_a_firefox_offer_gets_audio_and_data_and_no_video() -> None:
    answer = answer_to(offers.FIREFOX)
    assert media_lines(answer) == [
        "m=audio 3478 UDP/TLS/RTP/SAVPF 109",
        "m=video 0 UDP/TLS/RTP/SAVPF 120",
        "m=application 3478 UDP/DTLS/SCTP webrtc-datachannel",
    ]
    assert "a=group:BUNDLE 0 2\r\n" in answer
    assert "a=rtpmap:109 opus/48000/2\r\na=fmtp:109 minptime=10;useinbandfec=1\r\n" in answer


def test_the_answer_is_what_an_ice_lite_server_says() -> None:
    answer = answer_to(offers.CHROMIUM)
    for line in (
        "a=ice-lite",
        "a=setup:active",
        "a=rtcp-mux",
        "a=ice-ufrag:serverufrag",
        "a=fingerprint:sha-256 " + bytes(range(32)).hex(":").upper(),
        "a=candidate:1 1 udp 2130706431 203.0.113.10 3478 typ host",
        "a=candidate:2 1 udp 2130706175 2001:db8::10 3479 typ host",
        "a=end-of-candidates",
        "c=IN IP4 203.0.113.10",
        "a=ssrc:4711 cname:rtcrelay",
    ):
        assert f"\r\n{line}\r\n" in answer
    assert answer.endswith("\r\n")
    assert "\n" not in answer.replace("\r\n", "")


def test_an_ipv6_ingress_has_an_ipv6_connection_line() -> None:
    ipv6 = AnswerParameters(SERVER.ice, SERVER.fingerprint, [("2001:db8::10", 3478)], 1)
    assert "\r\nc=IN IP6 2001:db8::10\r\n" in answer_to(offers.CHROMIUM, ipv6)


def test_stock_aiortc_reads_the_answer() -> None:
    judged = SessionDescription.parse(answer_to(offers.FIREFOX))
    audio, video, data = judged.media
    assert (audio.port, video.port, data.port) == (3478, 0, 3478)
    assert audio.ice is not None
    assert audio.ice.iceLite
    assert [(c.ip, c.port, c.foundation) for c in audio.ice_candidates] == [
        ("203.0.113.10", 3478, "1"),
        ("2001:db8::10", 3479, "2"),
    ]
    assert audio.dtls is not None
    assert audio.dtls.role == "client"
    assert data.sctp_port == 5000
    assert [media.rtp.muxId for media in judged.media] == ["0", "1", "2"]


async def test_an_offer_of_stock_aiortc_is_accepted() -> None:
    peer = RTCPeerConnection()
    peer.addTransceiver("audio")
    peer.createDataChannel("chat")
    await peer.setLocalDescription(await peer.createOffer())
    offer = read_offer(peer.localDescription.sdp)
    assert offer.audio is not None
    assert offer.data is not None
    await peer.close()


@pytest.mark.parametrize(
    ("setup", "role", "answered"),
    [("actpass", "client", "active"), ("passive", "client", "active"), ("active", "server", "passive")],
)
def test_we_are_active_unless_the_offer_is(setup: str, role: str, answered: str) -> None:
    text = replaced(offers.CHROMIUM, "a=setup:actpass", f"a=setup:{setup}")
    assert read_offer(text).dtls_role == role
    assert f"a=setup:{answered}\r\n" in answer_to(text)


def test_an_offer_without_setup_may_be_either() -> None:
    assert read_offer(replaced(offers.CHROMIUM, "a=setup:actpass\n", "")).dtls_role == "client"


@pytest.mark.parametrize(
    ("offered", "answered"),
    [("sendrecv", "sendrecv"), ("sendonly", "recvonly"), ("recvonly", "sendonly"), ("inactive", "inactive")],
)
def test_the_direction_is_reversed(offered: str, answered: str) -> None:
    assert f"a={answered}\r\n" in answer_to(replaced(offers.CHROMIUM, "a=sendrecv", f"a={offered}"))


@pytest.mark.parametrize("number", [35, 63, 96, 109, 127])
def test_the_payload_type_is_the_offers(number: int) -> None:
    text = replaced(offers.DATA_ONLY, "a=group:BUNDLE data\n", "a=group:BUNDLE a\n")
    audio = f"m=audio 9 UDP/TLS/RTP/SAVPF {number}\na=mid:a\na=rtcp-mux\na=rtpmap:{number} OPUS/48000/2\n"
    assert f"m=audio 3478 UDP/TLS/RTP/SAVPF {number}" in answer_to(text + audio + offers.TRANSPORT)


def test_minptime_of_the_offer_is_kept() -> None:
    text = replaced(offers.CHROMIUM, "minptime=10;useinbandfec=1", "stereo=1; minptime=20")
    assert "a=fmtp:111 minptime=20;useinbandfec=1\r\n" in answer_to(text)


def test_a_second_audio_stream_is_rejected() -> None:
    start = offers.CHROMIUM.index("m=audio")
    end = offers.CHROMIUM.index("m=application")
    second = replaced(offers.CHROMIUM[start:end], "a=mid:0", "a=mid:2")
    text = replaced(offers.CHROMIUM, "BUNDLE 0 1", "BUNDLE 0 1 2") + second
    assert media_lines(answer_to(text))[2] == "m=audio 0 UDP/TLS/RTP/SAVPF 111"


def test_what_is_not_in_the_bundle_is_rejected() -> None:
    answer = answer_to(replaced(offers.CHROMIUM, "BUNDLE 0 1", "BUNDLE 1"))
    assert [line.split()[1] for line in media_lines(answer)] == ["0", "3478"]


def many_lines(count: int, named: int) -> str:
    """An offer of that many m-lines, of which the last alone has a transport, and a group that names so many."""
    head = ["v=0", "a=group:BUNDLE " + " ".join(str(mid) for mid in range(named))]
    bare = [line for mid in range(count - 1) for line in (f"m=video 9 A {mid}", f"a=mid:{mid}", "a=bundle-only")]
    last = (
        f"m=audio 9 UDP/TLS/RTP/SAVPF 111\na=mid:{count - 1}\n{offers.TRANSPORT}a=rtcp-mux\na=rtpmap:111 opus/48000/2\n"
    )
    return "\n".join([*head, *bare, last])


def test_a_bundle_of_as_many_lines_as_there_may_be_has_the_transport_of_the_one_that_has_it() -> None:
    offer = read_offer(many_lines(MAX_MEDIA, MAX_MEDIA))
    assert offer.ice.ufrag == "UFRG"
    assert [section.accepted for section in offer.sections] == [False] * (MAX_MEDIA - 1) + [True]


def test_a_bundle_that_names_more_lines_than_there_may_be_is_refused() -> None:
    with pytest.raises(SdpError, match=f"BUNDLE group names more than {MAX_MEDIA} m-lines"):
        read_offer(many_lines(2, MAX_MEDIA + 1))


def test_of_the_lines_of_a_bundle_the_one_named_first_has_the_transport() -> None:
    swapped = offers.CHROMIUM.replace("BUNDLE 0 1", "BUNDLE 1 0")
    head, _, tail = swapped.rpartition("UFRG")
    assert read_offer(head + "OTHR" + tail).ice.ufrag == "OTHR"
    assert read_offer(offers.CHROMIUM.replace("UFRG", "OTHR", 1)).ice.ufrag == "OTHR"


def test_without_a_bundle_only_the_first_stream_is_accepted() -> None:
    answer = answer_to(replaced(offers.CHROMIUM, "a=group:BUNDLE 0 1\n", ""))
    assert [line.split()[1] for line in media_lines(answer)] == ["3478", "0"]
    assert "BUNDLE" not in answer


def test_port_0_without_bundle_only_is_a_rejection() -> None:
    answer = answer_to(replaced(offers.FIREFOX, "m=application 0", "m=audio 0"))
    assert media_lines(answer)[2].startswith("m=audio 0 ")


def test_data_alone_is_a_call() -> None:
    offer = read_offer(offers.DATA_ONLY)
    assert offer.audio is None
    assert offer.data == DataOffer(5001, 65_536)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda text: "", "starts with '', expected 'v=0'"),
        (lambda text: "hello", "starts with 'hello', expected 'v=0'"),
        (lambda text: "v=0\n", "has no m-line"),
        (lambda text: text + "x" * MAX_BYTES, "characters, expected at most 65536"),
        (lambda text: text.replace("opus", "speex").replace("m=application", "m=image"), "neither an Opus"),
        (lambda text: text.replace("a=rtcp-mux\n", "").replace("m=application", "m=image"), "neither an Opus"),
        (lambda text: text.replace("a=ice-ufrag:UFRG\n", ""), "no ice-ufrag and ice-pwd"),
        (lambda text: text.replace("a=ice-pwd:0123456789abcdefghijklmn\n", ""), "no ice-ufrag and ice-pwd"),
        (lambda text: text.replace("UFRG", "UF"), "ice-ufrag 'UF' is not 4 to 256 ice-chars"),
        (lambda text: text.replace("UFRG", "UF:RG"), "ice-ufrag 'UF:RG' is not"),
        (lambda text: text.replace("0123456789abcdefghijklmn", "short"), "ice-pwd is not 22 to 256"),
        (lambda text: text.replace("sha-256", "sha-1"), "no fingerprint with SHA-256"),
        (lambda text: text.replace("sha-256 AB:", "sha-256 "), "is not 32 hexadecimal bytes"),
        (lambda text: text.replace("sha-256 AB:", "sha-256 XY:"), "is not 32 hexadecimal bytes"),
        (lambda text: text.replace("actpass", "holdconn"), "setup 'holdconn' is not"),
        (lambda text: text.replace("m=audio 9", "m=audio x"), "m-line 'm=audio x UDP"),
        (lambda text: text.replace("m=audio 9", "m=audio 65536"), "is malformed"),
        (lambda text: text.replace("a=mid:0", "a=mid:a b"), "mid 'a b' is not a token"),
        (lambda text: text.replace("rtpmap:111 opus", "rtpmap:opus"), "rtpmap 'opus/48000/2' is malformed"),
        (lambda text: text.replace("sctp-port:5000", "sctp-port:0"), "sctp-port '0' is not a number from 1 to 65535"),
        (lambda text: text.replace("size:262144", "size:-1"), "max-message-size '-1' is not"),
        (lambda text: text + "m=audio 9 UDP/TLS/RTP/SAVPF 0\n" * 40, "more than 32 m-lines"),
    ],
)
def test_a_bad_offer_is_refused_with_its_fault(change: Callable[[str], str], complaint: str) -> None:
    with pytest.raises(SdpError) as caught:
        read_offer(change(offers.CHROMIUM))
    assert complaint in str(caught.value)


def test_a_password_is_in_no_message_and_no_repr() -> None:
    secret = "tooshort!"
    with pytest.raises(SdpError) as caught:
        read_offer(offers.CHROMIUM.replace("0123456789abcdefghijklmn", secret))
    assert secret not in str(caught.value)
    assert "serverpassword" not in repr(SERVER)


@pytest.mark.parametrize("number", [64, 72, 95])
def test_a_payload_type_that_looks_like_rtcp_is_no_opus(number: int) -> None:
    text = offers.DATA_ONLY + f"m=audio 9 UDP/TLS/RTP/SAVPF {number}\na=rtcp-mux\na=rtpmap:{number} opus/48000/2\n"
    assert read_offer(text).audio is None


def test_the_client_reads_what_the_server_answers() -> None:
    ice = IceCredentials("client", "clientpassword0123456789")
    fingerprint = Fingerprint("sha-256", bytes(32))
    offer = read_offer(write_offer(ice, fingerprint, ssrc=1, payload_type=96))
    assert (offer.ice, offer.fingerprints, offer.dtls_role) == (ice, (fingerprint,), "client")
    answer = read_answer(write_answer(offer, SERVER))
    assert isinstance(answer, Answer)
    assert (answer.ice, answer.fingerprints) == (SERVER.ice, (SERVER.fingerprint,))
    assert (answer.dtls_role, answer.ice_lite, answer.payload_type) == ("server", True, 96)
    assert [(c.ip, c.port) for c in answer.candidates] == list(SERVER.candidates)
    assert answer.data == DataOffer(5000, 65_536)
    without_data = read_answer(answer_to(write_offer(ice, fingerprint, ssrc=1, data=False)))
    assert without_data.data is None


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("v=0\nm=audio 0 UDP/TLS/RTP/SAVPF 0\n", "rejects every m-line"),
        (offers.CHROMIUM, "setup:actpass, expected active or passive"),
    ],
)
def test_an_answer_that_grants_nothing_is_refused(text: str, complaint: str) -> None:
    with pytest.raises(SdpError, match=complaint):
        read_answer(text)
