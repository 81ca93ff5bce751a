"""Where is Redis? URLs of one server, a Sentinel group or a cluster, read before anything connects."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal, TypeAlias
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

Address: TypeAlias = tuple[str, int]

REDIS_SCHEMES = (
    "redis", "rediss", "unix", "redis+sentinel", "rediss+sentinel", "redis+cluster", "rediss+cluster",
)  # fmt: skip
"""What a URL may begin with."""
_CREDENTIALS: Final = ("username", "password")
_TLS: Final = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile", "ssl_cert_reqs", "ssl_check_hostname")
_SWITCHES: Final = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}


@dataclass(frozen=True, slots=True)
class RedisUrl:
    """What a URL says."""

    form: Literal["server", "socket", "sentinel", "cluster"]
    """What answers there."""
    hosts: tuple[Address, ...] = ()
    """The server, the sentinels or some nodes of the cluster, as (name or IP address, port)."""
    socket: str = ""
    """Path of the Unix socket (form socket)."""
    group: str = ""
    """What the sentinels call the master (form sentinel)."""
    database: int = 0
    """Number of the database."""
    tls: bool = False
    """Whether connections are encrypted."""
    tls_options: Mapping[str, str | bool] = field(default_factory=dict)
    """``ssl_…`` as redis-py names them."""
    username: str | None = None
    """An ACL user; None: the default one."""
    password: str | None = field(default=None, repr=False)
    """Its password, if the URL has it."""


def read_redis_url(text: str) -> RedisUrl:
    """Reads a URL; ValueError with the rest of a sentence that starts with it. Nothing in it is left unread."""
    parts = _split_url(text)
    if parts.scheme not in REDIS_SCHEMES:
        raise ValueError(f"is no URL of {', '.join(f'{scheme}://' for scheme in REDIS_SCHEMES)}")
    base, _, kind = parts.scheme.partition("+")
    query = _read_query(parts, tls=base == "rediss")
    username, password = _credentials(parts, query)
    common = {"username": username, "password": password, "tls": base == "rediss", "tls_options": _tls_options(query)}
    if base == "unix":
        if parts.netloc.rpartition("@")[2] or not parts.path.strip("/"):
            raise ValueError("has no socket, expected for example unix:///run/redis/redis.sock")
        return RedisUrl("socket", socket=unquote(parts.path), database=_database(query.get("db", "")), **common)  # type: ignore[arg-type]  # the values are of the types above
    hosts = tuple(_host(word, 26379 if kind == "sentinel" else 6379) for word in _host_words(parts))
    group, _, path = parts.path.strip("/").partition("/") if kind == "sentinel" else ("", "", parts.path.strip("/"))
    if kind == "sentinel" and not group:
        raise ValueError("has no group, expected for example redis+sentinel://a:26379,b:26379/mymaster")
    database = _database(path or query.get("db", ""))
    if kind == "cluster" and database:
        raise ValueError(f"names database {database}, and a cluster has only database 0")
    if not kind and len(hosts) > 1:
        raise ValueError("names several hosts, expected one, or +sentinel or +cluster after the first word")
    form: Literal["server", "sentinel", "cluster"] = kind or "server"  # type: ignore[assignment]  # of REDIS_SCHEMES
    return RedisUrl(form, hosts=hosts, group=unquote(group), database=database, **common)  # type: ignore[arg-type]  # as above


def parse_redis_url(text: str) -> str:
    """A URL that `read_redis_url` reads, unchanged."""
    read_redis_url(text)
    return text


def url_has_password(url: str) -> bool:
    """Whether a URL holds a password, before its host or in its query."""
    parts = _split_url(url)
    names = {name.lower() for name, _ in parse_qsl(parts.query, keep_blank_values=True)}
    return ":" in parts.netloc.rpartition("@")[0] or "password" in names


def printable_url(url: str) -> str:
    """The URL without user, password and query, for messages."""
    try:
        parts = _split_url(url)
    except ValueError:
        return "(not a URL)"
    if not parts.scheme:
        return url.rpartition("@")[2].partition("?")[0]
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def _split_url(text: str) -> SplitResult:
    try:
        return urlsplit(text)
    except ValueError:
        raise ValueError("is not a URL, expected for example redis://10.0.0.9:6379") from None


def _host_words(parts: SplitResult) -> list[str]:
    return parts.netloc.rpartition("@")[2].split(",")


def _host(word: str, default_port: int) -> Address:
    try:
        host = urlsplit(f"//{word}")
        name, port = host.hostname, host.port
    except ValueError:
        name = port = None
    if not name or port == 0:
        raise ValueError("has no host and port, expected for example redis://10.0.0.9:6379")
    return unquote(name), port or default_port


def _database(text: str) -> int:
    if not text:
        return 0
    if not (text.isascii() and text.isdecimal() and len(text) <= 9):
        raise ValueError(f"names database {text!r}, expected a number")
    return int(text)


def _read_query(parts: SplitResult, *, tls: bool) -> dict[str, str]:
    known = (*_CREDENTIALS, "db", *(_TLS if tls else ()))
    query: dict[str, str] = {}
    for name, value in parse_qsl(parts.query, keep_blank_values=True):
        if name not in known:
            expected = f"expected {', '.join(known[:-1])} or {known[-1]}"
            raise ValueError(f"has {name!r} behind its question mark, {expected}")
        query[name] = value
    return query


def _credentials(parts: SplitResult, query: Mapping[str, str]) -> tuple[str | None, str | None]:
    user, _, password = parts.netloc.rpartition("@")[0].partition(":")
    return (
        unquote(user) or query.get("username") or None,
        unquote(password) or query.get("password") or None,
    )


def _tls_options(query: Mapping[str, str]) -> dict[str, str | bool]:
    options: dict[str, str | bool] = {name: query[name] for name in _TLS if name in query}
    if "ssl_check_hostname" in options:
        value = str(options["ssl_check_hostname"]).lower()
        if value not in _SWITCHES:
            raise ValueError(f"says ssl_check_hostname={value}, expected true or false")
        options["ssl_check_hostname"] = _SWITCHES[value]
    if options.get("ssl_cert_reqs", "required") not in ("none", "optional", "required"):
        raise ValueError(f"says ssl_cert_reqs={options['ssl_cert_reqs']}, expected none, optional or required")
    return options
