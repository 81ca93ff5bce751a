"""Routes read by the page: what operators see, and what is counted instead."""

from __future__ import annotations

import pytest

from rtcrelay.store.route_entry import PathKey, RouteEntry
from rtcrelay.store.route_filter import RouteFilter
from rtcrelay.store.route_rows import RouteReader, RouteRow

NOW = 1_800_000_000_000
KEY = b"rtcrelay:1:f:3479:51234:198.51.100.7"
VALUE = b"1|7|10.0.3.1:7000|10.0.0.5:3479|1799999990000|1800000140000"


def read(key: bytes, value: bytes | None) -> tuple[list[RouteRow], int]:
    reader = RouteReader({(7, "10.0.3.1:7000"): "a"}, NOW)
    return reader.read([(key, value)]), reader.malformed_count


def test_a_route_is_read_as_a_relay_writes_it() -> None:
    path = PathKey(("2001:db8::1", 9), 3480)
    entry = RouteEntry(7, ("10.0.3.1", 7000), "[fd00::5]:3479", NOW - 2000, NOW + 3000)
    (row,), malformed = read(path.text().encode(), entry.text().encode())
    assert malformed == 0
    assert (row.client, row.ingress, row.cluster, row.next_hop) == ("[2001:db8::1]:9", 3480, 7, "10.0.3.1:7000")
    assert (row.node, row.relay, row.age_s, row.ttl_s) == ("a", "[fd00::5]:3479", 2.0, 3.0)
    assert row.key() == path.text()


@pytest.mark.parametrize(
    ("key", "value"),
    [
        (KEY, b""),
        (KEY, b"\xff"),
        (KEY, VALUE.replace(b"1|7", b"2|7")),
        (KEY, VALUE.replace(b"|7|", b"|65536|")),
        (KEY, VALUE.replace(b"|7|", b"|x|")),
        (KEY, VALUE.replace(b"10.0.3.1", b"host")),
        (KEY, VALUE.replace(b":7000", b":0")),
        (KEY, VALUE.replace(b"|1799999990000", b"")),
        (KEY, VALUE.replace(b"1799999990000", b"-1")),
        (KEY, VALUE.replace(b"1799999990000", b"soon")),
        (KEY, VALUE.replace(b"1799999990000", b"9" * 17)),
        (KEY, VALUE.replace(b"1799999990000", b"9" * 5000)),
        (KEY, VALUE + b"|1"),
        (KEY.replace(b"3479", b"0"), VALUE),
        (KEY.replace(b"3479", b"65536"), VALUE),
        (KEY.replace(b"51234", b"x"), VALUE),
        (KEY.replace(b"51234", b"\n5"), VALUE),
        (KEY.replace(b"51234", b"5_1"), VALUE),
        (KEY.replace(b"3479", b" 9"), VALUE),
        (KEY.replace(b"51234", "٣".encode()), VALUE),
        (KEY.replace(b"198.51.100.7", b"198.51.100"), VALUE),
        (KEY.replace(b"198.51.100.7", b""), VALUE),
        (KEY + b"\xff", VALUE),
        (b"rtcrelay:1:f:", VALUE),
    ],
)
def test_what_is_no_route_is_counted_and_never_raised(key: bytes, value: bytes) -> None:
    assert read(key, value) == ([], 1)


def test_a_key_that_has_just_gone_is_nothing() -> None:
    assert read(KEY, None) == ([], 0)


def test_a_filter_looks_for_one_client_on_the_server() -> None:
    assert RouteFilter().pattern == "rtcrelay:1:f:*"
    assert not RouteFilter()
    assert RouteFilter(exact=("198.51.100.7", "9")).pattern == "rtcrelay:1:f:*:9:198.51.100.7"
    assert RouteFilter(exact=("198.51.100.7", "*"), ingresses=(3479,)).pattern == "rtcrelay:1:f:3479:*:198.51.100.7"
    assert RouteFilter(ingresses=(1, 2)).pattern == "rtcrelay:1:f:*"
