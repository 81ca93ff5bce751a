"""Where is everything? The file of sites: ingresses and clusters with their places, and measured round trips.

One file (TOML, ``--sites``) for signaling, which steers by it, for transceivers, which tell clients their ingresses,
and for whoever asks why::

    [[ingresses]]
    name = "fra"
    address = "203.0.113.10:3478"
    latitude = 50.11
    longitude = 8.68

    [[clusters]]
    id = 7
    name = "eu-1"
    latitude = 50.11
    longitude = 8.68
    transceivers = ["10.0.3.7:8080", "10.0.3.8:8080"]
    redis = "rediss://10.0.3.9"
    redis_password_file = "eu.password"

    [[round_trips]]
    from = "fra"
    to = "eu-1"
    ms = 1.5
"""

from __future__ import annotations

import math
import tomllib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final, TypeVar

from rtcrelay.config import text
from rtcrelay.config.redis_url import parse_redis_url, printable_url, url_has_password
from rtcrelay.errors import ConfigError

T = TypeVar("T")

_EARTH_RADIUS_KM: Final = 6371.0
"""The mean one (IUGG), of a sphere; the earth differs from that by 0.3 %."""
_NO_FILE: Final = Path()
_MAX_BYTES: Final = 1 << 20
"""Chosen: a thousand ingresses need a tenth of it."""


@dataclass(frozen=True, slots=True)
class Place:
    """A point on the earth, in degrees."""

    latitude: float
    """-90 to 90, north positive."""
    longitude: float
    """-180 to 180, east positive."""

    def __str__(self) -> str:
        return f"{self.latitude:g},{self.longitude:g}"

    def distance_km(self, other: Place) -> float:
        """Along the great circle (haversine, which stays exact for small distances), 0 to about 20015."""
        here, there = math.radians(self.latitude), math.radians(other.latitude)
        across = math.radians(other.longitude - self.longitude)
        chord = math.sin((there - here) / 2) ** 2 + math.cos(here) * math.cos(there) * math.sin(across / 2) ** 2
        return 2 * _EARTH_RADIUS_KM * math.asin(math.sqrt(min(1.0, chord)))


@dataclass(frozen=True, slots=True)
class Ingress:
    """A public address at which clients enter."""

    name: str
    address: text.Address
    """Of its relays (VIP:PORT), told to clients as a host candidate."""
    place: Place
    region: str = ""
    """For people, and for rows of round trips that hold for a whole region."""
    weight: int = 1
    """Its share among ingresses that are equally near, 0 to 1000; 0: only if there is no other."""


@dataclass(frozen=True, slots=True)
class ClusterSite:
    """A cluster of transceivers."""

    cluster: int
    """Its id in ufrags, 0 to 65535."""
    name: str
    place: Place
    region: str = ""
    transceivers: tuple[text.Address, ...] = ()
    """Signaling addresses of its transceivers; empty: they are found by their heartbeats."""
    cordoned: bool = False
    """Whether it gets no new calls; those it has go on."""
    redis: str | None = field(default=None, repr=False)
    """URL of its site's Redis, perhaps with a password; None: its nodes' heartbeats are in that of the settings."""
    redis_password_file: Path | None = None
    """File with its password."""


@dataclass(frozen=True, slots=True)
class Sites:
    """Everything that has a place."""

    ingresses: tuple[Ingress, ...] = ()
    clusters: tuple[ClusterSite, ...] = ()
    round_trips_ms: Mapping[tuple[str, str], float] | None = None
    """Measured ones by (from, to): names or regions of ingresses and clusters; they hold both ways."""


def parse_place(written: str) -> Place:
    """A place of ``LAT,LON`` in decimal degrees; ValueError with the rest of a sentence otherwise."""
    words = written.split(",")
    try:
        latitude, longitude = (float(word) for word in words)
    except ValueError:
        raise ValueError("is not a place, expected LAT,LON in degrees, for example 50.11,8.68") from None
    if not (-90 <= latitude <= 90 and -180 <= longitude <= 180):  # also refuses NaN
        raise ValueError("is not on earth, expected a latitude from -90 to 90 and a longitude from -180 to 180")
    return Place(latitude, longitude)


