"""Real processes for each test: a relay and two transceivers, started as an operator would, ended by their ids."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from rtcrelay.client.demo.site import Site


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    """One relay and the transceivers a and b on loopback, all ready."""
    site = Site(tmp_path)
    try:
        await site.start()
        yield site
    finally:
        await site.stop()
