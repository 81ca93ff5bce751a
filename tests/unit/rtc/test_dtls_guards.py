"""What stands between a peer and what it must not get, one by one: each is there although another may be, too."""

from __future__ import annotations

import contextlib

import pytest
from OpenSSL import SSL

from rtcrelay.rtc import dtls_identity
from rtcrelay.rtc.dtls import (
    _MAX_RECORDS_PER_DATAGRAM,
    ALERT_HOLD_SECONDS,
    KEYED_HOLD_SECONDS,
    Dtls,
    DtlsEnd,
    DtlsIdentity,
    DtlsState,
    Role,
)
from rtcrelay.rtc.dtls_records import HANDSHAKE
from rtcrelay.rtc.srtp import PROFILES

from .dtls_pair import Pair, make, pair

ALERT = bytes.fromhex("15fefd000000000000000900020228")
"""handshake_failure in the clear, with a record number that nobody used yet."""


def connected(ours: DtlsIdentity, theirs: DtlsIdentity) -> Pair:
    net = pair(ours, theirs)
    net.start()
    net.run(until=0.01)
    assert net.states == (DtlsState.CONNECTED, DtlsState.CONNECTED)
    return net


class BarePeer:
    """OpenSSL itself, without what this package adds; with no certificate if none is given."""

    def __init__(self, role: Role, identity: DtlsIdentity | None) -> None:
        context = SSL.Context(SSL.DTLS_METHOD)
        context.set_options(SSL.OP_NO_QUERY_MTU)
        context.set_tlsext_use_srtp(PROFILES[0].name.encode())
        context.set_verify(SSL.VERIFY_PEER, lambda *_: True)
        if identity is not None:
            context.use_certificate(identity.certificate.x509)
            context.use_privatekey(identity.certificate.key)
        self.heard: list[bytes] = []
        self.connection = SSL.Connection(context)
        self.connection.set_ciphertext_mtu(1200)
        (self.connection.set_connect_state if role == "client" else self.connection.set_accept_state)()

    def exchange(self, ours: Dtls) -> None:
        """Lets both talk until neither says anything."""
        while True:
            with contextlib.suppress(SSL.WantReadError):
                self.connection.do_handshake()
            moved = False
            try:
                while flight := self.connection.bio_read(65536):
                    moved = True
                    ours.handle_datagram(flight, 0.0)
            except SSL.WantReadError:
                pass
            while (datagram := ours.poll_transmit()) is not None:
                moved = True
                self.heard.append(datagram)
                self.connection.bio_write(datagram)
            if not moved:
                return


def test_a_peer_that_shows_no_certificate_gets_no_keys_even_if_openssl_lets_it_pass(
    theirs: DtlsIdentity, monkeypatch: pytest.MonkeyPatch
) -> None:
    lenient = DtlsIdentity(theirs.certificate)
    lenient.context.set_verify(SSL.VERIFY_PEER, dtls_identity._verify)
    server = make(lenient, "server", theirs.fingerprint)
    BarePeer("client", None).exchange(server)
    assert server.end is DtlsEnd.FINGERPRINT
    assert server.srtp is None


def test_a_peer_that_shows_no_certificate_is_told_so(theirs: DtlsIdentity) -> None:
    server = make(theirs, "server", theirs.fingerprint)
    with pytest.raises(SSL.Error):
        BarePeer("client", None).exchange(server)
    assert server.end is DtlsEnd.PROTOCOL
    assert "certificate" in server.detail


@pytest.mark.parametrize("role", ["client", "server"])
def test_a_peer_cannot_negotiate_again(ours: DtlsIdentity, theirs: DtlsIdentity, role: Role) -> None:
    """It could change its certificate, and each time costs us as much as a new session."""
    end = make(ours, role, theirs.fingerprint)
    peer = BarePeer("server" if role == "client" else "client", theirs)
    end.handle_start(0.0) if role == "client" else None
    peer.exchange(end)
    assert end.state is DtlsState.CONNECTED
    assert peer.connection.renegotiate()
    peer.heard.clear()
    with contextlib.suppress(SSL.Error):  # a client is told, by an alert; a server is not
        peer.exchange(end)
    assert [datagram for datagram in peer.heard if datagram[0] == HANDSHAKE] == []
    assert end.state is DtlsState.CONNECTED
    assert end.send(b"as before")


def test_a_datagram_gives_at_most_64_messages(ours: DtlsIdentity, theirs: DtlsIdentity) -> None:
    net = connected(ours, theirs)
    for number in range(100):
        assert net.client.send(bytes([number]))
    records = []
    while (record := net.client.poll_transmit()) is not None:
        records.append(record)
    assert net.server.handle_datagram(b"".join(records), 1.0)
    taken = []
    while (message := net.server.poll_data()) is not None:
        taken.append(message)
    assert taken == [bytes([number]) for number in range(_MAX_RECORDS_PER_DATAGRAM)]
    assert _MAX_RECORDS_PER_DATAGRAM == 64


def end_of(connection: Dtls) -> DtlsEnd | None:
    """A type checker believes that what is None stays so."""
    return connection.end


def keyed(ours: DtlsIdentity, theirs: DtlsIdentity) -> Dtls:
    """A client that has keys by False Start, and hears nothing more."""
    net = pair(ours, theirs, lose=lambda sender, index: sender == "server" and index >= 1)
    net.start()
    net.run(until=0.01)
    assert net.client.state is DtlsState.KEYED
    return net.client


def test_an_alert_that_nothing_contradicts_is_believed_after_a_second(ours: DtlsIdentity, theirs: DtlsIdentity) -> None:
    client = make(ours, "client", theirs.fingerprint)
    client.handle_start(0.0)
    client.handle_datagram(ALERT, 0.3)
    client.handle_datagram(ALERT, 0.9)  # a second one delays nothing
    client.handle_timeout(0.299 + ALERT_HOLD_SECONDS)
    assert client.end is None
    at = client.poll_timeout()
    assert at is not None
    assert at <= 0.3 + ALERT_HOLD_SECONDS
    client.handle_timeout(0.3 + ALERT_HOLD_SECONDS)
    assert client.end is DtlsEnd.ALERT


def test_once_there_are_keys_it_is_believed_after_five_seconds(ours: DtlsIdentity, theirs: DtlsIdentity) -> None:
    client = keyed(ours, theirs)
    client.handle_datagram(ALERT, 1.0)
    for step in range(100):
        client.handle_timeout(step * 0.06)
    assert end_of(client) is None
    client.handle_timeout(1.0 + KEYED_HOLD_SECONDS)
    assert client.end is DtlsEnd.ALERT
    assert client.srtp is None


def test_media_of_the_peers_shows_that_the_alert_was_forged(ours: DtlsIdentity, theirs: DtlsIdentity) -> None:
    client = keyed(ours, theirs)
    client.handle_datagram(ALERT, 1.0)
    client.handle_alive()
    for step in range(290):
        client.handle_timeout(step * 0.1)
    assert client.end is None
    assert client.srtp is not None
    client.handle_timeout(30.1)
    assert client.end is DtlsEnd.TIMEOUT
