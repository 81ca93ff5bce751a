"""The file of sites: what is accepted, and what is said about the rest."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtcrelay.config.sites import ClusterSite, Ingress, Place, load_sites, parse_place, read_sites
from rtcrelay.errors import ConfigError, ExitStatus

FRANKFURT, SYDNEY = Place(50.11, 8.68), Place(-33.87, 151.21)
SOUND = """
[[ingresses]]
name = "fra"
address = "203.0.113.10"
latitude = 50.11
longitude = 8.68
region = "eu"
weight = 3

[[clusters]]
id = 7
latitude = -33.87
longitude = 151.21
transceivers = ["10.0.3.7:8080", "[fd00::7]:8081"]

[[round_trips]]
from = "eu"
to = "cluster-7"
ms = 240.5
"""
PLACES = st.builds(Place, st.floats(-90, 90), st.floats(-180, 180))


def test_a_file_of_sites_is_read(tmp_path: Path) -> None:
    path = tmp_path / "sites.toml"
    path.write_text(SOUND)
    sites = load_sites(path)
    assert sites.ingresses == (Ingress("fra", ("203.0.113.10", 3478), FRANKFURT, "eu", 3),)
    transceivers = (("10.0.3.7", 8080), ("fd00::7", 8081))
    assert sites.clusters == (ClusterSite(7, "cluster-7", SYDNEY, "", transceivers),)
    assert sites.round_trips_ms == {("eu", "cluster-7"): 240.5}


@pytest.mark.parametrize(
    ("old", "new", "said", "hint"),
    [
        ("[[ingresses]]", "[[ingres]]", "unknown key ingres", "did you mean ingresses?"),
        ("[[ingresses]]", "[ingresses]", r"ingresses must be tables, written as \[\[ingresses\]\]", None),
        ("longitude = 8.68", "longtude = 8.68", r"ingresses\[0\] has no longitude", None),
        ("weight = 3", "wieght = 3", r"ingresses\[0\]: unknown key wieght", "did you mean weight?"),
        ("weight = 3", "weight = -3", r"ingresses\[0\].weight: '-3' is not a whole number from 0 to 1000", None),
        ("weight = 3", "weight = true", r"ingresses\[0\].weight: 'true' is not a whole number from 0 to 1000", None),
        ("latitude = 50.11", "latitude = 95", r"ingresses\[0\].latitude: '95' is out of range, .* -90 to 90", None),
        ("latitude = 50.11", "latitude = nan", r"ingresses\[0\].latitude: 'nan' is not a number", None),
        ("ms = 240.5", "ms = inf", r"round_trips\[0\].ms: 'inf' is not a number", None),
        ("ms = 240.5", "ms = -1", r"round_trips\[0\].ms: '-1' is out of range", None),
        ('from = "eu"', 'from = "fr"', "there is no ingress, cluster or region fr", "did you mean fra?"),
        ('"203.0.113.10"', '"0.0.0.0"', r"ingresses\[0\].address: '0.0.0.0' is a wildcard", None),
        ("id = 7", "id = 70000", r"clusters\[0\].id: '70000' is not a whole number from 0 to 65535", None),
        ('["10.0.3.7:8080", "[fd00::7]:8081"]', '"10.0.3.7"', r"clusters\[0\].transceivers must be a list", None),
        ("id = 7", "id = [7]", r"clusters\[0\].id is a list, expected a string or a number", None),
        ("id = 7", "id = = 7", "is not valid TOML", None),
    ],
)  # fmt: skip
def test_a_wrong_file_is_refused_with_the_place_and_the_expectation(
    tmp_path: Path, old: str, new: str, said: str, hint: str | None
) -> None:
    path = tmp_path / "sites.toml"
    assert SOUND.count(old) == 1
    path.write_text(SOUND.replace(old, new))
    with pytest.raises(ConfigError, match=said) as caught:
        load_sites(path)
    assert caught.value.hint == hint or hint is None
    assert caught.value.status is ExitStatus.CONFIG
    assert str(path) in str(caught.value)


def test_nothing_is_there_twice() -> None:
    once = tomllib.loads(SOUND)
    for table, said in (("ingresses", "ingress name fra"), ("clusters", "cluster name cluster-7")):
        with pytest.raises(ConfigError, match=f"{said} is there twice"):
            read_sites({**once, table: once[table] * 2}, "sites.toml")
    other = {**once["ingresses"][0], "name": "fra-2"}
    with pytest.raises(ConfigError, match=r"ingress address 203\.0\.113\.10:3478 is there twice"):
        read_sites({**once, "ingresses": [*once["ingresses"], other]}, "sites.toml")
    backwards = {"from": "cluster-7", "to": "eu", "ms": 1}
    with pytest.raises(ConfigError, match="there is a round trip between cluster-7 and eu already"):
        read_sites({**once, "round_trips": [*once["round_trips"], backwards]}, "sites.toml")


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot read sites file .*none.toml: no such file or directory"):
        load_sites(tmp_path / "none.toml")
    latin = tmp_path / "latin.toml"
    latin.write_bytes(b'name = "\xe9"')
    with pytest.raises(ConfigError, match="is not UTF-8 text"):
        load_sites(latin)


@pytest.mark.parametrize(
    ("here", "there", "km"),
    [  # judged by the WGS 84 geodesic (GeographicLib); a sphere is off by up to 0.5 %
        (FRANKFURT, SYDNEY, 16_479),
        (Place(40.71, -74.01), Place(51.51, -0.13), 5_585.5),
        (Place(0, 179.5), Place(0, -179.5), 111.3),
        (Place(90, 0), Place(-90, 0), 20_004),
    ],
)
def test_a_distance_is_that_of_the_great_circle(here: Place, there: Place, km: float) -> None:
    assert here.distance_km(there) == pytest.approx(km, rel=0.006)


@given(PLACES, PLACES)
def test_a_distance_is_the_same_both_ways_and_never_more_than_half_the_earth(here: Place, there: Place) -> None:
    assert here.distance_km(there) == pytest.approx(there.distance_km(here), abs=1e-6)
    assert 0 <= here.distance_km(there) <= 20_016
    assert here.distance_km(here) == 0


@pytest.mark.parametrize("written", ["", "1", "1,2,3", "a,b", "91,0", "0,181", "nan,0", "inf,0"])
def test_a_place_that_is_none_is_refused(written: str) -> None:
    with pytest.raises(ValueError, match=r"is not a place, expected LAT,LON|is not on earth"):
        parse_place(written)


@given(PLACES)
def test_a_place_is_read_as_it_is_written(place: Place) -> None:
    read = parse_place(str(place))
    assert (read.latitude, read.longitude) == pytest.approx((place.latitude, place.longitude), rel=1e-5)


def with_redis(lines: str) -> dict[str, object]:
    return tomllib.loads(SOUND.replace("id = 7", f"id = 7\n{lines}"))


def test_a_cluster_may_have_a_redis_of_its_own() -> None:
    lines = 'redis = "rediss://10.0.3.9/2"\nredis_password_file = "eu.password"'
    (site,) = read_sites(with_redis(lines), "f").clusters
    assert (site.redis, site.redis_password_file) == ("rediss://10.0.3.9/2", Path("eu.password"))
    (site,) = read_sites(with_redis('redis = "redis://user:geheim@10.0.3.9"'), "f").clusters
    assert site.redis == "redis://user:geheim@10.0.3.9"
    assert "geheim" not in repr(site)


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ('redis = "http://x"', r"clusters\[0\].redis: 'http://x' is no URL of redis://"),
        ('redis = "redis://u:geheim@h/abc"', r"clusters\[0\].redis: 'redis://.*h/abc'"),
        ('redis_password_file = "p"', r"clusters\[0\]: redis_password_file is given, and there is no redis"),
        ('redis = "redis://:geheim@h"\nredis_password_file = "p"', "and the URL of redis has a password"),
    ],
)
def test_a_redis_that_cannot_be_is_said_without_its_password(lines: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said) as raised:
        read_sites(with_redis(lines), "f")
    assert "geheim" not in str(raised.value)
