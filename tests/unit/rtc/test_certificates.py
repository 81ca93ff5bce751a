"""Certificates and their fingerprints."""

from __future__ import annotations

from aiortc.rtcdtlstransport import certificate_digest

from rtcrelay.rtc.certificate import Certificate, Fingerprint, fingerprint_of, matches


def test_the_fingerprint_is_the_one_that_aiortc_computes() -> None:
    certificate = Certificate.generate()
    for algorithm in ("sha-256", "sha-384", "sha-512"):
        expected = f"{algorithm} {certificate_digest(certificate.x509, algorithm)}"
        assert str(fingerprint_of(certificate.x509, algorithm)) == expected
    assert certificate.fingerprint == fingerprint_of(certificate.x509, "sha-256")


def test_one_of_several_fingerprints_may_match() -> None:
    certificate = Certificate.generate()
    other = Fingerprint("sha-256", bytes(32))
    assert matches(certificate.x509, [other, certificate.fingerprint])
    assert not matches(certificate.x509, [other])
    assert not matches(certificate.x509, [])


def test_a_weaker_hash_does_not_count_beside_a_stronger_one() -> None:
    certificate = Certificate.generate()
    assert not matches(certificate.x509, [certificate.fingerprint, Fingerprint("sha-512", bytes(64))])


def test_two_certificates_differ() -> None:
    assert Certificate.generate().fingerprint != Certificate.generate().fingerprint
