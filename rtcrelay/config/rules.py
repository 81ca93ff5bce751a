"""Settings from their sources, and the rules between settings."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from rtcrelay.config import text
from rtcrelay.config.options import KEY_FILE, PROGRAMS, REDIS, REDIS_PASSWORD_FILE
from rtcrelay.config.redis_url import printable_url, url_has_password
from rtcrelay.config.settings import ParrotSettings, RelaySettings, SignalingSettings, TransceiverSettings
from rtcrelay.config.sources import Value, load_files, resolve
from rtcrelay.config.text import Address
from rtcrelay.config.workers import check_workers, sockets_of
from rtcrelay.daemon import runtime_directories, runtime_directory
from rtcrelay.errors import ConfigError

Flags: TypeAlias = Mapping[str, object]
"""What was given on the command line, by setting name."""


def relay_settings(flags: Flags, config: Path | None = None, environ: Mapping[str, str] | None = None) -> RelaySettings:
    """The relay's settings from options, environment and files. Raises ConfigError with one sentence."""
    environ = os.environ if environ is None else environ
    found = resolve_all("relay", flags, config, environ)
    _check_networks(found, "transceivers", "peers")
    clusters = _clusters(found)
    transceivers = () if found["ingress_only"].parsed else found["transceivers"].parsed
    shared = text.first_overlap(transceivers, found["peers"].parsed)
    if shared:
        raise ConfigError(
            f"{found['peers'].origin}: {shared[1]!r} overlaps {shared[0]!r} in {found['transceivers'].origin},"
            " expected every network in one of the lists only"
        )
    return RelaySettings(
        listeners=_pair(found["listen"], found["internal"]),
        key_file=_key_file(found["key_file"]),
        transceivers=transceivers,
        workers=found["workers"].parsed,
        cluster=None if found["ingress_only"].parsed else found["cluster"].parsed,
        clusters=clusters,
        peers=found["peers"].parsed,
        nodes=_nodes(found["nodes"]),
        idle_timeout_seconds=found["idle_timeout"].parsed,
        max_flows=found["max_flows"].parsed,
        pin_cpus=found["pin_cpus"].parsed or (),
        busy_poll=found["busy_poll"].parsed,
        admission_rate=found["admission_rate"].parsed,
        admission_burst=found["admission_burst"].parsed,
        admission_exempt=found["admission_exempt"].parsed,
        watch_legs=found["watch_legs"].parsed,
        redis=_redis(found["redis"], found["redis_password_file"]),
        redis_password_file=found["redis_password_file"].parsed,
        sites=found["sites"].parsed,
        admin_socket=found["admin"].parsed,
        metrics=found["metrics"].parsed,
        log_format=found["log_format"].parsed,
        log_addresses=found["log_addresses"].parsed,
        spp_insecure_public=found["spp_insecure_public"].parsed,
    )


def transceiver_settings(
    flags: Flags, config: Path | None = None, environ: Mapping[str, str] | None = None
) -> TransceiverSettings:
    """The transceiver's settings from options, environment and files. Raises ConfigError with one sentence."""
    environ = os.environ if environ is None else environ
    found = resolve_all("transceiver", flags, config, environ)
    _check_networks(found, "relays")
    http, media = found["http"], found["media"]
    _check_signaling(found)
    if ":" in media.parsed[0] and found["node_id"].parsed is None:
        raise ConfigError(
            f"{media.origin}: {media.words[0]!r} is IPv6, which does not fit into a ufrag",
            hint="give this transceiver a --node-id, and the relays its address in --nodes ID=ADDR",
        )
    check_workers(found)
    return TransceiverSettings(
        http=http.parsed,
        media=media.parsed,
        ingresses=found["ingress"].parsed,
        node=found["node"].parsed,
        workers=found["workers"].parsed,
        relays=found["relays"].parsed,
        key_file=_key_file(found["key_file"]),
        node_id=found["node_id"].parsed,
        cluster=found["cluster"].parsed,
        auth_token_file=found["auth_token_file"].parsed,
        tls_cert=found["tls_cert"].parsed,
        tls_key=found["tls_key"].parsed,
        signaling_address=found["signaling_address"].parsed,
        signaling_peers=found["signaling_peers"].parsed,
        nodes=_nodes(found["nodes"]),
        backend=found["backend"].parsed,
        backend_token_file=found["backend_token_file"].parsed,
        max_sessions=found["max_sessions"].parsed,
        max_session_seconds=found["max_session_duration"].parsed,
        max_idle_seconds=found["max_session_idle"].parsed,
        max_bit_rate=found["max_session_bit_rate"].parsed,
        drain_timeout_seconds=found["drain_timeout"].parsed,
        redis=_redis(found["redis"], found["redis_password_file"]),
        redis_password_file=found["redis_password_file"].parsed,
        direct=found["direct"].parsed,
        admin_socket=found["admin"].parsed,
        metrics=found["metrics"].parsed,
        log_format=found["log_format"].parsed,
        log_addresses=found["log_addresses"].parsed,
        cors_origins=found["cors_origin"].parsed,
        spp_insecure_public=found["spp_insecure_public"].parsed,
    )


