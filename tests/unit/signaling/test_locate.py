"""A client's place: who is believed."""

from __future__ import annotations

import ipaddress

import pytest
from multidict import CIMultiDict

from rtcrelay.config.sites import Place
from rtcrelay.signaling.locate import Locator, Whereabouts

PROXIES = [ipaddress.ip_network("10.0.0.0/8"), ipaddress.ip_network("fd00::/8")]
CLOUDFLARE = {"cf-connecting-ip": "198.51.100.7", "cf-iplatitude": "48.86", "cf-iplongitude": "2.35"}
PARIS = Place(48.86, 2.35)


def locate(peer: str, headers: dict[str, str], at: str | None = None, **more: bool) -> Whereabouts:
    lookup = {"198.51.100.9": Place(1, 2)}.get
    return Locator(PROXIES, lookup, **more).locate(peer, CIMultiDict(headers), at)


@pytest.mark.parametrize("peer", ["10.0.0.9", "::ffff:10.0.0.9", "fd00::1"])
def test_a_trusted_proxy_says_who_and_where_the_client_is(peer: str) -> None:
    assert locate(peer, CLOUDFLARE) == Whereabouts("198.51.100.7", PARIS, "cloudflare")


@pytest.mark.parametrize("peer", ["192.0.2.1", "2001:db8::1", "", "fe80::1%eth0"])
def test_nobody_else_is_believed(peer: str) -> None:
    assert locate(peer, CLOUDFLARE) == Whereabouts(peer, None, "unknown")


@pytest.mark.parametrize(
    ("header", "client"),
    [
        ("198.51.100.7", "198.51.100.7"),
        ("203.0.113.66, 198.51.100.7, 10.0.0.3", "198.51.100.7"),
        ("rubbish, 10.0.0.3", "10.0.0.9"),
        ("", "10.0.0.9"),
        ("10.0.0.3", "10.0.0.9"),
    ],
)
def test_of_a_list_of_proxies_the_last_stranger_is_the_client(header: str, client: str) -> None:
    assert locate("10.0.0.9", {"X-Forwarded-For": header}).address == client


def test_the_database_knows_what_no_header_says() -> None:
    assert locate("198.51.100.9", {}) == Whereabouts("198.51.100.9", Place(1, 2), "database")
    assert locate("10.0.0.9", {"X-Forwarded-For": "198.51.100.9"}).source == "database"


@pytest.mark.parametrize("wrong", ["", "91", "nan", "48,86", "1e999", "\u0664\u0668x"])
def test_a_place_that_is_none_is_as_good_as_unknown(wrong: str) -> None:
    assert locate("10.0.0.9", {**CLOUDFLARE, "cf-iplatitude": wrong}).place is None


def test_the_query_counts_only_where_it_is_allowed() -> None:
    assert locate("192.0.2.1", {}, "48.86,2.35").place is None
    assert locate("192.0.2.1", {}, "48.86,2.35", query=True) == Whereabouts("192.0.2.1", PARIS, "query")
    assert locate("192.0.2.1", {}, "here", query=True).source == "unknown"
