"""Is the kernel set up for many small packets, and does the clock go right?"""

from __future__ import annotations

import ctypes
import os
import resource
import socket
from collections.abc import Iterator
from typing import Final

from rtcrelay.doctor.finding import Finding, Verdict
from rtcrelay.doctor.patient import Patient

RELAY_BUFFER: Final = 8_388_608
"""What a relay asks for each socket, in bytes (`RelayConfig`)."""
TRANSCEIVER_BUFFER: Final = 4_194_304
"""What a transceiver asks for its socket, in bytes."""
LEAST_FILES: Final = 4096
"""Chosen: 1024 connections of signaling, as many of metrics and admin, and room."""
_TIME_ERROR: Final = 5  # <sys/timex.h>: the clock is not synchronized
_TIMEX_BYTES: Final = 256  # struct timex has 208


def buffers(patient: Patient) -> Iterator[Finding]:
    """Socket buffers hold what comes while nobody reads; the kernel cuts what is asked for."""
    wanted = RELAY_BUFFER if patient.relay or not patient.transceiver else TRANSCEIVER_BUFFER
    for name in ("rmem_max", "wmem_max"):
        check, allowed = f"kernel.{name}", patient.read_number(f"proc/sys/net/core/{name}")
        if allowed is None:
            yield Finding(check, Verdict.SKIP, f"net.core.{name} is not shown here")
        elif allowed < wanted:
            remedy = f"sysctl -w net.core.{name}={wanted}"
            yield Finding(check, Verdict.WARN, f"{allowed} bytes, services ask for {wanted}", remedy)
        else:
            yield Finding(check, Verdict.PASS, f"{allowed} bytes")


def reuse_port(patient: Patient) -> Iterator[Finding]:
    """Several workers share one address by SO_REUSEPORT."""
    del patient
    try:
        with socket.socket(type=socket.SOCK_DGRAM) as one, socket.socket(type=socket.SOCK_DGRAM) as other:
            for each in (one, other):
                each.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            one.bind(("127.0.0.1", 0))
            other.bind(one.getsockname())
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        yield Finding("kernel.reuse_port", Verdict.FAIL, f"two sockets cannot share an address: {reason}", "uname -r")
    else:
        yield Finding("kernel.reuse_port", Verdict.PASS, "two sockets share an address")


def open_files(patient: Patient) -> Iterator[Finding]:
    """Each connection is a file; with too few, nobody can call. Running services are asked, else this shell."""
    limits = {f"process {pid}": limit for pid in _pids(patient) if (limit := _limit_of(patient, pid)) is not None}
    if not limits:
        limits = {"this shell": resource.getrlimit(resource.RLIMIT_NOFILE)[0]}
    for who, limit in limits.items():
        if limit != resource.RLIM_INFINITY and limit < LEAST_FILES:
            message = f"{who} may open {limit} files, expected {LEAST_FILES} or more"
            number = who.rpartition(" ")[2]
            remedy = f"prlimit --pid {number} --nofile=65536" if number.isdecimal() else "ulimit -n 65536"
            yield Finding("kernel.open_files", Verdict.WARN, message, remedy)
        else:
            shown = "any number of" if limit == resource.RLIM_INFINITY else limit
            yield Finding("kernel.open_files", Verdict.PASS, f"{who} may open {shown} files")


def clock(patient: Patient) -> Iterator[Finding]:
    """Entries in Redis and keys carry times of the wall clock."""
    del patient
    state = _clock_state()
    if state is None:
        yield Finding("kernel.clock", Verdict.SKIP, "the kernel does not say whether the clock is synchronized")
    elif state == _TIME_ERROR:
        yield Finding("kernel.clock", Verdict.WARN, "the clock is not synchronized", "timedatectl set-ntp true")
    else:
        yield Finding("kernel.clock", Verdict.PASS, "the clock is synchronized")


def conntrack(patient: Patient) -> Iterator[Finding]:
    """Connection tracking has a table of its own, and drops packets when it is full."""
    most = patient.read_number("proc/sys/net/netfilter/nf_conntrack_max")
    count = patient.read_number("proc/sys/net/netfilter/nf_conntrack_count")
    check = "kernel.conntrack"
    if most is None:
        yield Finding(check, Verdict.PASS, "connections are not tracked")
        return
    flows = patient.relay.max_flows if patient.relay else 0
    remedy = f"sysctl -w net.netfilter.nf_conntrack_max={max(2 * flows, 2 * most)}"
    if count is not None and count > 0.8 * most:
        verdict = Verdict.FAIL if count > 0.95 * most else Verdict.WARN
        yield Finding(check, verdict, f"{count} of {most} tracked connections are in use", remedy)
    elif most < flows:
        remedy = f"sysctl -w net.netfilter.nf_conntrack_max={2 * flows}"
        message = f"{most} connections can be tracked, and the relay takes {flows} paths"
        yield Finding(check, Verdict.WARN, message, remedy)
    else:
        yield Finding(check, Verdict.PASS, f"{'?' if count is None else count} of {most} tracked connections in use")


def _pids(patient: Patient) -> Iterator[int]:
    for admin in patient.admins:
        try:
            yield int(admin.read("/v1/stats")["pid"])
        except Exception:  # noqa: S112  # `running.services` tells of it
            continue


def _limit_of(patient: Patient, pid: int) -> int | None:
    for line in (patient.read(f"proc/{pid}/limits") or "").splitlines():
        if line.startswith("Max open files"):
            word = line.split()[3]
            return resource.RLIM_INFINITY if word == "unlimited" else int(word)
    return None


def _clock_state() -> int | None:
    """adjtimex(2), asked and not set; None if it is not to be had."""
    try:
        state = int(ctypes.CDLL(None, use_errno=True).adjtimex(ctypes.create_string_buffer(_TIMEX_BYTES)))
    except (OSError, AttributeError):
        return None
    return state if state >= 0 and os.name == "posix" else None
