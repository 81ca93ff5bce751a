"""Keys and values of routes in Redis."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtcrelay.store.route_entry import PathKey, RouteEntry, read_entry, read_key

ENTRY = RouteEntry(7, ("10.0.3.1", 7000), "10.0.0.5:3479", 1_700_000_000_000, 1_700_000_150_000)


def test_a_key_is_written_as_documented_and_read_back() -> None:
    for address, text in (
        (("198.51.100.7", 51234), "rtcrelay:1:f:3479:51234:198.51.100.7"),
        (("2001:db8::5", 4000), "rtcrelay:1:f:3479:4000:2001:db8::5"),
    ):
        key = PathKey(address, 3479)
        assert key.text() == text
        assert read_key(text) == key


def test_a_value_is_written_as_documented_and_read_back() -> None:
    assert ENTRY.text() == "1|7|10.0.3.1:7000|10.0.0.5:3479|1700000000000|1700000150000"
    assert read_entry(ENTRY.text()) == ENTRY
    six = RouteEntry(7, ("2001:db8::9", 7000), "[2001:db8::1]:3479", 1, 2)
    assert six.text() == "1|7|[2001:db8::9]:7000|[2001:db8::1]:3479|1|2"
    assert read_entry(six.text()) == six


@pytest.mark.parametrize(
    "text",
    [
        "",
        "2|7|10.0.3.1:7000|r|1|2",
        "1|7|10.0.3.1:7000|r|1",
        "1|7|10.0.3.1:7000|r|1|2|3",
        "1|70000|10.0.3.1:7000|r|1|2",
        "1|7|10.0.3.1:0|r|1|2",
        "1|7|10.0.3.1:70000|r|1|2",
        "1|7|nowhere:7000|r|1|2",
        "1|7|fe80::1%eth0:7000|r|1|2",
        "1|-7|10.0.3.1:7000|r|1|2",
        "1|7|10.0.3.1:7000|r|one|2",
        "1|7|10.0.3.1:7000|r|1|²",
        "1|7|10.0.3.1:7000|" + "r" * 300 + "|1|2",
    ],
)
def test_a_value_of_somebody_else_reads_as_none(text: str) -> None:
    assert read_entry(text) is None


@given(st.text(max_size=300))
def test_any_text_is_a_key_and_a_value_or_is_not(text: str) -> None:
    for read in (read_key, read_entry):
        result = read(text)
        assert result is None or isinstance(result, PathKey | RouteEntry)
    assert read_key("rtcrelay:1:f:" + text) is None or ":" in text
