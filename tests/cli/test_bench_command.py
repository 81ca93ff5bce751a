"""``rtcrelay bench``: a relay on loopback loses and misroutes nothing, and says what it costs."""

from __future__ import annotations

import json

import pytest

from .conftest import Cli


@pytest.mark.timeout(60)
def test_a_relay_on_loopback_loses_nothing_at_a_low_rate(process: Cli) -> None:
    done = process("bench", "relay", "--seconds", "500ms", "--pps", "500", "--flows", "20", "--json")
    assert done.status == 0, done.err
    (row,) = json.loads(done.out)
    assert 200 <= row["sent"] <= 250
    assert (row["lost"], row["misrouted"]) == (0, 0)
    assert 0 < row["p50_us"] <= row["p99_us"] <= row["max_us"]
    assert row["cpu_ns"] > 0
    (worker,) = row["workers"]
    assert worker["receive_buffers"] >= 2 * row["sent"]


def test_ufrags_are_made_and_read(process: Cli) -> None:
    done = process("bench", "ufrag", "--seconds", "100ms", "--json")
    rows = json.loads(done.out)
    assert [row["what"] for row in rows] == ["mint", "open"]
    assert all(row["per_second"] > 0 for row in rows)


def test_a_wrong_rate_is_refused_with_its_option(process: Cli) -> None:
    done = process("bench", "relay", "--pps", "0")
    assert done.status == 2
    assert "--pps" in done.err
