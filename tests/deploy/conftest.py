"""A machine with systemd, once for all tests of this directory."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from .guide import blocks
from .machine import DEPLOY, Machine

README = DEPLOY / "systemd" / "README.md"


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[Machine]:
    """A machine where rtcrelay was installed as the README says, up to the services of one host."""
    if os.geteuid() != 0:
        pytest.skip("a container of systemd needs root: sudo tests/check.sh")
    directory: Path = tmp_path_factory.mktemp("machine")
    with Machine(directory) as machine:
        # The kernel's settings are the machine's below and read-only here: sysctl writes into files instead.
        machine.run("mount -t tmpfs none /proc/sys/net/core && cd /proc/sys/net/core && touch rmem_max wmem_max")
        machine.follow(*blocks(README)[1:3])
        yield machine
