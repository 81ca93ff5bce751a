"""DTLS messages that are another handshake's: of a client that vanished, and whose address somebody else has now."""

from __future__ import annotations

import pytest

from rtcrelay.rtc.dtls import Dtls, DtlsIdentity, DtlsState
from rtcrelay.rtc.dtls_records import client_random, split_records

from .dtls_pair import Pair, make, pair

CONNECTED = (DtlsState.CONNECTED, DtlsState.CONNECTED)


def hello_of(identity: DtlsIdentity) -> bytes:
    client = make(identity, "client")
    client.handle_start(0.0)
    hello = client.poll_transmit()
    assert hello is not None
    return hello


def flights(ours: DtlsIdentity, theirs: DtlsIdentity) -> tuple[list[bytes], list[bytes]]:
    """What the client and the server of a whole handshake sent."""
    net = pair(ours, theirs)
    net.start()
    net.run(until=0.01)
    return net.sent["client"], net.sent["server"]


def without_certificate(datagram: bytes) -> bytes:
    """Both roles send certificates; this is about what one role alone sends."""
    records = split_records(datagram)
    return b"".join(datagram[start:end] for _, _, start, end in records if datagram[start + 13] != 11)


def answers(end: Dtls) -> list[bytes]:
    sent = []
    while (datagram := end.poll_transmit()) is not None:
        sent.append(datagram)
    return sent


def test_no_message_of_a_vanished_client_ends_a_handshake_that_we_began(
    ours: DtlsIdentity, theirs: DtlsIdentity
) -> None:
    stray = [without_certificate(datagram) for datagram in flights(theirs, ours)[0]]
    net = pair(ours, theirs, one_way=0.02)
    net.start()
    for step in range(5):
        for datagram in stray[: 1 + step % 2]:
            net.client.handle_datagram(datagram, net.now)
        net.run(until=0.02 * (step + 1))
    assert net.states == CONNECTED
    assert net.client.retransmissions == 0


def test_no_message_of_a_vanished_server_begins_or_ends_a_handshake_that_the_client_begins(
    ours: DtlsIdentity, theirs: DtlsIdentity
) -> None:
    _, stray = flights(ours, theirs)
    net = pair(ours, theirs, one_way=0.02)
    net.server.handle_datagram(bytes.fromhex("16fefd0000000000000000000c") + bytes(12), 0.0)  # HelloRequest
    assert net.server.state is DtlsState.NEW
    net.start()
    net.run(until=0.03)
    for datagram in stray:
        net.server.handle_datagram(without_certificate(datagram), net.now)
    net.run(until=1.0)
    assert net.states == CONNECTED


def test_a_server_that_answered_a_vanished_client_answers_the_next(ours: DtlsIdentity, theirs: DtlsIdentity) -> None:
    server = make(theirs, "server", ours.fingerprint)
    stray = hello_of(ours)
    server.handle_datagram(stray, 0.0)
    assert answers(server)
    net = Pair(make(ours, "client", theirs.fingerprint), server, one_way=0.02)
    net.start()
    net.run(until=0.081)
    assert net.states == CONNECTED
    assert server.hello == client_random(net.sent["client"][0]) != client_random(stray)


def test_the_hello_that_comes_again_is_no_other_one(ours: DtlsIdentity, theirs: DtlsIdentity) -> None:
    server = make(theirs, "server", ours.fingerprint)
    hello = hello_of(ours)
    server.handle_datagram(hello, 0.0)
    first = answers(server)
    server.handle_datagram(hello, 0.1)
    assert answers(server) == first


def test_who_forges_hellos_finds_an_end(ours: DtlsIdentity, theirs: DtlsIdentity) -> None:
    server = make(theirs, "server", ours.fingerprint)
    begun = 0
    for number in range(50):
        server.handle_datagram(hello_of(ours), number * 0.001)
        begun += any(datagram[13] == 2 for datagram in answers(server))
    assert begun == 9  # the first, and eight times anew
    assert server.state is DtlsState.CONNECTING


def test_a_hello_after_the_keys_are_there_changes_nothing(ours: DtlsIdentity, theirs: DtlsIdentity) -> None:
    net = pair(ours, theirs)
    net.start()
    net.run(until=0.01)
    assert not net.server.handle_datagram(hello_of(ours), 1.0)
    assert net.server.state is DtlsState.CONNECTED
    assert net.client.send(b"still here")
    record = net.client.poll_transmit()
    assert record is not None
    assert net.server.handle_datagram(record, 1.0)


@pytest.mark.parametrize("length", [0, 12, 13, 25, 58])
def test_a_hello_that_is_cut_off_has_no_random(ours: DtlsIdentity, length: int) -> None:
    assert client_random(hello_of(ours)[:length]) is None


def test_only_the_first_fragment_of_a_hello_has_its_random(ours: DtlsIdentity) -> None:
    hello = hello_of(ours)
    assert client_random(hello) == hello[27:59]
    assert client_random(hello[:59]) == hello[27:59]
    for at, value in ((0, 23), (4, 1), (13, 2), (21, 1)):  # content, epoch, message type, fragment offset
        assert client_random(hello[:at] + bytes([value]) + hello[at + 1 :]) is None
