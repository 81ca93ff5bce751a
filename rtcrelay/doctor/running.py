"""How do the services that run here fare?"""

from __future__ import annotations

from collections.abc import Iterator

from rtcrelay.admin.status import status_of
from rtcrelay.doctor.finding import Finding, Verdict
from rtcrelay.doctor.patient import Patient
from rtcrelay.errors import ConfigError, RtcrelayError
from rtcrelay.keys import load_key_file

_VERDICTS = {"ready": Verdict.PASS, "draining": Verdict.WARN}


def services(patient: Patient) -> Iterator[Finding]:
    """Each service answers and is ready."""
    for admin in patient.admins:
        try:
            row = status_of(admin)
        except RtcrelayError as error:
            yield Finding("running.services", Verdict.FAIL, str(error), f"ss -xlp src {admin.socket}")
            continue
        verdict = _VERDICTS.get(row["state"], Verdict.FAIL)
        name = f"{row['role']} {row['node'] or ''}".strip()
        message = f"{name} (process {row['pid']}) is {row['reason'] or row['state']}"
        remedy = None if verdict is Verdict.PASS else f"rtcrelay status -A {admin.socket}"
        yield Finding("running.services", verdict, message, remedy)
    if not patient.admins:
        yield Finding("running.services", Verdict.SKIP, "no service runs here", "rtcrelay serve relay --help")


def keys_in_use(patient: Patient) -> Iterator[Finding]:
    """Running services hold the keys of the key file as it is now."""
    files = {
        role: settings.key_file
        for role, settings in (
            ("relay", patient.relay),
            ("transceiver", patient.transceiver),
            ("signaling", patient.signaling),
        )
        if settings is not None
    }
    for admin in patient.admins:
        try:
            stats = admin.read("/v1/stats")
            path = files[stats["role"]]
            expected = load_key_file(path).report()
        except (RtcrelayError, ConfigError, KeyError):
            continue  # `services` and `files.keys` tell of it
        name = f"{stats['role']} {stats.get('node') or ''}".strip()
        if stats["keys"] == expected:
            yield Finding("running.keys", Verdict.PASS, f"{name} holds the keys of {path}")
        else:
            message = f"{name} holds other keys than {path}: it has not read the file since it was changed"
            yield Finding("running.keys", Verdict.WARN, message, f"kill -HUP {stats['pid']}")


def overflows(patient: Patient) -> Iterator[Finding]:
    """The kernel had room for every packet."""
    for admin in patient.admins:
        try:
            stats = admin.read("/v1/stats")
            lost = stats["counters"]["receive_overflows"]
        except (RtcrelayError, KeyError):
            continue
        name = f"{stats['role']} {stats.get('node') or ''}".strip()
        if lost:
            message = f"{name} lost {lost} datagrams since its start, because its socket's buffer was full"
            yield Finding("running.overflows", Verdict.WARN, message, "rtcrelay flows stats -i 10s")
        else:
            yield Finding("running.overflows", Verdict.PASS, f"{name} lost no datagram to a full buffer")
