"""TLS files that can be used, and what is said about those that cannot."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from rtcrelay.errors import ConfigError
from rtcrelay.http.tls import Tls

NAMED = (x509.DNSName("*.example.org"), x509.IPAddress(ip_address("192.0.2.1")))


def write(
    directory: Path, name: str = "a", names: tuple[x509.GeneralName, ...] = NAMED, password: bytes | None = None
) -> tuple[Path, Path]:
    """A self-signed certificate and its key, as files."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "example.org")])
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder(subject, subject, key.public_key(), 1 + int.from_bytes(name.encode(), "big"))
        .not_valid_before(now)
        .not_valid_after(now + timedelta(days=1))
    )
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    hidden = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
    cert_path, key_path = directory / f"{name}.cert", directory / f"{name}.key"
    cert_path.write_bytes(builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
    key_path.write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, hidden))
    key_path.chmod(0o600)
    return cert_path, key_path


def test_peers_are_expected_to_have_a_certificate_for_our_name(tmp_path: Path) -> None:
    assert Tls(*write(tmp_path)).peer_name == "any.example.org"
    assert Tls(*write(tmp_path, names=(x509.IPAddress(ip_address("2001:db8::1")),))).peer_name == "2001:db8::1"


def test_files_that_cannot_be_used_say_why(tmp_path: Path) -> None:
    cert, key = write(tmp_path)
    _, other = write(tmp_path, "b")
    nonsense = tmp_path / "nonsense"
    nonsense.touch(0o600)
    nonsense.write_text("nonsense")
    hidden = write(tmp_path, "c", password=b"password")
    nameless = write(tmp_path, "d", names=())
    for files, complaint in (
        ((tmp_path / "nothing", key), "cannot read TLS file .*nothing: no such file or directory"),
        ((cert, tmp_path / "nothing"), "cannot read TLS file .*nothing: no such file or directory"),
        ((cert, other), r"cannot use TLS certificate .*a\.cert with key .*b\.key"),
        ((nonsense, key), "cannot use TLS certificate .*nonsense"),
        ((cert, nonsense), "cannot use TLS certificate .* with key .*nonsense"),
        (hidden, "is encrypted, and a service has nobody to ask"),
        (nameless, "has no subjectAltName"),
    ):
        with pytest.raises(ConfigError, match=complaint):
            Tls(*files)


def test_a_reload_that_fails_keeps_what_there_was(tmp_path: Path) -> None:
    tls = Tls(*write(tmp_path))
    context, client = tls._current, tls.client
    with pytest.raises(ConfigError):
        tls.reload(tmp_path / "nothing", tmp_path / "nothing")
    assert (tls._current, tls.client) == (context, client)
    tls.reload(*write(tmp_path, "b"))
    assert tls._current is not context
    assert tls.server is context


def test_a_key_that_others_may_read_is_refused(tmp_path: Path) -> None:
    cert, key = write(tmp_path)
    key.chmod(0o440)
    Tls(cert, key)
    key.chmod(0o644)
    with pytest.raises(ConfigError, match=r"TLS file .* has mode 0644: others may read or change it"):
        Tls(cert, key)