def load_sites(path: Path) -> Sites:
    """The sites of a file. Raises ConfigError, which says what is wrong in which entry."""
    try:
        with path.open("rb") as file:
            raw = file.read(_MAX_BYTES + 1)
        content = tomllib.loads(raw.decode())
    except OSError as error:
        raise ConfigError(f"cannot read sites file {path}: {(error.strerror or str(error)).lower()}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"sites file {path} is not UTF-8 text") from error
    except tomllib.TOMLDecodeError as error:
        message = str(error)
        raise ConfigError(f"sites file {path} is not valid TOML: {message[:1].lower()}{message[1:]}") from error
    if len(raw) > _MAX_BYTES:
        raise ConfigError(f"sites file {path} has more than {_MAX_BYTES} bytes")
    return read_sites(content, str(path))


def read_sites(content: Mapping[str, Any], origin: str) -> Sites:
    """The sites of a parsed file; ``origin`` names it in errors. Raises ConfigError."""
    tables = ("ingresses", "clusters", "round_trips")
    for key, value in content.items():
        if key not in tables:
            raise _unknown(origin, key, tables)
        if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
            raise ConfigError(f"{origin}: {key} must be tables, written as [[{key}]]")
    entries = {
        key: [_Entry(item, f"{origin}: {key}[{index}]") for index, item in enumerate(content.get(key, ()))]
        for key in tables
    }
    ingresses = tuple(_ingress(entry) for entry in entries["ingresses"])
    clusters = tuple(_cluster(entry) for entry in entries["clusters"])
    for what, values in (
        ("ingress name", [ingress.name for ingress in ingresses]),
        ("ingress address", [ingress.address for ingress in ingresses]),
        ("cluster name", [cluster.name for cluster in clusters]),
        ("cluster id", [cluster.cluster for cluster in clusters]),
    ):
        _require_different(origin, what, values)
    known = {name for ingress in ingresses for name in (ingress.name, ingress.region)}
    known |= {name for cluster in clusters for name in (cluster.name, cluster.region)}
    round_trips: dict[tuple[str, str], float] = {}
    for entry in entries["round_trips"]:
        ends, milliseconds = _round_trip(entry, known)
        if ends in round_trips or ends[::-1] in round_trips:
            raise ConfigError(f"{entry.origin}: there is a round trip between {ends[0]} and {ends[1]} already")
        round_trips[ends] = milliseconds
    return Sites(ingresses, clusters, round_trips)


class _Secret(ValueError):
    """What is wrong with a word that may hold a password."""

    def __init__(self, shown: str, reason: str) -> None:
        super().__init__(reason)
        self.shown = shown


class _Entry:
    """One table of the file, whose keys are taken one by one; what is left is unknown."""

    def __init__(self, values: Mapping[str, Any], origin: str) -> None:
        self._values, self.origin, self._known = dict(values), origin, list[str]()

    def take(self, key: str, parse: Callable[[str], T], default: T | None = None) -> T:
        self._known.append(key)
        value = self._values.pop(key, None)
        if value is None:
            if default is None:
                raise ConfigError(f"{self.origin} has no {key}")
            return default
        return self._parse(key, value, parse)

    def take_many(self, key: str, parse: Callable[[str], T]) -> tuple[T, ...]:
        self._known.append(key)
        values = self._values.pop(key, [])
        if not isinstance(values, list):
            raise ConfigError(f"{self.origin}.{key} must be a list")
        return tuple(self._parse(f"{key}[{index}]", value, parse) for index, value in enumerate(values))

    def end(self) -> None:
        for key in self._values:
            raise _unknown(self.origin, key, self._known)

    def _parse(self, key: str, value: object, parse: Callable[[str], T]) -> T:
        if not isinstance(value, str | int | float):
            raise ConfigError(f"{self.origin}.{key} is a {type(value).__name__}, expected a string or a number")
        word = str(value).lower() if isinstance(value, bool) else str(value)
        try:
            return parse(word)
        except _Secret as error:
            raise ConfigError(f"{self.origin}.{key}: {error.shown!r} {error}") from None
        except ValueError as error:
            raise ConfigError(f"{self.origin}.{key}: {word!r} {error}") from None


def _ingress(entry: _Entry) -> Ingress:
    name = entry.take("name", text.parse_name)
    address = entry.take("address", text.address(3478, concrete=True))
    place, region = _where(entry)
    weight = entry.take("weight", text.whole_number(0, 1000), 1)
    entry.end()
    return Ingress(name, address, place, region, weight)


def _cluster(entry: _Entry) -> ClusterSite:
    cluster = entry.take("id", text.whole_number(0, 65_535))
    name = entry.take("name", text.parse_name, f"cluster-{cluster}")
    place, region = _where(entry)
    transceivers = entry.take_many("transceivers", text.address(8080, concrete=True))
    cordoned = entry.take("cordoned", text.parse_switch, False)
    redis = entry.take("redis", _redis, "") or None
    password_file = entry.take("redis_password_file", text.parse_path, _NO_FILE)
    entry.end()
    if password_file != _NO_FILE and (redis is None or url_has_password(redis)):
        why = "there is no redis" if redis is None else "the URL of redis has a password"
        raise ConfigError(f"{entry.origin}: redis_password_file is given, and {why}")
    file = None if password_file == _NO_FILE else password_file
    return ClusterSite(cluster, name, place, region, transceivers, cordoned, redis, file)


def _redis(written: str) -> str:
    try:
        return parse_redis_url(written)
    except ValueError as error:
        raise _Secret(printable_url(written), str(error)) from None


def _where(entry: _Entry) -> tuple[Place, str]:
    latitude, longitude = entry.take("latitude", _degrees(90)), entry.take("longitude", _degrees(180))
    return Place(latitude, longitude), entry.take("region", text.parse_name, "")


def _round_trip(entry: _Entry, known: set[str]) -> tuple[tuple[str, str], float]:
    ends = entry.take("from", text.parse_name), entry.take("to", text.parse_name)
    for end in ends:
        if end not in known:
            near = get_close_matches(end, known, 1)
            hint = f"did you mean {near[0]}?" if near else None
            raise ConfigError(f"{entry.origin}: there is no ingress, cluster or region {end}", hint=hint)
    milliseconds = entry.take("ms", _milliseconds)
    entry.end()
    return ends, milliseconds


def _degrees(most: int) -> Callable[[str], float]:
    def parse(written: str) -> float:
        degrees = _number(written)
        if not -most <= degrees <= most:
            raise ValueError(f"is out of range, expected degrees from {-most} to {most}")
        return degrees

    return parse


def _milliseconds(written: str) -> float:
    milliseconds = _number(written)
    if not 0 <= milliseconds <= 10_000:
        raise ValueError("is out of range, expected 0 to 10000 milliseconds")
    return milliseconds


def _number(written: str) -> float:
    try:
        number = float(written)
    except ValueError:
        raise ValueError("is not a number") from None
    if not math.isfinite(number):
        raise ValueError("is not a number")
    return number


def _require_different(origin: str, what: str, values: Iterable[object]) -> None:
    seen: set[object] = set()
    for value in values:
        if value in seen:
            shown = text.format_address(value) if isinstance(value, tuple) else value
            raise ConfigError(f"{origin}: {what} {shown} is there twice")
        seen.add(value)


def _unknown(origin: str, key: str, known: Iterable[str]) -> ConfigError:
    near = get_close_matches(key, list(known), 1)
    return ConfigError(
        f"{origin}: unknown key {key}", hint=f"did you mean {near[0]}?" if near else f"known here: {', '.join(known)}"
    )
