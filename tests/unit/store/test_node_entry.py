"""Heartbeats and orders as text: what is read is what was written, and nothing else is."""

from __future__ import annotations

import json
from typing import Any

import pytest
from store.played import heartbeat

from rtcrelay.store.node_entry import (
    MAX_BYTES,
    Ingress,
    Order,
    Process,
    read_heartbeat,
    read_member,
    read_order,
    write_entry,
)

RELAY = heartbeat(
    role="relay",
    node="10.0.0.5:3479",
    media=None,
    http=None,
    ingresses=[Ingress(3479, "0.0.0.0:3478", "10.0.0.5:3479"), Ingress(3480, "[::]:3478", "[fd00::5]:3480")],
)


def test_what_is_written_is_read() -> None:
    node = heartbeat(node_id=17)
    assert read_heartbeat("7:a", write_entry(node).encode()) == node
    assert read_heartbeat("7:10.0.0.5:3479", write_entry(RELAY).encode()) == RELAY
    order = Order(state="draining", by="me@here", at_ms=5, instance="00" * 8, deadline_seconds=60.0)
    assert read_order(write_entry(order).encode()) == order
    assert (node.address, node.media_address, RELAY.address) == ("10.0.3.1:7000", ("10.0.3.1", 7000), "10.0.0.5:3479")


def test_a_field_of_a_later_version_is_passed_over() -> None:
    later = json.loads(write_entry(RELAY)) | {"region": "eu"}
    assert read_heartbeat("7:10.0.0.5:3479", json.dumps(later).encode()) == RELAY


@pytest.mark.parametrize(
    "changes",
    [
        {"v": 2},
        {"kind": "flow"},
        {"role": "other"},
        {"node": "b"},
        {"node": ""},
        {"cluster": 65_536},
        {"cluster": -1},
        {"cluster": 8},
        {"cluster": "7"},
        {"state": "gone"},
        {"media": None},
        {"media": "10.0.3.1"},
        {"media": "host:7000"},
        {"media": "x" * 101},
        {"http": "10.0.3.1:99999"},
        {"node_id": 2**32},
        {"beat_ms": -1},
        {"beat_ms": 2**60},
        {"keys": None},
        {"keys": [{"id": 8, "state": "active", "fingerprint": "0123abcd"}]},
        {"keys": [{"id": 0, "state": "active", "fingerprint": "secret"}]},
        {"keys": [{"id": 0, "state": "active", "fingerprint": "0123abcd"}] * 9},
        {"load": {"used": 1, "max": 2, "cpu": "much"}},
        {"load": {"used": 1, "max": 2, "cpu": -1.0}},
        {"process": None},
        {"ingresses": [{"id": 3479, "public": "0.0.0.0:3478", "internal": "10.0.0.5:3479"}]},
    ],
    ids=str,
)
def test_a_wrong_value_makes_the_whole_heartbeat_none(changes: dict[str, Any]) -> None:
    fields = json.loads(write_entry(heartbeat())) | changes
    assert read_heartbeat("7:a", json.dumps(fields).encode()) is None


@pytest.mark.parametrize(
    "value",
    [
        None,
        5,
        "text",
        b"",
        b"null",
        b"[]",
        b"{",
        b"\xff\xfe",
        b"[" * 8000,
        b'{"v":1}',
        b" " * MAX_BYTES,
        Exception("x"),
    ],
    ids=lambda value: repr(value)[:20],
)
def test_rubbish_reads_as_none_and_raises_nothing(value: object) -> None:
    assert read_heartbeat("7:a", value) is None
    assert read_order(value) is None


def test_an_entry_under_another_name_is_none() -> None:
    assert read_heartbeat("7:b", write_entry(heartbeat()).encode()) is None
    assert read_heartbeat("8:a", write_entry(heartbeat()).encode()) is None


@pytest.mark.parametrize("by", ["", "two words", "line\nbreak", "\x1b[2J", "x" * 101])
def test_who_gives_an_order_is_one_printable_word(by: str) -> None:
    assert read_order(write_entry(Order(state="cordoned", by=by, at_ms=1)).encode()) is None


@pytest.mark.parametrize(
    ("member", "expected"),
    [
        (b"7:a", "7:a"),
        (b"0:10.0.0.5:3479", "0:10.0.0.5:3479"),
        (b"0:[fd00::5]:3479", "0:[fd00::5]:3479"),
        (b"", None),
        (b"7", None),
        (b"7:", None),
        (b"x:a", None),
        (b"65536:a", None),
        (b"7:a b", None),
        (b"7:\xff", None),
        (b"7:" + b"a" * 200, None),
        (None, None),
        (7, None),
    ],
)
def test_only_our_members_of_the_index_are_read(member: object, expected: str | None) -> None:
    assert read_member(member) == expected


def test_no_secret_is_in_a_heartbeat() -> None:
    assert set(json.loads(write_entry(RELAY))["keys"][0]) == {"id", "state", "fingerprint"}
    assert Process.__struct_fields__ == ("instance", "host", "pid", "version", "started_ms")
