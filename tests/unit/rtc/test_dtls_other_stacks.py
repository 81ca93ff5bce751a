"""Habits of other DTLS stacks: cookies, small fragments, and a server that wants no client certificate."""

from __future__ import annotations

import contextlib

import pytest
from OpenSSL import SSL

from rtcrelay.rtc.dtls import Dtls, DtlsEnd, DtlsIdentity, DtlsState
from rtcrelay.rtc.dtls_records import pack_datagrams

from .dtls_pair import make


class Bare:
    """A DTLS server straight on OpenSSL, to be as unlike ours as a test likes."""

    def __init__(
        self,
        identity: DtlsIdentity,
        *,
        cookies: bool = False,
        mtu: int = 1200,
        ciphers: bytes = b"DEFAULT",
        srtp: bytes = b"SRTP_AES128_CM_SHA1_80",
    ) -> None:
        context = SSL.Context(SSL.DTLS_METHOD)
        context.set_options(SSL.OP_NO_QUERY_MTU | ((SSL.OP_COOKIE_EXCHANGE or 0) if cookies else 0))
        context.set_cipher_list(ciphers)
        context.use_certificate(identity.certificate.x509)
        context.use_privatekey(identity.certificate.key)
        if srtp:
            context.set_tlsext_use_srtp(srtp)
        context.set_cookie_generate_callback(lambda connection: b"a cookie")
        context.set_cookie_verify_callback(lambda connection, cookie: cookie == b"a cookie")
        self.connection = SSL.Connection(context)
        self.connection.set_accept_state()
        self.connection.set_ciphertext_mtu(mtu)
        self.mtu = mtu
        self.is_done = False
        self.error = ""

    def answer(self, datagrams: list[bytes]) -> list[bytes]:
        """Takes datagrams one by one and returns what they caused."""
        records = b""
        for datagram in datagrams:
            self.connection.bio_write(datagram)
            try:
                self.connection.do_handshake()
                self.is_done = True
            except SSL.WantReadError:
                pass
            except SSL.Error as error:
                self.error = str(error)
            with contextlib.suppress(SSL.WantReadError):
                records += self.connection.bio_read(65536)
        return pack_datagrams(records, self.mtu)


def drained(end: Dtls) -> list[bytes]:
    datagrams = []
    while (datagram := end.poll_transmit()) is not None:
        datagrams.append(datagram)
    return datagrams


def handshake(client: Dtls, server: Bare) -> list[bytes]:
    """Runs to the end; returns what the server sent."""
    client.handle_start(0.0)
    sent: list[bytes] = []
    for _ in range(10):
        answers = server.answer(drained(client))
        sent += answers
        for datagram in answers:
            client.handle_datagram(datagram, 0.0)
    return sent


def test_a_hello_verify_request_is_answered_with_its_cookie(ours: DtlsIdentity, theirs: DtlsIdentity) -> None:
    client = make(ours, "client", theirs.fingerprint)
    sent = handshake(client, server := Bare(theirs, cookies=True))
    assert sent[0][13] == 3  # HelloVerifyRequest
    assert client.state is DtlsState.CONNECTED
    assert server.is_done
    assert client.retransmissions == 0


def test_a_flight_in_fragments_of_256_bytes_is_put_together(ours: DtlsIdentity, rsa_peer: DtlsIdentity) -> None:
    client = make(ours, "client", rsa_peer.fingerprint)
    sent = handshake(client, server := Bare(rsa_peer, mtu=256))
    assert len(sent) >= 6
    assert max(map(len, sent)) <= 256
    assert client.state is DtlsState.CONNECTED
    assert server.is_done
    assert client.retransmissions == 0


def test_fragments_in_any_order_are_put_together(ours: DtlsIdentity, rsa_peer: DtlsIdentity) -> None:
    client, server = make(ours, "client", rsa_peer.fingerprint), Bare(rsa_peer, mtu=256)
    client.handle_start(0.0)
    for datagram in reversed(server.answer(drained(client))):
        client.handle_datagram(datagram, 0.0)
    for datagram in server.answer(drained(client)):
        client.handle_datagram(datagram, 0.0)
    assert client.state is DtlsState.CONNECTED


def test_a_server_that_asks_for_no_certificate_still_has_to_match_its_own(
    ours: DtlsIdentity, theirs: DtlsIdentity, rsa_peer: DtlsIdentity
) -> None:
    client = make(ours, "client", rsa_peer.fingerprint)
    handshake(client, Bare(theirs))
    assert client.end is DtlsEnd.FINGERPRINT
    assert client.srtp is None


@pytest.mark.parametrize("cipher", [b"ECDHE-RSA-AES128-SHA", b"AES128-GCM-SHA256"])
def test_cbc_and_static_keys_are_refused(ours: DtlsIdentity, rsa_peer: DtlsIdentity, cipher: bytes) -> None:
    client, server = make(ours, "client", rsa_peer.fingerprint), Bare(rsa_peer, ciphers=cipher)
    handshake(client, server)
    assert "no shared cipher" in server.error
    client.handle_timeout(1.0)
    assert client.end is DtlsEnd.ALERT


def test_a_server_without_srtp_gets_no_media(ours: DtlsIdentity, theirs: DtlsIdentity) -> None:
    client = make(ours, "client", theirs.fingerprint)
    handshake(client, Bare(theirs, srtp=b""))
    assert client.end is DtlsEnd.NO_SRTP
    assert client.srtp is None