def signaling_settings(
    flags: Flags, config: Path | None = None, environ: Mapping[str, str] | None = None
) -> SignalingSettings:
    """The signaling front's settings from options, environment and files. Raises ConfigError with one sentence."""
    environ = os.environ if environ is None else environ
    found = resolve_all("signaling", flags, config, environ)
    _check_signaling(found)
    return SignalingSettings(
        http=found["http"].parsed,
        sites=_sites(found["sites"]),
        key_file=_key_file(found["key_file"]),
        told_ingresses=found["told_ingresses"].parsed,
        auth_token_file=found["auth_token_file"].parsed,
        tls_cert=found["tls_cert"].parsed,
        tls_key=found["tls_key"].parsed,
        transceiver_cert=found["transceiver_cert"].parsed,
        signaling_peers=found["signaling_peers"].parsed,
        nodes=_nodes(found["nodes"]),
        trust_proxy=found["trust_proxy"].parsed,
        geo_database=found["geo_database"].parsed,
        insecure_place_from_query=found["insecure_place_from_query"].parsed,
        redis=_redis(found["redis"], found["redis_password_file"]),
        redis_password_file=found["redis_password_file"].parsed,
        admin_socket=found["admin"].parsed,
        metrics=found["metrics"].parsed,
        cors_origins=found["cors_origin"].parsed,
        log_format=found["log_format"].parsed,
        log_addresses=found["log_addresses"].parsed,
    )


def parrot_settings(
    flags: Flags, config: Path | None = None, environ: Mapping[str, str] | None = None
) -> ParrotSettings:
    """The parrot's settings from options, environment and files. Raises ConfigError with one sentence."""
    environ = os.environ if environ is None else environ
    found = resolve_all("parrot", flags, config, environ)
    _require_token(found)
    return ParrotSettings(
        http=found["http"].parsed,
        auth_token_file=found["auth_token_file"].parsed,
        log_format=found["log_format"].parsed,
        log_addresses=found["log_addresses"].parsed,
    )


READERS: Mapping[str, Callable[..., RelaySettings | TransceiverSettings | SignalingSettings | ParrotSettings]] = {
    "relay": relay_settings,
    "transceiver": transceiver_settings,
    "signaling": signaling_settings,
    "parrot": parrot_settings,
}
"""What reads the settings of each service."""


def find_key_file(flags: Flags, config: Path | None = None, environ: Mapping[str, str] | None = None) -> Path:
    """The key file that a service with these options would read. Raises ConfigError if none is named."""
    environ = os.environ if environ is None else environ
    value = resolve(None, KEY_FILE, flags, load_files(config, environ), environ)
    return _key_file(_credential(value, environ))


def find_sites(config: Path | None = None, environ: Mapping[str, str] | None = None) -> Path:
    """The sites file that ``serve signaling`` would read. Raises ConfigError if none is named."""
    found = resolve_all("signaling", {}, config, os.environ if environ is None else environ)["sites"]
    return _sites(found)


def find_steering(config: Path | None = None, environ: Mapping[str, str] | None = None) -> tuple[Path | None, int]:
    """(MaxMind database, ingresses that a client is told) of ``serve signaling``. Raises ConfigError."""
    found = resolve_all("signaling", {}, config, os.environ if environ is None else environ)
    return found["geo_database"].parsed, found["told_ingresses"].parsed


