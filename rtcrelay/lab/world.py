"""What is in the laboratory: regions with their services, and the links between them. Plain data, read from TOML."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Iterator
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Final, Literal, TypeAlias

import msgspec
from msgspec import Meta

from rtcrelay.errors import ConfigError

_MAX_BYTES: Final = 1 << 20
_MAX_REGIONS: Final = 14
"""Each has 16 of the 256 public addresses."""

Name: TypeAlias = Annotated[str, Meta(pattern=r"^[a-z][a-z0-9]{0,11}$")]
"""Of a region: it becomes part of an interface's name, which has 15 characters at most."""
Milliseconds: TypeAlias = Annotated[float, Meta(ge=0, le=10_000)]
Percent: TypeAlias = Annotated[float, Meta(ge=0, le=100)]
Kind: TypeAlias = Literal["public", "backbone"]


class Region(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A place with a client, a router and services."""

    name: Name
    latitude: Annotated[float, Meta(ge=-90, le=90)]
    longitude: Annotated[float, Meta(ge=-180, le=180)]
    cluster: Annotated[int, Meta(ge=0, le=65_535)] | None = None
    """Id of the cluster here; None: there is none."""
    relays: Annotated[int, Meta(ge=0, le=4)] = 0
    """Of the cluster."""
    transceivers: Annotated[int, Meta(ge=0, le=6)] = 0
    """Of the cluster."""
    valkey: bool = False
    """The cluster's route cache and heartbeats."""
    ingress: bool = False
    """A relay of no cluster, at which clients of all clusters enter."""
    signaling: bool = False
    turn: bool = False
    direct: bool = False
    """Whether transceivers also take media without a relay, at a public address."""


class Impairment(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What a link does to packets, each way."""

    delay_ms: Milliseconds = 0
    """The least that a packet takes, one way."""
    jitter_ms: Milliseconds = 0
    """Mean of what is added to it, exponentially distributed: what RFC 3550 section 6.4.1 measures as jitter."""
    loss_percent: Percent = 0
    """Of packets, independently of each other."""
    reorder_percent: Percent = 0
    """Of packets that are held back ``reorder_ms`` longer, and so overtaken."""
    reorder_ms: Milliseconds = 30
    """A little more than one frame of voice."""
    rate_mbit: Annotated[float, Meta(ge=0, le=100_000)] = 0
    """Million bits per second, IP header included; 0: no limit."""
    queue_ms: Milliseconds = 100
    """How long a packet may wait for that rate; whoever would wait longer is lost."""


class Link(Impairment, frozen=True, forbid_unknown_fields=True, kw_only=True, rename={"begin": "from", "end": "to"}):
    """A path between two regions."""

    begin: Name
    """Region of the client, or of one end of a backbone link."""
    end: Name

    def impairment(self) -> Impairment:
        """What it does, without its ends."""
        return Impairment(**{name: getattr(self, name) for name in Impairment.__struct_fields__})


class Links(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """All paths by kind."""

    public: list[Link] = []
    """From a client to a region's public addresses."""
    backbone: list[Link] = []
    """Between regions."""

    def named(self) -> Iterator[tuple[str, Kind, Link]]:
        """(name, kind, link) of all."""
        kinds: tuple[tuple[Kind, list[Link]], ...] = (("public", self.public), ("backbone", self.backbone))
        for kind, links in kinds:
            for link in links:
                yield f"{kind}:{link.begin}-{link.end}", kind, link


class World(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Everything."""

    regions: list[Region]
    links: Links
    seed: Annotated[int, Meta(ge=0, lt=2**62)] = 0
    """From which the generators of all links follow."""


def world_text(file: Path | None) -> tuple[str, str]:
    """(text of a world's file, its name for errors); None is the built-in one. Raises ConfigError."""
    if file is None:
        return files(__package__).joinpath("world.toml").read_text(), "the built-in world"
    try:
        with file.open("rb") as opened:
            raw = opened.read(_MAX_BYTES + 1)
        content = raw.decode()
    except OSError as error:
        raise ConfigError(f"cannot read world file {file}: {(error.strerror or str(error)).lower()}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"world file {file} is not UTF-8 text") from error
    if len(raw) > _MAX_BYTES:
        raise ConfigError(f"world file {file} has more than {_MAX_BYTES} bytes")
    return content, f"world file {file}"


def read_world(content: str, origin: str) -> World:
    """The world of a file's text; ``origin`` names it in errors. Raises ConfigError."""
    try:
        table: dict[str, Any] = tomllib.loads(content)
    except tomllib.TOMLDecodeError as error:
        message = str(error)
        raise ConfigError(f"{origin} is not valid TOML: {message[:1].lower()}{message[1:]}") from error
    try:
        world = msgspec.convert(table, World)
    except msgspec.ValidationError as error:
        hint = "'rtcrelay lab world' prints a whole one, with what each key means"
        raise ConfigError(f"{origin}: {explain(error)}", hint=hint) from error
    _check(world, origin)
    return world


def explain(error: msgspec.ValidationError) -> str:
    """What is wrong with a value, and where, as the end of a sentence."""
    message, _, path = str(error).partition(" - at `$")
    place = f"{path.strip('.`')}: " if path else ""
    return f"{place}{message[:1].lower()}{message[1:]}"


def _check(world: World, origin: str) -> None:
    names = [region.name for region in world.regions]
    if not 1 <= len(names) <= _MAX_REGIONS:
        raise ConfigError(f"{origin} has {len(names)} regions, expected 1 to {_MAX_REGIONS}")
    _different(origin, "region", names)
    _different(origin, "cluster", [region.cluster for region in world.regions if region.cluster is not None])
    for region in world.regions:
        if (region.relays or region.transceivers or region.valkey) and region.cluster is None:
            raise ConfigError(f"{origin}: region {region.name} has services of a cluster, but no cluster = ID")
        if region.direct and not region.transceivers:
            raise ConfigError(f"{origin}: region {region.name} has direct = true, but no transceivers")
    for name, kind, link in world.links.named():
        for end in (link.begin, link.end):
            if end not in names:
                raise ConfigError(f"{origin}: link {name}: there is no region {end}")
        if kind == "backbone" and link.begin == link.end:
            raise ConfigError(f"{origin}: link {name} leads nowhere, expected two regions")
    _different(origin, "link", [name for name, _, _ in world.links.named()])
    pairs = [frozenset((link.begin, link.end)) for link in world.links.backbone]
    _different(origin, "backbone between", [" and ".join(sorted(pair)) for pair in pairs])


def _different(origin: str, what: str, values: Iterable[object]) -> None:
    seen: set[object] = set()
    for value in values:
        if value in seen:
            raise ConfigError(f"{origin}: {what} {value} is there twice")
        seen.add(value)
