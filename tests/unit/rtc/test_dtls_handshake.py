"""The DTLS handshake: round trips, loss, repetition, and who is refused."""

from __future__ import annotations

import itertools
import random

import pytest

from rtcrelay.rtc import dtls_records
from rtcrelay.rtc.certificate import fingerprint_of
from rtcrelay.rtc.dtls import MTU_BYTES, Dtls, DtlsEnd, DtlsIdentity, DtlsState

from .dtls_pair import Name, Pair, make, pair

CONNECTED = (DtlsState.CONNECTED, DtlsState.CONNECTED)
RTP = bytes.fromhex("806f0001000003c000112233") + b"opus"


def test_a_handshake_takes_two_round_trips_and_no_retransmission(ours: DtlsIdentity, theirs: DtlsIdentity) -> None:
    net = pair(ours, theirs, one_way=0.02)
    net.start()
    net.run(until=0.081)
    assert net.states == CONNECTED
    assert net.client.retransmissions == net.server.retransmissions == 0


@pytest.mark.parametrize("rsa_is", ["client", "server", "both"])
def test_peers_with_rsa_certificates_are_welcome(ours: DtlsIdentity, rsa_peer: DtlsIdentity, rsa_is: str) -> None:
    client = rsa_peer if rsa_is in ("client", "both") else ours
    server = rsa_peer if rsa_is in ("server", "both") else ours
    net = pair(client, server)
    net.start()
    net.run(until=0.01)
    assert net.states == CONNECTED


def test_both_ends_have_the_same_media_keys(ours: DtlsIdentity, theirs: DtlsIdentity) -> None:
    net = pair(ours, theirs)
    net.start()
    net.run(until=0.01)
    assert net.client.srtp is not None
    assert net.server.srtp is not None
    for sender, receiver in ((net.client.srtp, net.server.srtp), (net.server.srtp, net.client.srtp)):
        protected = sender.protect(RTP)
        assert protected is not None
        assert protected[12:] != RTP[12:]
        assert receiver.unprotect(protected) == RTP


def test_false_start_gives_the_client_its_keys_one_round_trip_earlier(ours: DtlsIdentity, theirs: DtlsIdentity) -> None:
    net = pair(ours, theirs, one_way=0.02)
    net.start()
    net.run(until=0.041)  # the server's flight has arrived, its Finished has not been sent
    assert net.states == (DtlsState.KEYED, DtlsState.CONNECTING)
    assert net.client.srtp is not None
    early = net.client.srtp.protect(RTP)
    assert early is not None
    net.run(until=0.061)
    assert net.server.srtp is not None
    assert net.server.srtp.unprotect(early) == RTP


def test_media_flows_although_the_servers_last_flight_is_lost(ours: DtlsIdentity, theirs: DtlsIdentity) -> None:
    net = pair(ours, theirs, lose=lambda sender, index: sender == "server" and index == 1)
    net.start()
    net.run(until=0.01)
    assert net.states == (DtlsState.KEYED, DtlsState.CONNECTED)
    assert net.client.srtp is not None
    assert net.server.srtp is not None
    answer = net.server.srtp.protect(RTP)
    assert answer is not None
    assert net.client.srtp.unprotect(answer) == RTP
    net.run(until=0.2)  # our server sends its Finished again when the client repeats its own
    assert net.states == CONNECTED


def test_two_client_hellos_and_an_answer_fit_behind_the_shortest_check(ours: DtlsIdentity) -> None:
    client = make(ours, "client", ours.fingerprint)
    client.handle_start(0.0)
    hello = client.poll_transmit()
    assert hello is not None
    assert 64 + 2 * len(hello) <= 3 * 108


@pytest.mark.parametrize("attempt", [1, 2, 3])
def test_a_lost_client_hello_is_sent_again_after_50_ms(ours: DtlsIdentity, theirs: DtlsIdentity, attempt: int) -> None:
    net = pair(ours, theirs, lose=lambda sender, index: sender == "client" and index < attempt)
    net.start()
    net.run(until=(0.0, 0.051, 0.151, 0.351)[attempt])
    assert net.states == CONNECTED


@pytest.mark.parametrize("lost", list(itertools.product(["client", "server"], [0, 1, 2])), ids=str)
def test_any_lost_datagram_costs_less_than_half_a_second(
    ours: DtlsIdentity, theirs: DtlsIdentity, lost: tuple[Name, int]
) -> None:
    net = pair(ours, theirs, one_way=0.02, lose=lambda sender, index: (sender, index) == lost)
    net.start()
    net.run(until=0.5)
    assert net.states == CONNECTED


def test_a_handshake_survives_30_percent_loss_each_way(ours: DtlsIdentity, theirs: DtlsIdentity) -> None:
    for seed in range(20):
        dice = random.Random(seed)
        net = pair(ours, theirs, one_way=0.01, lose=lambda sender, index, dice=dice: dice.random() < 0.3)
        net.start()
        net.run(until=20.0)
        assert net.client.srtp is not None, seed
        assert net.server.state is DtlsState.CONNECTED, seed


