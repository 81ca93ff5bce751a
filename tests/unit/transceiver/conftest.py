"""A transceiver without sockets for each test."""

from __future__ import annotations

from pathlib import Path

import pytest

from .network import Caller, Network


@pytest.fixture
def network(tmp_path: Path) -> Network:
    return Network.make(tmp_path)


@pytest.fixture
def caller(network: Network) -> Caller:
    """A caller whose offer was accepted, and nothing more."""
    return Caller(network)


@pytest.fixture
def call(caller: Caller) -> Caller:
    """A caller whose call is set up."""
    caller.connect()
    return caller
