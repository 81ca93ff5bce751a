"""One call: set up, echoed, announced, ended."""

from __future__ import annotations

from pathlib import Path

import pytest

from rtcrelay._dataplane import open_ufrag
from rtcrelay.rtc import stun
from rtcrelay.rtc.certificate import Certificate
from rtcrelay.rtc.dtls import DtlsEnd, DtlsState
from rtcrelay.rtc.rtp import RtpPacket, write_rtp
from rtcrelay.rtc.srtp import MAX_SOURCES
from rtcrelay.transceiver.counters import DROP_SENTENCES, Count, Drop, End
from rtcrelay.transceiver.transceiver import OverloadedError

from .network import HERE, MEDIA, SOMEBODY, Caller, Network, arrival, direct


def test_a_check_is_answered_first_and_a_client_hello_follows_at_once(network: Network, caller: Caller) -> None:
    caller.check()
    (reply, response), (second, hello) = network.take()
    assert (reply, second) == (caller.at.reply, caller.at.reply)
    assert response[:2] == bytes.fromhex("0101")
    assert hello[0] == 22


def test_a_client_hello_that_gets_lost_is_sent_again_after_50_ms(network: Network, caller: Caller) -> None:
    check = caller.check()
    network.take()
    network.pass_time(0.049)
    assert network.take() == []
    network.pass_time(0.002)
    ((_, hello),) = network.take()
    assert hello[0] == 22
    network.pass_time(5.0)
    assert network.take() == []  # an address that says nothing more gets no third one
    path = caller.session.link.paths.selected
    assert path is not None
    assert path.bytes_out <= 3 * len(check)
    caller.check()
    network.pass_time(1.0)
    assert [payload[0] for _, payload in network.take()] == [1, 22]


def test_the_answer_says_which_address_the_check_came_from(caller: Caller) -> None:
    caller.check()
    caller.pump()
    assert [stun.mapped_address(response) for response in caller.responses] == [HERE]


def test_the_echo_comes_back_unchanged_in_order_and_numbered_without_a_gap(call: Caller) -> None:
    payloads = [bytes([0xF8]) + number.to_bytes(2, "big") for number in range(200)]
    for payload in payloads:
        call.speak(payload)
    call.pump()
    assert [packet.payload for packet in call.media] == payloads
    first = call.media[0].sequence
    assert [packet.sequence for packet in call.media] == [(first + n) & 0xFFFF for n in range(200)]
    steps = {(b.timestamp - a.timestamp) % 2**32 for a, b in zip(call.media, call.media[1:], strict=False)}
    assert steps == {960}
    assert {packet.ssrc for packet in call.media} == {call.session.media.ssrc}
    assert {packet.payload_type for packet in call.media} == {111}


def test_media_can_be_sent_before_the_clients_finished_arrives(network: Network, caller: Caller) -> None:
    caller.check()
    for reply, payload in network.take():
        caller._receive(reply, payload)
    while (datagram := caller.dtls.poll_transmit()) is not None:
        network.receive(caller.at, datagram)
    assert caller.session.dtls.state is DtlsState.KEYED
    assert caller.session.send_opus(b"\xf8early")
    caller.pump()
    assert [packet.payload for packet in caller.media] == [b"\xf8early"]


def test_an_active_client_gets_a_passive_server(network: Network) -> None:
    class ActiveCaller(Caller):
        def offer(self, fingerprint: object) -> str:
            return super().offer(fingerprint).replace("actpass", "active")

    caller = ActiveCaller(network)
    assert caller.answer.dtls_role == "client"
    caller.check()
    caller.dtls.handle_start(network.now)
    caller.pump()
    assert caller.session.is_connected
    caller.speak()
    caller.pump()
    assert len(caller.media) == 1


def test_a_wrong_certificate_gets_no_media_packet(network: Network) -> None:
    liar = Caller(network, claimed=SOMEBODY)
    liar.check()
    liar.pump()
    liar.dtls.handle_timeout(network.now + 1.0)
    assert liar.dtls.end is DtlsEnd.ALERT
    assert liar.media == []
    assert network.count(Count.RTP_OUT) == 0
    assert network.transceiver.session_count == 0
    assert network.transceiver.counters.ends[End.DTLS_FINGERPRINT] == 1


def test_the_ufrag_names_this_transceiver_and_no_two_are_equal(network: Network) -> None:
    callers = [Caller(network) for _ in range(50)]
    ufrags = {caller.answer.ice.ufrag for caller in callers}
    assert len(ufrags) == 50
    for ufrag in ufrags:
        route = open_ufrag(network.transceiver.keys.ring, ufrag)
        assert (route.kind, route.cluster, (route.ip, route.port)) == ("endpoint", 7, MEDIA)


