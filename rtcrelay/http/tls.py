"""How does signaling speak TLS? Certificate and key from files that a reload reads anew.

Connections that are open keep the certificate they began with.
"""

from __future__ import annotations

import ssl
from pathlib import Path

from cryptography import x509

from rtcrelay.errors import ConfigError
from rtcrelay.secret_files import read_secret_file

_MAX_KEY_BYTES = 65_536


class Tls:
    """The server's side, and the client's towards other transceivers of the site."""

    def __init__(self, cert: Path, key: Path) -> None:
        """Raises ConfigError if the files cannot be used."""
        self.server = self._current = _load(cert, key)
        """For the listening socket."""
        # Called for each ClientHello, with or without a name in it: swapping contexts is the only way to replace a
        # certificate and its key at once, and only if they fit together.
        self.server.sni_callback = lambda connection, _name, _context: self._choose(connection)
        self.client, self.peer_name = trust(cert)
        self.ends_at = _end_of(cert)
        """When the certificate is no longer valid, in seconds since 1970."""

    def reload(self, cert: Path, key: Path) -> None:
        """Takes other files, or other content. Raises ConfigError; then everything stays as it was."""
        current, client = _load(cert, key), trust(cert)
        self._current, (self.client, self.peer_name) = current, client
        self.ends_at = _end_of(cert)

    def _choose(self, connection: ssl.SSLSocket | ssl.SSLObject) -> None:
        connection.context = self._current


def load_tls(cert: Path | None, key: Path | None) -> Tls | None:
    """TLS of these files; None without them: plain HTTP. Raises ConfigError."""
    return None if cert is None or key is None else Tls(cert, key)


def _load(cert: Path, key: Path) -> ssl.SSLContext:
    """A server's context. Raises ConfigError with the file and what is wrong with it."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        cert.read_bytes()
    except OSError as error:
        raise ConfigError(f"cannot read TLS file {cert}: {(error.strerror or str(error)).lower()}") from error
    read_secret_file(key, "TLS file", _MAX_KEY_BYTES)
    try:
        context.load_cert_chain(cert, key, password=_no_password)
    except _EncryptedError:
        raise ConfigError(
            f"TLS key {key} is encrypted, and a service has nobody to ask", hint=f"openssl pkey -in {key} -out FILE"
        ) from None
    except ssl.SSLError as error:
        reason = (error.reason or "it is not PEM").lower().replace("_", " ")
        raise ConfigError(f"cannot use TLS certificate {cert} with key {key}: {reason}") from error
    return context


def trust(cert: Path) -> tuple[ssl.SSLContext, str]:
    """(context, expected name) towards other transceivers: they hold a certificate for the same public name.

    Ours is a trust anchor besides the system's, so that one self-signed certificate for the whole site works.
    """
    context = ssl.create_default_context()
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    try:
        context.load_verify_locations(cert)
        certificate = x509.load_pem_x509_certificate(cert.read_bytes())
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (ssl.SSLError, OSError, ValueError) as error:
        raise ConfigError(f"cannot use TLS certificate {cert}: {error}") from error
    except x509.ExtensionNotFound:
        raise ConfigError(f"TLS certificate {cert} has no subjectAltName, so no client would accept it") from None
    hosts = [name.replace("*", "any", 1) for name in names.get_values_for_type(x509.DNSName)]
    addresses = [str(address) for address in names.get_values_for_type(x509.IPAddress)]
    if not (hosts or addresses):
        raise ConfigError(f"TLS certificate {cert} names no host and no address, so no client would accept it")
    return context, (hosts + addresses)[0]


def _end_of(cert: Path) -> float:
    """Of the first certificate of the chain, which `trust` has read already."""
    return x509.load_pem_x509_certificate(cert.read_bytes()).not_valid_after_utc.timestamp()


class _EncryptedError(Exception):
    """Somebody would have to type a password."""


def _no_password() -> str:
    raise _EncryptedError
