"""What lets a phone in the same network call a demo: a token, and a certificate that nobody else has signed."""

from __future__ import annotations

import ipaddress
import os
import secrets
import socket
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

VALID = timedelta(days=7)
"""Chosen: longer than any demo; Apple's systems refuse more than 825 days."""


@dataclass(frozen=True, slots=True)
class Access:
    """Who may call from the network, and how a browser knows whom it talks to."""

    address: str
    """IPv4 address of this machine in that network."""
    token: str
    """Bearer token of signaling."""
    token_file: Path
    cert_file: Path
    key_file: Path
    fingerprint: str
    """SHA-256 of the certificate as browsers show it."""


def local_address(text: str) -> str:
    """An IPv4 address that this machine has. ValueError with the end of a sentence."""
    try:
        address = ipaddress.IPv4Address(text)
    except ValueError:
        raise ValueError("is not an IPv4 address") from None
    if address.is_unspecified or address.is_multicast:
        raise ValueError("is not the address of one machine")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind((str(address), 0))
        except OSError:
            raise ValueError("is not an address of this machine") from None
    return str(address)


def write_access(address: str, directory: Path) -> Access:
    """Makes token, key and certificate as files that their owner alone can read."""
    token = secrets.token_urlsafe(24)
    key = ec.generate_private_key(ec.SECP256R1())
    certificate = _certificate(address, key)
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return Access(
        address=address,
        token=token,
        token_file=_write(directory / "token", token.encode()),
        cert_file=_write(directory / "tls.pem", certificate.public_bytes(serialization.Encoding.PEM)),
        key_file=_write(directory / "tls.key", private),
        fingerprint=certificate.fingerprint(hashes.SHA256()).hex(":").upper(),
    )


def _certificate(address: str, key: ec.EllipticCurvePrivateKey) -> x509.Certificate:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "rtcrelay demo")])
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))  # a phone's clock may be behind
        .not_valid_after(now + VALID)
        # Browsers look for the address here and nowhere else.
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(address))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .sign(key, hashes.SHA256())
    )


def _write(path: Path, content: bytes) -> Path:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with open(descriptor, "wb") as file:
        file.write(content)
    return path
