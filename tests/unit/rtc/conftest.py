"""Certificates for the whole run: making them costs more than using them."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from rtcrelay.rtc.certificate import Certificate
from rtcrelay.rtc.dtls import DtlsIdentity


@pytest.fixture(scope="session")
def ours() -> DtlsIdentity:
    return DtlsIdentity()


@pytest.fixture(scope="session")
def theirs() -> DtlsIdentity:
    return DtlsIdentity()


@pytest.fixture(scope="session")
def rsa_peer() -> DtlsIdentity:
    return DtlsIdentity(Certificate.generate(rsa.generate_private_key(65537, 2048)))