def test_reordered_and_doubled_datagrams_do_no_harm(ours: DtlsIdentity, rsa_peer: DtlsIdentity) -> None:
    for seed in range(10):
        dice = random.Random(seed)
        net = pair(ours, rsa_peer)
        net.client.handle_start(0.0)
        for step in range(200):
            now = step * 0.01
            flights: list[tuple[Dtls, bytes]] = []
            for sender, receiver in ((net.client, net.server), (net.server, net.client)):
                sender.handle_timeout(now)
                while (datagram := sender.poll_transmit()) is not None:
                    flights += [(receiver, datagram)] * dice.choice([1, 1, 2])
            dice.shuffle(flights)
            for receiver, datagram in flights:
                receiver.handle_datagram(datagram, now)
        assert net.states == CONNECTED, seed


def test_no_datagram_of_a_flight_is_longer_than_the_mtu(ours: DtlsIdentity, rsa_peer: DtlsIdentity) -> None:
    for client, server in ((ours, rsa_peer), (rsa_peer, ours), (rsa_peer, rsa_peer)):
        net = pair(client, server)
        net.start()
        net.run(until=0.01)
        assert max(len(datagram) for datagram in net.sent["client"] + net.sent["server"]) <= MTU_BYTES


@pytest.mark.parametrize("liar", ["client", "server"])
def test_a_wrong_certificate_gets_an_alert_and_no_keys(
    ours: DtlsIdentity, theirs: DtlsIdentity, rsa_peer: DtlsIdentity, liar: str
) -> None:
    other = rsa_peer.fingerprint
    client = make(ours, "client", other if liar == "server" else theirs.fingerprint)
    server = make(theirs, "server", other if liar == "client" else ours.fingerprint)
    net = Pair(client, server)
    net.start()
    net.run(until=40.0)
    victim, attacker = (server, client) if liar == "client" else (client, server)
    assert victim.end is DtlsEnd.FINGERPRINT
    assert attacker.end is DtlsEnd.ALERT
    assert victim.srtp is None
    assert attacker.srtp is None


def test_no_announced_fingerprint_means_nobody_is_believed(ours: DtlsIdentity, theirs: DtlsIdentity) -> None:
    net = Pair(make(ours, "client"), make(theirs, "server", ours.fingerprint))
    net.start()
    net.run(until=1.0)
    assert net.client.end is DtlsEnd.FINGERPRINT


def test_one_matching_fingerprint_of_the_strongest_hash_suffices(
    ours: DtlsIdentity, theirs: DtlsIdentity, rsa_peer: DtlsIdentity
) -> None:
    right = fingerprint_of(theirs.certificate.x509, "sha-512")
    wrong_but_weaker = rsa_peer.fingerprint
    net = Pair(make(ours, "client", wrong_but_weaker, right), make(theirs, "server", ours.fingerprint))
    net.start()
    net.run(until=1.0)
    assert net.states == CONNECTED
    wrong = fingerprint_of(rsa_peer.certificate.x509, "sha-512")
    net = Pair(make(ours, "client", wrong, theirs.fingerprint), make(theirs, "server", ours.fingerprint))
    net.start()
    net.run(until=1.0)
    assert net.client.end is DtlsEnd.FINGERPRINT


def test_a_handshake_that_nobody_answers_ends_after_30_s(ours: DtlsIdentity, theirs: DtlsIdentity) -> None:
    net = pair(ours, theirs, lose=lambda sender, index: True)
    net.start()
    net.run(until=29.9)
    assert net.client.state is DtlsState.CONNECTING
    assert len(net.sent["client"]) < 40  # the pauses grow
    net.run(until=30.1)
    assert net.client.end is DtlsEnd.TIMEOUT
    assert net.client.poll_timeout() is None


def test_close_notify_tells_the_peer(ours: DtlsIdentity, theirs: DtlsIdentity) -> None:
    net = pair(ours, theirs)
    net.start()
    net.run(until=0.01)
    net.client.close()
    net._collect()
    net.run(until=0.02)
    assert net.client.end is DtlsEnd.LOCAL
    assert net.server.end is DtlsEnd.CLOSE_NOTIFY
    assert net.server.srtp is None
    assert not net.server.send(b"too late")


def test_application_data_arrives_once_and_proves_the_peer(ours: DtlsIdentity, theirs: DtlsIdentity) -> None:
    net = pair(ours, theirs)
    net.start()
    net.run(until=0.01)
    assert net.client.send(b"one")
    record = net.client.poll_transmit()
    assert record is not None
    assert net.server.handle_datagram(record, 1.0)
    assert net.server.poll_data() == b"one"
    assert not net.server.handle_datagram(record, 1.0)  # a replay proves nothing
    assert net.server.poll_data() is None


