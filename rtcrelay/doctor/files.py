"""Are configuration, keys and other secrets sound, and seen by those alone who need them?"""

from __future__ import annotations

import stat
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from rtcrelay.doctor.finding import Finding, Verdict
from rtcrelay.doctor.patient import Patient
from rtcrelay.errors import ConfigError
from rtcrelay.keys import load_key_file, refuse_demo_key, require_active_key
from rtcrelay.secret_files import read_secret_file

CERTIFICATE_DAYS: Final = 14
"""Chosen: certificates are renewed 30 days before their end, so that something is wrong by then."""


def configuration(patient: Patient) -> Iterator[Finding]:
    """The settings of each service are as its start wants them."""
    for program, error in patient.problems.items():
        verdict = Verdict.FAIL if program in patient.expected else Verdict.SKIP
        yield Finding("files.configuration", verdict, f"{program}: {error}", f"rtcrelay config check {program}")
    for program in ("relay", "transceiver", "signaling"):
        if getattr(patient, program) is not None:
            yield Finding("files.configuration", Verdict.PASS, f"{program}: settings are sound")


def keys(patient: Patient) -> Iterator[Finding]:
    """The key ring is private, mints, and is not the published one."""
    for path, addresses in _key_files(patient).items():
        try:
            ring = load_key_file(path)
            active = require_active_key(ring)
            refuse_demo_key(ring, addresses)
        except ConfigError as error:
            yield _refused("files.keys", error, f"rtcrelay keys list --key-file {path}")
            continue
        message = f"{path}: mode {stat.S_IMODE(path.stat().st_mode):04o}, {len(ring.keys)} keys, key {active} mints"
        yield Finding("files.keys", Verdict.PASS, message)


def secrets(patient: Patient) -> Iterator[Finding]:
    """Tokens, passwords and TLS keys are private."""
    for what, path in _secret_files(patient):
        try:
            read_secret_file(path, what, 65_536)
        except ConfigError as error:
            yield _refused("files.secrets", error, f"ls -l {path}")
        else:
            yield Finding("files.secrets", Verdict.PASS, f"{what} {path} is private")


def certificates(patient: Patient) -> Iterator[Finding]:
    """Certificates of signaling are valid for a while."""
    paths = [settings.tls_cert for settings in (patient.transceiver, patient.signaling) if settings is not None]
    for path in dict.fromkeys(path for path in paths if path is not None):
        from cryptography import x509  # 130 ms

        try:
            certificate = x509.load_pem_x509_certificate(path.read_bytes())
        except (OSError, ValueError) as error:
            yield Finding("files.certificates", Verdict.FAIL, f"cannot use {path}: {error}", f"openssl x509 -in {path}")
            continue
        left = certificate.not_valid_after_utc - datetime.now(UTC)
        verdict = Verdict.PASS if left > timedelta(days=CERTIFICATE_DAYS) else Verdict.WARN
        if left < timedelta(0):
            verdict = Verdict.FAIL
        message = f"{path} is valid until {certificate.not_valid_after_utc:%Y-%m-%d}"
        remedy = None if verdict is Verdict.PASS else f"openssl x509 -noout -dates -subject -in {path}"
        yield Finding("files.certificates", verdict, message, remedy)


def admin_sockets(patient: Patient) -> Iterator[Finding]:
    """Whoever can connect to an admin socket steers the service."""
    for admin in patient.admins:
        try:
            mode = stat.S_IMODE(admin.socket.stat().st_mode)
        except OSError:
            continue
        if mode & stat.S_IWOTH:
            message = f"every user may steer the service at {admin.socket} (mode {mode:04o})"
            yield Finding("files.admin_sockets", Verdict.FAIL, message, f"chmod 660 {admin.socket}")
        else:
            yield Finding("files.admin_sockets", Verdict.PASS, f"{admin.socket} has mode {mode:04o}")


def libraries(patient: Patient) -> Iterator[Finding]:
    """What makes services fast is installed."""
    del patient
    for module, verdict, why, package in (
        ("uvloop", Verdict.FAIL, "transceivers need it", "uvloop"),
        ("hiredis", Verdict.WARN, "Redis answers are read slowly without it", "redis[hiredis]"),
    ):
        if find_spec(module) is not None:
            yield Finding(f"files.{module}", Verdict.PASS, f"{module} is installed")
        else:
            yield Finding(f"files.{module}", verdict, f"{module} is missing: {why}", f"pip install '{package}'")


def _key_files(patient: Patient) -> dict[Path, list[str]]:
    """The key files, and the addresses of the services that use each."""
    found: dict[Path, list[str]] = {}
    for settings in (patient.relay, patient.transceiver, patient.signaling):
        if settings is not None:
            found.setdefault(settings.key_file, []).extend(settings.addresses)
    return found


def _secret_files(patient: Patient) -> Iterator[tuple[str, Path]]:
    seen: set[Path] = set()
    for settings in (patient.relay, patient.transceiver, patient.signaling):
        for name, what in (
            ("auth_token_file", "token file"),
            ("redis_password_file", "Redis password file"),
            ("tls_key", "TLS key"),
        ):
            path = getattr(settings, name, None)
            if path is not None and path not in seen:
                seen.add(path)
                yield what, path


def _refused(check: str, error: ConfigError, otherwise: str) -> Finding:
    is_command = (error.hint or "").startswith(("chmod ", "chown "))
    return Finding(check, Verdict.FAIL, str(error), error.hint if is_command else otherwise)