def test_with_a_node_id_the_ufrag_names_the_node(tmp_path: Path) -> None:
    network = Network.make(tmp_path, node_id=12)
    route = open_ufrag(network.transceiver.keys.ring, Caller(network).answer.ice.ufrag)
    assert (route.kind, route.node, route.port) == ("node", 12, 0)


def test_the_resource_names_the_http_address_and_has_a_secret(network: Network, caller: Caller) -> None:
    token, _, secret = caller.accepted.resource.partition(".")
    route = open_ufrag(network.transceiver.keys.ring, token)
    assert (route.kind, route.ip, route.port) == ("session", "127.0.0.1", 8080)
    assert len(secret) >= 22
    placed = network.transceiver.find(caller.accepted.resource)
    assert placed is not None
    assert placed.session is caller.session
    for wrong in (token, f"{token}.", f"{token}.{secret[:-1]}", f"{token}.{secret}x", "", ".", f"{token}.\ud800"):
        assert network.transceiver.find(wrong) is None


def test_a_client_that_puts_dtls_into_stun_is_told_not_to_wait(network: Network, caller: Caller) -> None:
    request = stun.write_message(
        stun.BINDING_REQUEST,
        bytes(12),
        [
            (stun.Attribute.USERNAME, f"{caller.answer.ice.ufrag}:caller".encode()),
            (stun.Attribute.DTLS_IN_STUN_ACK, b""),
        ],
        password=caller.answer.ice.password,
    )
    network.receive(caller.at, request)
    caller.pump()
    assert (stun.Attribute.DTLS_IN_STUN_ACK, b"") in [(n, value) for n, _, value in caller.responses[0].attributes]


# -- announces


def test_a_silent_session_is_announced_every_250_ms(network: Network, call: Caller) -> None:
    network.pass_time(2.0)
    sent = network.take()
    assert [payload for _, payload in sent] == [b""] * 8
    assert {reply for reply, _ in sent} == {call.at.reply}
    assert network.count(Count.ANNOUNCES_OUT) == 8


def test_a_session_that_sends_is_not_announced(network: Network, call: Caller) -> None:
    for _ in range(100):
        call.speak()
        network.pass_time(0.02)
    call.pump()
    assert call.announces == 0


def test_nothing_is_announced_before_the_address_is_proved(network: Network, caller: Caller) -> None:
    caller.check()
    network.pass_time(5.0)
    assert all(payload for _, payload in network.take())


def test_a_direct_session_is_not_announced(network: Network, caller: Caller) -> None:
    caller.at = direct()
    caller.connect()
    network.pass_time(5.0)
    assert network.take() == []
    caller.speak()
    caller.pump()
    assert len(caller.media) == 1


# -- ends


def test_thirty_seconds_of_silence_end_a_session(network: Network, call: Caller) -> None:
    network.pass_time(29.9)
    assert network.transceiver.session_count == 1
    network.pass_time(0.2)
    assert network.transceiver.session_count == 0
    assert network.transceiver.counters.ends[End.SILENT] == 1
    assert network.transceiver.router.path_count == 0
    assert not network.transceiver.timers._armed
    call.pump()
    assert call.dtls.end is DtlsEnd.CLOSE_NOTIFY


def test_a_session_that_nobody_ever_checks_makes_room_after_ten_seconds(network: Network, caller: Caller) -> None:
    caller.check(password="wrongpassword0123456789")
    network.pass_time(9.9)
    assert network.transceiver.session_count == 1
    network.pass_time(0.2)
    assert network.transceiver.session_count == 0
    assert caller.session.end is End.UNCHECKED
    assert network.transceiver.counters.ends[End.UNCHECKED] == 1


def test_a_first_check_just_in_time_is_in_time(network: Network, caller: Caller) -> None:
    network.pass_time(9.9)
    caller.check()
    network.pass_time(5.0)
    assert network.transceiver.session_count == 1


@pytest.mark.parametrize("sign", ["check", "media", "rtcp", "data"])
def test_any_sign_of_life_prolongs_a_session(network: Network, call: Caller, sign: str) -> None:
    for _ in range(4):
        network.pass_time(20.0)
        if sign == "check":
            call.check()
        elif sign == "media":
            call.speak()
        elif sign == "rtcp":
            assert call.dtls.srtp is not None
            packet = call.dtls.srtp.protect_rtcp(bytes.fromhex("80c900010000002a"))
            assert packet is not None
            network.receive(call.at, packet)
        else:
            assert call.dtls.send(b"not even SCTP")
            call.pump()
        network.take()
    assert network.transceiver.session_count == 1


