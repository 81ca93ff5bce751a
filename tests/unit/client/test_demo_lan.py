"""Callers from the network get a fresh token and certificate, and only addresses of this machine are taken."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest

from rtcrelay.client.demo.lan import local_address, write_access
from rtcrelay.client.demo.site import Site, SiteOptions


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("phone", "is not an IPv4 address"),
        ("::1", "is not an IPv4 address"),
        ("0.0.0.0", "is not the address of one machine"),
        ("224.0.0.1", "is not the address of one machine"),
        ("192.0.2.1", "is not an address of this machine"),
    ],
)
def test_an_address_that_is_not_this_machines_is_refused(text: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        local_address(text)


def test_an_address_of_this_machine_is_taken() -> None:
    assert local_address("127.0.0.1") == "127.0.0.1"


def test_token_and_keys_are_new_each_time_and_their_owners_alone(tmp_path: Path) -> None:
    accesses = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        accesses.append(write_access("127.0.0.1", tmp_path / name))
    first, second = accesses
    assert first.token != second.token
    assert first.fingerprint != second.fingerprint
    assert len(first.token) == 32
    assert first.token_file.read_text() == first.token
    assert {file.stat().st_mode & 0o777 for file in (tmp_path / "one").iterdir()} == {0o600}


def test_a_tls_stack_takes_the_certificate_for_that_address(tmp_path: Path) -> None:
    access = write_access("127.0.0.1", tmp_path)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(access.cert_file, access.key_file)
    client = ssl.create_default_context(cafile=str(access.cert_file))
    to_client, to_server = ssl.MemoryBIO(), ssl.MemoryBIO()
    there = client.wrap_bio(to_client, to_server, server_hostname="127.0.0.1")
    here = server.wrap_bio(to_server, to_client, server_side=True)
    for _ in range(4):
        for end in (there, here):
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                continue
    certificate = there.getpeercert()
    assert certificate is not None
    assert certificate["subjectAltName"] == (("IP Address", "127.0.0.1"),)


def test_a_site_for_the_network_has_https_and_its_token_in_the_fragment(tmp_path: Path) -> None:
    site = Site(tmp_path, SiteOptions(lan="127.0.0.1"))
    assert site.access is not None
    for node in site.transceivers:
        assert node.url.startswith("https://127.0.0.1:")
        assert node.page == node.url.removesuffix("whip") + f"#token={site.access.token}"
        assert site.access.token not in " ".join(node.daemon.arguments)
