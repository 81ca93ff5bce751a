"""Places out of a MaxMind database: what is there, and what is not."""

from __future__ import annotations

from pathlib import Path

import pytest
from mmdb_writer import MMDBWriter
from netaddr import IPSet  # type: ignore[import-untyped]  # it has no types

from rtcrelay.config.sites import Place
from rtcrelay.errors import ConfigError
from rtcrelay.signaling.geo import open_database


@pytest.fixture
def database(tmp_path: Path) -> Path:
    writer = MMDBWriter(6, "GeoLite2-City", languages=["en"], ipv4_compatible=True, float_type="f64")
    writer.insert_network(IPSet(["198.51.100.0/24"]), {"location": {"latitude": 48.86, "longitude": 2.35}})
    writer.insert_network(IPSet(["203.0.113.0/24"]), {"country": {"iso_code": "FR"}})
    writer.insert_network(IPSet(["2001:db8::/32"]), {"location": {"latitude": -33.87, "longitude": 151.21}})
    path = tmp_path / "places.mmdb"
    writer.to_db_file(str(path))
    return path


def test_an_address_is_looked_up(database: Path) -> None:
    look_up = open_database(database)
    assert look_up("198.51.100.7") == Place(48.86, 2.35)
    assert look_up("2001:db8::1") == Place(-33.87, 151.21)


@pytest.mark.parametrize("address", ["203.0.113.1", "192.0.2.1", "", "nonsense"])
def test_an_address_without_a_place_is_nowhere(database: Path, address: str) -> None:
    assert open_database(database)(address) is None


def test_a_file_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot read database .*none.mmdb: no such file or directory"):
        open_database(tmp_path / "none.mmdb")
    (tmp_path / "text.mmdb").write_text("no database" * 100)
    with pytest.raises(ConfigError, match="is no MaxMind database"):
        open_database(tmp_path / "text.mmdb")
