"""``rtcrelay steer explain``: what the steering would decide for a place or an address, and why."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from mmdb_writer import MMDBWriter
from netaddr import IPSet  # type: ignore[import-untyped]  # it has no types

Cli = Callable[..., Any]
PLACES = {"eu": (50.11, 8.68), "ap": (-33.87, 151.21)}


@pytest.fixture
def sites(tmp_path: Path) -> str:
    text = ""
    for number, (name, (latitude, longitude)) in enumerate(PLACES.items()):
        place = f"latitude = {latitude}\nlongitude = {longitude}\n"
        text += f'[[ingresses]]\nname = "{name}-in"\naddress = "203.0.113.{number}:3478"\n{place}'
        text += f'[[clusters]]\nid = {number}\nname = "{name}"\n{place}'
    path = tmp_path / "sites.toml"
    path.write_text(text)
    return str(path)


@pytest.fixture
def config(tmp_path: Path, sites: str) -> str:
    """As of ``serve signaling``, with a database of places."""
    writer = MMDBWriter(4, "GeoLite2-City", languages=["en"], float_type="f64")
    writer.insert_network(IPSet(["198.51.100.0/24"]), {"location": {"latitude": -37.8, "longitude": 144.9}})
    writer.to_db_file(str(tmp_path / "places.mmdb"))
    path = tmp_path / "signaling.toml"
    path.write_text(
        f'[signaling]\nsites = "{sites}"\ngeo_database = "{tmp_path / "places.mmdb"}"\ntold_ingresses = 1\n'
    )
    return str(path)


def order(done: Any) -> tuple[list[str], list[str]]:
    """(clusters, ingresses that are told), in order."""
    row = json.loads(done.out)
    told = [each["name"] for each in row["ingresses"] if each["told"]]
    return [each["name"] for each in row["clusters"]], told


def test_the_nearest_come_first(cli: Cli, sites: str) -> None:
    for place, clusters in (("48.86,2.35", ["eu", "ap"]), ("-37.8,144.9", ["ap", "eu"])):
        done = cli("steer", "explain", "--sites", sites, "--from", place, "--json")
        assert done.status == 0, done.err
        assert order(done) == (clusters, [f"{name}-in" for name in clusters])


def test_an_address_is_looked_up_as_signaling_would(cli: Cli, config: str) -> None:
    done = cli("steer", "explain", "-c", config, "--from", "198.51.100.7", "--json")
    assert done.status == 0, done.err
    assert order(done) == (["ap", "eu"], ["ap-in"]), "and as many are told"


def test_why_not_is_said(cli: Cli, sites: str) -> None:
    text = Path(sites).read_text().replace('name = "eu"', 'name = "eu"\ncordoned = true')
    Path(sites).write_text(text)
    done = cli("steer", "explain", "--sites", sites, "--from", "48.86,2.35")
    assert done.status == 0
    assert "is cordoned" in done.out
    Path(sites).write_text(text.replace('name = "ap"', 'name = "ap"\ncordoned = true'))
    assert cli("steer", "explain", "--sites", sites, "--from", "48.86,2.35").status == 1


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (["--from", "198.51.100.7"], 2, "an IP address needs --geo-database FILE"),
        (["--from", "91,0"], 2, "'91,0' is not on earth"),
        (["--from", "48.86,2.35", "--told", "9"], 2, "--told: '9' is not a whole number from 1 to 8"),
        (["--from", "198.51.100.7", "--geo-database", "/nonexistent"], 78, "cannot read database /nonexistent"),
        (["-A", "/nonexistent"], 69, "/nonexistent"),
    ],
)
def test_what_cannot_be_is_said(cli: Cli, sites: str, arguments: list[str], status: int, said: str) -> None:
    done = cli("steer", "explain", "--sites", sites, *arguments)
    assert (done.status, said in done.err) == (status, True), done.err