def test_noise_prolongs_nothing(network: Network, call: Caller) -> None:
    replay = call.check()
    packet = call.speak()
    for _ in range(40):
        network.pass_time(1.0)
        network.receive(call.at, replay)
        network.receive(call.at, packet)
        network.receive(call.at, bytes([22]) + bytes(60))
        network.receive(call.at, bytes([0x80]) + bytes(60))
    assert network.transceiver.session_count == 0


def test_the_longest_duration_ends_a_session(tmp_path: Path) -> None:
    network = Network.make(tmp_path, max_session_seconds=60.0)
    call = Caller(network)
    call.connect()
    for _ in range(61):
        call.check()
        network.pass_time(1.0)
    assert call.session.end is End.TOO_LONG


def test_a_clients_close_notify_ends_its_session(network: Network, call: Caller) -> None:
    call.dtls.close()
    call.pump()
    assert call.session.end is End.CLOSE_NOTIFY
    assert network.transceiver.session_count == 0


def test_closing_all_tells_every_client(network: Network) -> None:
    callers = []
    for number in range(5):
        caller = Caller(network)
        address = ("198.51.100.7", 50000 + number)
        caller.at, caller.addresses = arrival(address), {address}
        caller.connect()
        callers.append(caller)
    network.transceiver.close_all(End.SHUTDOWN)
    sent = network.take()
    for caller in callers:
        for reply, payload in sent:
            if reply == caller.at.reply:
                caller.dtls.handle_datagram(payload, network.now)
        assert caller.dtls.end is DtlsEnd.CLOSE_NOTIFY


def test_packets_to_a_session_that_is_over_are_dropped_cheaply(network: Network, call: Caller) -> None:
    call.session.close(End.DELETED, network.now)
    network.take()
    for _ in range(50):
        call.speak()
    assert network.take() == []
    assert network.drops(Drop.UNKNOWN_PATH) == 50


def test_a_backend_that_raises_ends_its_own_session_only(network: Network, call: Caller) -> None:
    class Broken:
        wants_dtx = False

        def on_opus(self, packet: object) -> None:
            raise RuntimeError("a defect")

        def on_channel(self, channel: int, label: str) -> None: ...

        def on_message(self, channel: int, label: str, message: object) -> None: ...

        def on_close(self) -> None:
            raise RuntimeError("another")

    call.session.conversation._backend = Broken()
    call.speak()
    assert call.session.end is End.BACKEND_FAILED


# -- limits


def test_no_more_sessions_than_the_limit(tmp_path: Path) -> None:
    network = Network.make(tmp_path, max_sessions=2)
    first = Caller(network)
    Caller(network)
    with pytest.raises(OverloadedError, match="as many calls as it takes"):
        Caller(network)
    first.session.close(End.DELETED, network.now)
    Caller(network)


def test_a_draining_transceiver_takes_no_calls(network: Network, call: Caller) -> None:
    network.transceiver.is_draining = True
    with pytest.raises(OverloadedError):
        Caller(network)
    call.speak()
    call.pump()
    assert len(call.media) == 1


def test_what_is_not_the_negotiated_opus_is_counted_and_not_echoed(network: Network, call: Caller) -> None:
    call.speak(payload_type=13)
    call.pump()
    assert call.media == []
    assert network.drops(Drop.OTHER_PAYLOAD_TYPE) == 1


def test_an_opus_packet_that_grows_too_long_is_counted(network: Network, call: Caller) -> None:
    assert not call.session.send_opus(bytes(1400))
    assert network.drops(Drop.TOO_LONG_TO_SEND) == 1


def test_every_reason_to_drop_has_a_sentence() -> None:
    assert set(DROP_SENTENCES) == set(Drop)
    assert [drop.value for drop in Drop] == list(range(len(Drop)))
    assert [count.value for count in Count] == list(range(len(Count)))
    assert [end.value for end in End] == list(range(len(End)))


def test_another_certificate_is_another_fingerprint() -> None:
    assert Certificate.generate().fingerprint != SOMEBODY.fingerprint


def test_a_ninth_source_of_a_session_has_a_reason_of_its_own(network: Network, call: Caller) -> None:
    assert call.dtls.srtp is not None
    for ssrc in range(100, 100 + MAX_SOURCES + 1):
        packet = call.dtls.srtp.protect(write_rtp(RtpPacket(111, False, 1, 960, ssrc, b"\xf8opus")))
        assert packet is not None
        network.receive(call.at, packet)
    assert call.session.media.packets_in == MAX_SOURCES
    assert network.drops(Drop.TOO_MANY_SOURCES) == 1
    assert network.drops(Drop.NOT_AUTHENTIC) == 0
