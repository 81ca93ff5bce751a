"""All checks at once, each bounded in time; what does not answer is told and not waited for."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Final

from rtcrelay.doctor import files, kernel, network, redis, running
from rtcrelay.doctor.finding import Finding, Verdict
from rtcrelay.doctor.patient import Check, Patient

CHECKS: Final[tuple[tuple[str, Check], ...]] = (
    ("files.configuration", files.configuration),
    ("files.keys", files.keys),
    ("files.secrets", files.secrets),
    ("files.certificates", files.certificates),
    ("files.admin_sockets", files.admin_sockets),
    ("files.libraries", files.libraries),
    ("kernel.buffers", kernel.buffers),
    ("kernel.reuse_port", kernel.reuse_port),
    ("kernel.open_files", kernel.open_files),
    ("kernel.conntrack", kernel.conntrack),
    ("kernel.clock", kernel.clock),
    ("network.addresses", network.addresses),
    ("network.mtu", network.mtu),
    ("network.rp_filter", network.source_filter),
    ("network.vip", network.public_addresses),
    ("redis.server", redis.redis),
    ("running.services", running.services),
    ("running.keys", running.keys_in_use),
    ("running.overflows", running.overflows),
)
"""In the order of the answer. The name is for a check that has no answer."""
_MARGIN_SECONDS: Final = 1.0


def examine(patient: Patient, checks: Sequence[tuple[str, Check]] = CHECKS) -> list[Finding]:
    """Every finding, in the order of the checks. Takes little longer than ``patient.seconds``."""
    pool = ThreadPoolExecutor(len(checks))
    futures = [(name, pool.submit(_run, name, check, patient)) for name, check in checks]
    wait([future for _, future in futures], patient.seconds + _MARGIN_SECONDS)
    pool.shutdown(wait=False, cancel_futures=True)
    return [finding for name, future in futures for finding in _result(name, future)]


def _run(name: str, check: Check, patient: Patient) -> list[Finding]:
    try:
        return list(check(patient))
    except Exception as error:
        # A doctor who falls ill helps nobody: the other answers are wanted all the more.
        return [Finding(name, Verdict.SKIP, f"cannot tell: {type(error).__name__}: {error}")]


def _result(name: str, future: Future[list[Finding]]) -> list[Finding]:
    if future.done() and not future.cancelled():
        return future.result()
    return [Finding(name, Verdict.SKIP, "cannot tell: no answer in time")]
