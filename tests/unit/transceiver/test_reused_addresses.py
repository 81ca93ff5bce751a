"""A NAT gives the address of a client that vanished to the next one: what the first left does the second no harm."""

from __future__ import annotations

from rtcrelay.rtc.dtls import Dtls
from rtcrelay.transceiver.counters import Drop
from rtcrelay.transceiver.paths import DOUBT_SECONDS

from .network import CALLER, Caller, Network


class ActiveCaller(Caller):
    """A DTLS client: the transceiver is passive."""

    def offer(self, fingerprint: object) -> str:
        return super().offer(fingerprint).replace("actpass", "active")

    def begin(self) -> bytes:
        """Its ClientHello."""
        self.dtls.handle_start(self.network.now)
        hello = self.dtls.poll_transmit()
        assert hello is not None
        return hello


def stray_hello() -> bytes:
    client = Dtls(CALLER, "client", ())
    client.handle_start(0.0)
    hello = client.poll_transmit()
    assert hello is not None
    return hello


def handshakes(network: Network) -> list[bytes]:
    """DTLS handshake datagrams sent since the last look."""
    return [payload for _, payload in network.take() if payload[:1] in (b"\x14", b"\x16")]


def test_the_hello_of_a_vanished_client_ends_no_call_in_which_we_are_the_dtls_client(network: Network) -> None:
    caller = Caller(network)
    caller.check()
    for _ in range(3):
        network.receive(caller.at, stray_hello())
    caller.pump()
    network.receive(caller.at, stray_hello())
    assert caller.session.is_connected
    assert caller.session.end is None


def test_the_hello_of_a_vanished_client_ends_no_call_in_which_we_are_the_dtls_server(network: Network) -> None:
    caller = ActiveCaller(network)
    caller.check()
    network.receive(caller.at, stray_hello())
    network.take()  # the vanished client's flight is nobody's
    network.receive(caller.at, caller.begin())
    for _ in range(5):  # an address that is not proved is sent no more than threefold: its hello comes again
        caller.pump()
        network.pass_time(0.2)
        caller.dtls.handle_timeout(network.now)
    assert caller.session.is_connected


def test_a_hello_is_answered_by_the_session_whose_client_was_heard_last_and_by_no_other(network: Network) -> None:
    vanished, caller = ActiveCaller(network), ActiveCaller(network)
    vanished.check()
    network.now += 3.0
    caller.check()
    network.take()
    network.receive(caller.at, hello := caller.begin())
    first = len(handshakes(network))
    assert first > 0
    assert (vanished.session.dtls.hello, caller.session.dtls.hello) == (None, hello[27:59])
    network.receive(caller.at, hello)  # again, as if the answer had been lost
    assert vanished.session.dtls.hello is None


def test_a_hello_that_comes_late_goes_to_the_session_that_answered_it(network: Network) -> None:
    old, new = ActiveCaller(network), ActiveCaller(network)
    old.check()
    network.receive(old.at, hello := old.begin())
    network.now += 3.0
    new.check()
    network.receive(new.at, hello)
    assert new.session.dtls.hello is None
    network.take()
    network.receive(new.at, new.begin())
    new.pump()
    assert new.session.is_connected


def test_when_nobody_waits_for_a_hello_nobody_gets_it(network: Network) -> None:
    callers = [Caller(network), Caller(network)]
    for caller in callers:
        caller.connect()
    network.receive(callers[0].at, stray_hello())
    assert network.drops(Drop.NOT_AUTHENTIC) == 1
    assert handshakes(network) == []
    assert all(caller.session.end is None for caller in callers)


def vanish_in_mid_handshake(network: Network) -> Caller:
    """Its session has keys, and waits for a Finished that never comes."""
    vanished = Caller(network)
    vanished.check()
    for reply, payload in network.take():
        vanished._receive(reply, payload)
    while (datagram := vanished.dtls.poll_transmit()) is not None:
        network.receive(vanished.at, datagram)
    assert vanished.session.dtls.is_handshaking
    return vanished


def test_the_flight_of_a_session_whose_client_vanished_is_not_sent_into_the_next_call(network: Network) -> None:
    vanish_in_mid_handshake(network)
    network.pass_time(0.3)
    assert handshakes(network)  # it may only have been lost
    network.pass_time(DOUBT_SECONDS)
    network.take()
    caller = Caller(network)
    caller.check()
    own = handshakes(network)
    assert len(own) == 1
    network.pass_time(0.049)
    assert handshakes(network) == []
    network.pass_time(0.002)
    assert handshakes(network) == own  # the new session's, sent again as is usual
    network.pass_time(1.0)
    assert {datagram[13] for datagram in handshakes(network)} <= {1}  # ClientHellos
    caller.check()
    caller.pump()


def test_a_client_that_is_still_there_gets_its_flight_after_its_next_check(network: Network) -> None:
    slow = vanish_in_mid_handshake(network)
    network.pass_time(DOUBT_SECONDS)
    other = Caller(network)
    other.connect()
    network.take()
    network.pass_time(2.0)
    assert handshakes(network) == []
    slow.check()
    network.pass_time(1.1)
    slow.pump()
    assert slow.session.is_connected
    assert other.session.end is None


def test_two_clients_that_come_at_once_are_not_doubted(network: Network) -> None:
    one = vanish_in_mid_handshake(network)
    network.now += DOUBT_SECONDS / 2
    Caller(network).check()
    network.take()
    network.pass_time(0.3)
    assert any(datagram[13] not in (1,) for datagram in handshakes(network))
    assert one.session.dtls.retransmissions > 0
