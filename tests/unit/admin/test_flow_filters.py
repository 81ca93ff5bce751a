"""Which flows a filter means: any value of one kind, all kinds that were given."""

from __future__ import annotations

from typing import Any

import pytest

from rtcrelay.admin.flows import Filter, parse_matcher


def flow(**changes: Any) -> dict[str, Any]:
    claims = [{"next_hop": "10.0.3.7:7000"}, {"next_hop": "[fd00::7]:7000"}]
    return {"client": "198.51.100.7:5000", "claims": claims, "state": "strong", "idle_s": 2.0} | changes


@pytest.mark.parametrize(
    ("written", "address", "matches"),
    [
        ("198.51.100.7", "198.51.100.7:5000", True),
        ("198.51.100.7:5000", "198.51.100.7:5000", True),
        ("198.51.100.7:500", "198.51.100.7:5000", False),
        ("198.51.100.0/24", "198.51.100.7:5000", True),
        ("198.51.100.0/24", "198.51.101.7:5000", False),
        ("::ffff:198.51.100.7", "198.51.100.7:1", True),
        ("2001:db8::/32", "[2001:db8::1]:5", True),
        ("2001:db8::/32", "198.51.100.7:5", False),
        ("[2001:db8:0::1]:5", "[2001:db8::1]:5", True),
        ("2001:db8::1", "[2001:db8::1]:5", True),
    ],
)
def test_an_address_a_network_and_a_socket_address_match(written: str, address: str, matches: bool) -> None:
    assert parse_matcher(written)(address) is matches


@pytest.mark.parametrize("written", ["", "x", "10.0.0.1/8", "host:5", "10.0.0.0/8:5", "[::1", ":5"])
def test_anything_else_is_refused(written: str) -> None:
    with pytest.raises(ValueError, match="is no address, expected IP, CIDR, IP:PORT"):
        parse_matcher(written)


def test_values_of_one_kind_are_or_and_kinds_are_and() -> None:
    here, there = parse_matcher("198.51.100.0/24"), parse_matcher("192.0.2.1")
    assert Filter(sources=(there, here)).takes(flow())
    assert not Filter(sources=(there,)).takes(flow())
    assert Filter(sources=(here,), destinations=(parse_matcher("fd00::7"),), states=("weak", "strong")).takes(flow())
    assert not Filter(sources=(here,), states=("weak",)).takes(flow())
    assert not Filter(destinations=(here,)).takes(flow(claims=[]))
    assert Filter(idle_above_seconds=(10.0, 1.0)).takes(flow())
    assert not Filter(idle_above_seconds=(10.0,)).takes(flow())


def test_no_filter_means_every_flow() -> None:
    assert not Filter()
    assert Filter().takes(flow(claims=[]))
