"""The demo's processes, started where a directory has the package's name: a fresh clone, for example."""

from __future__ import annotations

from pathlib import Path

import pytest

from rtcrelay.client.demo.site import Site, SiteOptions


async def test_a_directory_of_the_packages_name_is_not_taken_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "rtcrelay"
    source.mkdir()
    (source / "__init__.py").write_text("raise RuntimeError('this is not what was installed')\n")
    monkeypatch.chdir(tmp_path)
    site = Site(tmp_path, SiteOptions(nodes=("a",)))
    try:
        await site.start()
        assert (await site.relay.admin.stats()).count("panics") == 0
    finally:
        await site.stop()
