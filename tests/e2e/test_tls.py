"""Signaling over TLS from files: calls, owner routing between transceivers, and a new certificate on SIGHUP."""

from __future__ import annotations

import asyncio
import os
import signal
import ssl
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import aiohttp
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from rtcrelay.client.demo.site import Site, SiteOptions
from rtcrelay.rtc.certificate import Certificate
from rtcrelay.rtc.offer_answer import IceCredentials, write_offer

from .waiting import until

OFFER = write_offer(IceCredentials("caller", "callerpassword0123456789"), Certificate.generate().fingerprint, ssrc=1)


def write_certificate(directory: Path) -> int:
    """A self-signed certificate as ``cert.pem`` and ``key.pem``; returns its serial number."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "rtcrelay.test")])
    now = datetime.now(UTC)
    names = [x509.DNSName("rtcrelay.test"), x509.IPAddress(ip_address("127.0.0.1"))]
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .sign(key, hashes.SHA256())
    )
    (directory / "cert.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    form = (serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    path = directory / "key.pem"
    path.touch(0o600)
    path.write_bytes(key.private_bytes(serialization.Encoding.PEM, *form))
    return int(certificate.serial_number)


@pytest.fixture
async def secure(tmp_path: Path) -> AsyncIterator[Site]:
    """Two transceivers with one certificate."""
    write_certificate(tmp_path)
    files = ("--tls-cert", str(tmp_path / "cert.pem"), "--tls-key", str(tmp_path / "key.pem"))
    site = Site(tmp_path, SiteOptions(extra_transceiver=files))
    try:
        await site.start()
        yield site
    finally:
        await site.stop()


def trusting(directory: Path) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(directory / "cert.pem"))


async def serial(url: str) -> int:
    """Of the certificate that a new connection is shown."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    port = int(url.split(":")[2].split("/")[0])
    _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
    der = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    writer.close()
    return int(x509.load_der_x509_certificate(der).serial_number)


async def test_a_session_is_made_and_ended_over_tls_by_way_of_either_transceiver(secure: Site, tmp_path: Path) -> None:
    a, b = (node.url.replace("http:", "https:") for node in secure.transceivers)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=trusting(tmp_path))) as http:
        async with http.post(a, data=OFFER, headers={"Content-Type": "application/sdp"}) as response:
            assert response.status == 201
            location = response.headers["Location"]
        async with http.delete(b.removesuffix("/whip") + location) as response:
            assert (response.status, response.headers["X-Rtcrelay-Node"]) == (200, "a")
        assert await secure.transceivers[0].admin.sessions() == []


async def test_plain_http_gets_nothing_from_a_tls_port(secure: Site) -> None:
    async with aiohttp.ClientSession() as http:
        with pytest.raises(aiohttp.ClientError):
            await http.post(secure.transceivers[0].url, data=OFFER)


async def test_sighup_takes_a_new_certificate_and_refuses_a_broken_one(secure: Site, tmp_path: Path) -> None:
    node = secure.transceivers[0]
    assert node.daemon.pid is not None
    before = await serial(node.url)
    new = write_certificate(tmp_path)
    assert new != before
    os.kill(node.daemon.pid, signal.SIGHUP)
    await until(lambda: serial(node.url), lambda seen: seen == new, "the new certificate")

    (tmp_path / "key.pem").write_text("nonsense")
    os.kill(node.daemon.pid, signal.SIGHUP)

    async def words() -> str:
        return node.daemon.log.read_text()

    await until(words, lambda log: "everything stays as it was: cannot use TLS certificate" in log, "a refusal")
    assert await serial(node.url) == new


async def test_metrics_say_when_the_certificate_ends(secure: Site, tmp_path: Path) -> None:
    end = x509.load_pem_x509_certificate((tmp_path / "cert.pem").read_bytes()).not_valid_after_utc
    connection = aiohttp.UnixConnector(str(secure.transceivers[0].admin.socket))
    async with aiohttp.ClientSession(connector=connection) as http, http.get("http://admin/metrics") as response:
        (line,) = (line for line in (await response.text()).splitlines() if line.startswith("rtcrelay_tls_"))
    name, value = line.split()
    assert name == "rtcrelay_tls_certificate_expiry_timestamp_seconds"
    assert float(value) == end.timestamp()


async def test_a_site_whose_certificates_differ_is_502_and_not_trusted(secure: Site, tmp_path: Path) -> None:
    """The owner shows a certificate that is neither ours nor anybody's whom we trust: the token is not sent there."""
    a, b = secure.transceivers
    assert a.daemon.pid is not None
    before = trusting(tmp_path)
    write_certificate(tmp_path)
    os.kill(a.daemon.pid, signal.SIGHUP)
    async with aiohttp.ClientSession() as http:
        url, headers = a.url.replace("http:", "https:"), {"Content-Type": "application/sdp"}

        async def post() -> str:
            try:
                async with http.post(url, data=OFFER, headers=headers, ssl=trusting(tmp_path)) as response:
                    return response.headers["Location"]
            except aiohttp.ClientSSLError:
                return ""

        location = await until(post, bool, "a session over the new certificate")
        other = b.url.replace("http:", "https:").removesuffix("/whip") + location
        async with http.delete(other, ssl=before) as response:
            assert response.status == 502
        assert len(await a.admin.sessions()) == 1