def find_redis(
    flags: Flags, config: Path | None = None, environ: Mapping[str, str] | None = None
) -> tuple[str, Path | None]:
    """(URL, password file) of the Redis that services with these options would use. Raises ConfigError if none is
    named."""
    environ = os.environ if environ is None else environ
    files = load_files(config, environ)
    url, password_file = (resolve(None, setting, flags, files, environ) for setting in (REDIS, REDIS_PASSWORD_FILE))
    found = _redis(url, password_file)
    if found is None:
        raise ConfigError(
            "no Redis is configured", hint="--redis redis://HOST:PORT, RTCRELAY_REDIS or redis in a configuration file"
        )
    return found, password_file.parsed


def find_admin_sockets(
    named: Sequence[str], config: Path | None = None, environ: Mapping[str, str] | None = None
) -> list[Path]:
    """Where services of this machine may be asked, each place once.

    ``named`` on the command line; else what the environment or the files say; else the sockets that are there.
    Raises ConfigError.
    """
    environ = os.environ if environ is None else environ
    files = load_files(config, environ)
    found: list[Path] = []
    for program, settings in PROGRAMS.items():
        setting = next((setting for setting in settings if setting.name == "admin"), None)
        if setting is None:
            continue
        for word in named or (None,):
            value = resolve(program, setting, {"admin": word}, files, environ)
            found += sockets_of(value.parsed) if value.parsed is not None else []
    if not found:
        found = [path for place in runtime_directories(environ) for path in sorted(place.glob("*.sock"))]
    return list(dict.fromkeys(found))


def resolve_all(program: str, flags: Flags, config: Path | None, environ: Mapping[str, str]) -> dict[str, Value]:
    """Every setting of a service, and where each came from. Raises ConfigError if one is wrong by itself."""
    files = load_files(config, environ)
    found = {setting.name: resolve(program, setting, flags, files, environ) for setting in PROGRAMS[program]}
    if "key_file" in found:
        found["key_file"] = _credential(found["key_file"], environ)
    socket = f"{program}.sock"
    if program == "transceiver":
        found["node"] = _or(found["node"], os.uname().nodename)
        socket = f"transceiver-{found['node'].parsed}.sock"
    if "admin" in found:
        found["admin"] = _or(found["admin"], runtime_directory(environ) / socket)
    return found


def _or(value: Value, default: Path | str) -> Value:
    """The value, or a default that depends on the machine."""
    return Value(default, (str(default),), "default") if value.origin == "default" else value


def _credential(value: Value, environ: Mapping[str, str]) -> Value:
    if value.origin == "default" and environ.get("CREDENTIALS_DIRECTORY"):
        path = Path(environ["CREDENTIALS_DIRECTORY"], "keys.toml")
        return Value(path, (str(path),), "CREDENTIALS_DIRECTORY")
    return value


def _check_networks(found: Mapping[str, Value], *names: str) -> None:
    if found["spp_insecure_public"].parsed:
        return
    for name in names:
        for network in found[name].parsed:
            if not text.is_internal(network):
                raise ConfigError(
                    f"{found[name].origin}: {network!r} is outside the private, loopback, link-local and unique local"
                    " ranges, and SPP is neither encrypted nor authenticated",
                    hint="use the addresses inside a WireGuard or IPsec tunnel, or --spp-insecure-public",
                )


def _require_token(found: Mapping[str, Value]) -> None:
    http = found["http"]
    if found["auth_token_file"].parsed is None and not text.is_loopback(http.parsed[0]):
        raise ConfigError(
            f"{http.origin}: {http.words[0]!r} is not a loopback address, so signaling needs a token",
            hint="--auth-token-file FILE",
        )


def _check_signaling(found: Mapping[str, Value]) -> None:
    _require_token(found)
    cert, key = found["tls_cert"], found["tls_key"]
    if (cert.parsed is None) != (key.parsed is None):
        given, missing = (cert, "--tls-key") if key.parsed is None else (key, "--tls-cert")
        raise ConfigError(f"{given.origin} is given without {missing}, expected both or neither")


