"""Paths of a running relay, read back and learned by a core: as they were, or not at all."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest

from rtcrelay._dataplane import Core, KeyRing, Policy, RelayConfig
from rtcrelay.debug.captures import Packet
from rtcrelay.debug.explanation import Explainer, Sides
from rtcrelay.debug.flow_map import Ways, read_flow_map, teach
from rtcrelay.errors import DataError

RING = KeyRing([(2, bytes(16), "active")])
LISTENERS = [(("203.0.113.10", 3478), ("10.0.0.5", 3479))]
NODES = {17: ("fd00::7", 7000)}
CONFIG = RelayConfig(
    LISTENERS, Policy(RING, cluster=7, transceivers=["10.0.3.0/24:7000", "[fd00::/64]:7000"], nodes=NODES)
)
WAYS = Ways(RING, 7, NODES)
A, B, C, IPV6 = "10.0.3.7:7000", "10.0.3.8:7000", "10.0.3.9:7000", "[fd00::7]:7000"


def claim(next_hop: str, state: str, key_id: int | None = 2, idle_s: float = 1.0) -> dict[str, Any]:
    return {"next_hop": next_hop, "state": state, "key_id": key_id, "idle_s": idle_s}


def row(client: str, *claims: dict[str, Any], ingress: int = 3479) -> dict[str, Any]:
    return {"kind": "flow", "v": 1, "client": client, "ingress": ingress, "claims": list(claims), "age_s": 9.0}


def listing(*rows: object) -> io.BytesIO:
    return io.BytesIO(b"".join(json.dumps(each).encode() + b"\n" for each in rows))


def learned(*rows: dict[str, Any]) -> tuple[int, dict[str, list[tuple[Any, ...]]]]:
    known = read_flow_map(listing(*rows), "flows")
    core = Core(CONFIG)
    taken = teach(core, known, LISTENERS, WAYS)
    return taken, {
        f"{flow.client[0]}:{flow.client[1]}": sorted(
            (claim.next_hop[0], claim.state, claim.key_id, round(claim.idle_seconds, 3)) for claim in flow.claims
        )
        for flow in core.flows(known.oldest_seconds)
    }


def test_every_state_is_learned_as_it_was() -> None:
    taken, flows = learned(
        row("198.51.100.7:1", claim(A, "strong"), claim(B, "weak", idle_s=3.0), claim(C, "pending", idle_s=0.5)),
        row("198.51.100.7:2", claim(A, "strong", None, 4.0)),
        row("198.51.100.7:3", claim(IPV6, "strong", 2, 0.25)),
    )
    assert taken == 5
    assert flows == {
        "198.51.100.7:1": [
            ("10.0.3.7", "strong", 2, 1.0),
            ("10.0.3.8", "weak", 2, 3.0),
            ("10.0.3.9", "pending", 2, 0.5),
        ],
        "198.51.100.7:2": [("10.0.3.7", "strong", None, 4.0)],
        "198.51.100.7:3": [("fd00::7", "strong", 2, 0.25)],
    }


def test_what_was_learned_twice_on_one_path_is_taken_too() -> None:
    taken, flows = learned(
        row("198.51.100.7:1", claim(A, "strong", None), claim(B, "strong", None), claim(C, "weak", None))
    )
    assert taken == 3
    assert [state for _, state, _, _ in flows["198.51.100.7:1"]] == ["strong", "strong", "weak"]


def test_other_ingresses_and_what_the_settings_do_not_allow_are_left_out() -> None:
    taken, flows = learned(
        row("198.51.100.7:1", claim(A, "strong"), ingress=4000),
        row("198.51.100.7:2", claim("192.0.2.9:7000", "strong", None)),
        row("198.51.100.7:3", claim(A, "strong")),
    )
    assert (taken, list(flows)) == (1, ["198.51.100.7:3"])


def test_explain_starts_with_what_was_known() -> None:
    explainer = Explainer(CONFIG, Sides(LISTENERS))
    known = read_flow_map(listing(row("198.51.100.7:1", claim(A, "strong", idle_s=18.5))), "flows")
    assert explainer.learn(known, WAYS) == 1
    rtp = b"\x80\x60" + bytes(30)
    packets = [Packet(n, at * 10**9, ("198.51.100.7", 1), LISTENERS[0][0], rtp) for n, at in enumerate((50, 51, 53), 1)]
    found = list(explainer.explain(packets))
    # Nothing has come back for 20 seconds by the third.
    assert [one.verdict.action for one in found] == ["forward", "forward", "drop"]
    assert [one.claims for one in found] == [(), (), ()]
    assert [explainer.elapsed_seconds(packet) for packet in packets] == [0.0, 1.0, 3.0]


def test_an_array_is_read_like_lines() -> None:
    rows = [row("198.51.100.7:1", claim(A, "strong")), row("198.51.100.7:2")]
    assert read_flow_map(io.BytesIO(json.dumps(rows, indent=2).encode()), "x") == read_flow_map(listing(*rows), "x")
    assert read_flow_map(io.BytesIO(b""), "x").paths == 0
    assert read_flow_map(io.BytesIO(b"[]"), "x").paths == 0


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"{", "x line 1: not JSON"),
        (b"[{", "x is not JSON"),
        (b"[" * 100_000, "x is not JSON"),
        (b"\n\n17\n", "x line 3: not a flow"),
        (b'{"kind":"session"}\n', "x line 1: a 'session', expected a flow"),
        (b'{"kind":"flow"}\n', "x line 1: not a flow: 'claims'"),
        (json.dumps(row("198.51.100.7", claim(A, "strong"))).encode(), "has no port"),
        (json.dumps(row("198.51.100.7:1", claim(A, "good"))).encode(), "state 'good'"),
        (json.dumps(row("198.51.100.7:1", claim(A, "weak", 9))).encode(), "key_id 9"),
        (json.dumps(row("198.51.100.7:1", claim(A, "weak", 2, -1.0))).encode(), "idle_s -1.0"),
        (json.dumps(row("198.51.100.7:1", claim(A, "weak"), ingress=70_000)).encode(), "ingress 70000"),
        (b"\x00" * 200_000, "x line 1: not JSON"),
    ],
)
def test_anything_else_is_an_error_that_names_the_line(content: bytes, message: str) -> None:
    with pytest.raises(DataError) as caught:
        read_flow_map(io.BytesIO(content), "x")
    assert message in str(caught.value)