def test_noise_neither_ends_a_connection_nor_proves_anything(ours: DtlsIdentity, theirs: DtlsIdentity) -> None:
    net = pair(ours, theirs)
    net.start()
    net.run(until=0.01)
    dice = random.Random(1)
    real = [*net.sent["client"], *net.sent["server"]]
    for _ in range(3000):
        datagram = bytearray(dice.choice(real))
        for _ in range(dice.randint(1, 8)):
            datagram[dice.randrange(len(datagram))] = dice.randrange(256)
        for end in (net.client, net.server):
            assert not end.handle_datagram(bytes(datagram[: dice.randint(1, len(datagram))]), 1.0)
            assert end.state is DtlsState.CONNECTED
            while end.poll_transmit() is not None:
                pass
    assert net.client.send(b"still here")
    record = net.client.poll_transmit()
    assert record is not None
    assert net.server.handle_datagram(record, 2.0)


def test_noise_during_the_handshake_raises_nothing(ours: DtlsIdentity, theirs: DtlsIdentity) -> None:
    net = pair(ours, theirs)
    net.start()
    net.run(until=0.01)
    real = [*net.sent["client"], *net.sent["server"]]
    dice = random.Random(2)
    for _ in range(300):
        client, server = make(ours, "client", theirs.fingerprint), make(theirs, "server", ours.fingerprint)
        client.handle_start(0.0)
        for _ in range(10):
            datagram = bytearray(dice.choice(real))
            for _ in range(dice.randint(0, 4)):
                datagram[dice.randrange(len(datagram))] = dice.randrange(256)
            for end in (client, server):
                end.handle_datagram(bytes(datagram), 0.0)
        for end in (client, server):
            assert end.srtp is None


def test_an_alert_about_the_version_is_named(ours: DtlsIdentity, theirs: DtlsIdentity) -> None:
    client = make(ours, "client", theirs.fingerprint)
    client.handle_start(0.0)
    client.handle_datagram(bytes.fromhex("15fefd00000000000000000002") + bytes([2, 70]), 0.0)
    assert client.state is not DtlsState.CLOSED  # anybody could have written it
    client.handle_timeout(1.0)
    assert client.end is DtlsEnd.VERSION
    assert "protocol version" in client.detail


def test_the_client_hello_offers_forward_secret_aead_suites_and_nothing_else(
    ours: DtlsIdentity, theirs: DtlsIdentity
) -> None:
    """False Start is safe with these only (RFC 7918 section 4); 0x00ff says that renegotiation is secure."""
    client = make(ours, "client", theirs.fingerprint)
    client.handle_start(0.0)
    hello = client.poll_transmit()
    assert hello is not None
    at = 13 + 12 + 2 + 32  # record header, handshake header, version, random
    at += 1 + hello[at]  # session id
    at += 1 + hello[at]  # cookie
    length = int.from_bytes(hello[at : at + 2], "big")
    suites = {int.from_bytes(hello[n : n + 2], "big") for n in range(at + 2, at + 2 + length, 2)}
    assert suites - {0x00FF} == {0xC02B, 0xC02F, 0xC02C, 0xC030, 0xCCA9, 0xCCA8}


def test_a_datagram_shorter_than_a_record_header_is_nothing(ours: DtlsIdentity, theirs: DtlsIdentity) -> None:
    server = make(theirs, "server", ours.fingerprint)
    for length in range(dtls_records.RECORD_HEADER):
        assert not server.handle_datagram(bytes([22]) * length, 0.0)
    assert server.state is DtlsState.NEW


ALERT = bytes.fromhex("15fefd000000000000000000020228")


def test_a_forged_alert_ends_no_handshake_that_goes_on(ours: DtlsIdentity, theirs: DtlsIdentity) -> None:
    for states in ((DtlsState.CONNECTING, DtlsState.NEW), (DtlsState.KEYED, DtlsState.CONNECTING)):
        net = pair(ours, theirs, one_way=0.02)
        net.start()
        net.run(until=0.001 if states[1] is DtlsState.NEW else 0.041)
        assert net.states == states
        net.client.handle_datagram(ALERT, net.now)
        net.server.handle_datagram(ALERT, net.now)
        net.run(until=2.0)
        assert net.states == CONNECTED
        assert net.client.alerts_held == 1


def test_junk_does_not_delay_what_has_to_be_sent_again(ours: DtlsIdentity, theirs: DtlsIdentity) -> None:
    client = make(ours, "client", theirs.fingerprint)
    client.handle_start(0.0)
    for step in range(1, 50):
        client.handle_datagram(bytes.fromhex("17fefd0000000000000000000401020304"), step * 0.1)
        client.handle_timeout(step * 0.1)
    assert client.end is None
    assert client.retransmissions >= 5