def _pair(public: Value, internal: Value) -> tuple[tuple[Address, Address], ...]:
    if not public.parsed:
        raise ConfigError(f"{public.origin}: expected at least one address")
    if len(public.parsed) != len(internal.parsed):
        raise ConfigError(
            f"{len(public.parsed)} public addresses ({public.origin}) and {len(internal.parsed)} internal ones"
            f" ({internal.origin}), expected one --internal for each --listen, in the same order"
        )
    if len(public.parsed) > 16:
        raise ConfigError(f"{public.origin}: {len(public.parsed)} addresses, expected at most 16")
    _check_distinct(public, internal)
    return tuple(zip(public.parsed, internal.parsed, strict=True))


def _check_distinct(public: Value, internal: Value) -> None:
    seen: dict[Any, str] = {}
    for value in (public, internal):
        for where, word in zip(value.parsed, value.words, strict=True):
            if where[1] and where in seen:
                raise ConfigError(f"{value.origin}: {word!r} is given twice")
            seen[where] = word
    ports: dict[int, str] = {}
    for (_, port), word in zip(internal.parsed, internal.words, strict=True):
        if port and port in ports:
            raise ConfigError(
                f"{internal.origin}: {word!r} has the same port as {ports[port]!r}, expected another one:"
                " the internal port is the ingress id"
            )
        ports[port] = word
    for (ip, port), word in zip(public.parsed, public.words, strict=True):
        if text.is_wildcard(ip) and port in ports and port:
            raise ConfigError(f"{public.origin}: {word!r} covers the internal address {ports[port]!r}")


def _redis(url: Value, password_file: Value) -> str | None:
    """The URL, if its password is where other users of the machine cannot see it, and in one place only."""
    if url.parsed is None:
        return None
    has_password = url_has_password(url.parsed)
    if has_password and url.origin.startswith("--"):
        raise ConfigError(
            f"{url.origin}: {printable_url(url.parsed)!r} came with a password, and every user of this machine"
            " can read command lines",
            hint="--redis-password-file FILE, or the whole URL in RTCRELAY_REDIS or in a configuration file",
        )
    if has_password and password_file.parsed is not None:
        raise ConfigError(f"{url.origin} and {password_file.origin} both give a password, expected one of them")
    return str(url.parsed)


def _clusters(found: Mapping[str, Value]) -> Mapping[int, tuple[Address, ...]]:
    """The relays of other clusters. A relay's own cluster may be among them, so that all relays can have one table."""
    value, only = found["clusters"], found["ingress_only"]
    for (_, (ip, _port)), word in zip(value.parsed, value.words, strict=True):
        if not (found["spp_insecure_public"].parsed or text.is_internal(ip)):
            raise ConfigError(
                f"{value.origin}: {word!r} is outside the private, loopback, link-local and unique local ranges, and"
                " SPP is neither encrypted nor authenticated",
                hint="use the addresses inside a WireGuard or IPsec tunnel, or --spp-insecure-public",
            )
    has_heartbeats = found["redis"].parsed is not None or found["sites"].parsed is not None
    if only.parsed and not value.parsed and not (has_heartbeats and found["peers"].parsed):
        raise ConfigError(
            f"{only.origin} is given without --clusters, so there is nowhere to pass calls on to",
            hint="or --redis or --sites with --peers: relays are found by their heartbeats, within those networks",
        )
    clusters: dict[int, tuple[Address, ...]] = {}
    for cluster, relay in value.parsed:
        clusters[cluster] = tuple(dict.fromkeys((*clusters.get(cluster, ()), relay)))
    return clusters


def _nodes(value: Value) -> Mapping[int, Address]:
    nodes: dict[int, Address] = {}
    for node, where in value.parsed:
        if nodes.setdefault(node, where) != where:
            raise ConfigError(f"{value.origin}: node {node} is given twice")
    return nodes


def _sites(value: Value) -> Path:
    if isinstance(value.parsed, Path):
        return value.parsed
    raise ConfigError("no sites file is configured", hint="name the file of ingresses and clusters: --sites FILE")


def _key_file(value: Value) -> Path:
    if isinstance(value.parsed, Path):
        return value.parsed
    raise ConfigError(
        "no key file is configured",
        hint="make one with 'rtcrelay keys generate -o keys.toml', then name it: --key-file keys.toml",
    )
