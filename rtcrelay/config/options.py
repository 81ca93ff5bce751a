"""The table of all settings: name, unit, range, default. The command line, the environment and TOML are read by it.

A setting ``idle_timeout`` is the option ``--idle-timeout``, the variable ``RTCRELAY_IDLE_TIMEOUT`` and the TOML key
``idle_timeout`` in the program's table; a shared one stands above the tables.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from rtcrelay.config import text
from rtcrelay.config.redis_url import parse_redis_url, printable_url

PUBLIC_PORT = 3478
"""UDP port of a relay's public listener (IANA: STUN, TURN)."""
INTERNAL_PORT = 3479
"""UDP port of a relay's SPP socket, and so the ingress id of its first listener."""
MEDIA_PORT = 7000
"""UDP port of a transceiver's shared socket."""
HTTP_PORT = 8080
"""TCP port of a transceiver's signaling."""
MAX_WORKERS = 64
"""Of a transceiver. Their numbers have six bits in sessions' URLs."""


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting of a service."""

    name: str
    """The TOML key; the option and the variable follow from it."""
    metavar: str
    """How a value is called in help."""
    help: str
    """One sentence with the unit, without default and variable."""
    parse: Callable[[str], object]
    """Text into a value; ValueError with the end of a sentence (see `text`)."""
    default: str | None = None
    """Text, split at spaces if ``many``; None: nothing."""
    short: str | None = None
    """The one-letter option."""
    many: bool = False
    """Whether it may be given several times; in the environment separated by spaces or commas."""
    switch: bool = False
    """Whether the option takes no value."""
    table: bool = False
    """Whether it is a table of its own in TOML; its values are ``KEY=VALUE`` elsewhere."""
    shared: bool = False
    """Whether it stands above the tables in TOML, for every service on the machine."""
    default_help: str | None = None
    """What help shows as default when the default depends on the machine."""
    printable: Callable[[str], str] = str
    """A value's text without its secrets, for messages and printed settings."""

    @property
    def option(self) -> str:
        """The long option."""
        return "--" + self.name.replace("_", "-")

    @property
    def variable(self) -> str:
        """The environment variable."""
        return "RTCRELAY_" + self.name.upper()


CLUSTER = Setting(
    "cluster", "ID", "Cluster these sessions belong to, 0 to 65535.", text.whole_number(0, 65535), "0", shared=True
)
KEY_FILE = Setting(
    "key_file",
    "FILE",
    "Key ring for routing ufrags (TOML).",
    text.parse_path,
    shared=True,
    default_help="$CREDENTIALS_DIRECTORY/keys.toml",
)
NODES = Setting(
    "nodes",
    "ID=ADDR",
    "Where a node id in a ufrag leads; a table [nodes] in TOML.",
    text.parse_node,
    many=True,
    shared=True,
    table=True,
)
CLUSTERS = Setting(
    "clusters",
    "ID=ADDR",
    "Internal address of a relay of another cluster, to which calls of that cluster are passed on; several share them."
    " They are peers. A table [clusters] in TOML: 7 = [ADDR, ADDR]. Clusters that are not in it are found by their"
    " relays' heartbeats, with --redis or --sites.",
    text.parse_cluster_relay,
    many=True,
    shared=True,
    table=True,
)
REDIS = Setting(
    "redis",
    "URL",
    "Where the relays of one site remember routes for each other, and all nodes show that they are alive: redis://,"
    " rediss:// or unix://, with +sentinel or +cluster after the first word for those; none for none. A password"
    " belongs into --redis-password-file, the variable or the configuration file, never on the command line.",
    lambda value: None if value == "none" else parse_redis_url(value),
    shared=True,
    default_help="none",
    printable=printable_url,
)
REDIS_PASSWORD_FILE = Setting(
    "redis_password_file",
    "FILE",
    "File with the password for Redis.",
    text.parse_path,
    shared=True,
)
LOG_FORMAT = Setting(
    "log_format",
    "FORMAT",
    "Log lines on stderr: text, json (one object a line), or auto (text on a terminal, else json).",
    text.one_of("auto", "text", "json"),
    "auto",
    shared=True,
)
LOG_ADDRESSES = Setting(
    "log_addresses",
    "",
    "Let log lines name clients' addresses. Without it only those of -v do.",
    text.parse_switch,
    "false",
    switch=True,
    shared=True,
)
INSECURE_PUBLIC = Setting(
    "spp_insecure_public",
    "",
    "Allow SPP to networks outside the private ranges. SPP is not encrypted: use WireGuard or IPsec instead.",
    text.parse_switch,
    "false",
    switch=True,
)


def _admin(name: str, more: str = "") -> Setting:
    return Setting(
        "admin",
        "SOCKET",
        f"Unix socket of the admin interface; none for no admin interface.{more}",
        lambda value: None if value == "none" else text.parse_path(value),
        default_help=f"{name} in $RUNTIME_DIRECTORY or /run/rtcrelay",
    )


METRICS = Setting(
    "metrics",
    "ADDR",
    "TCP address for /metrics (Prometheus), /healthz and /readyz, read-only, for whoever can reach it; the admin"
    " socket has them too. [::]:PORT takes IPv4 as well; none for none.",
    lambda value: None if value == "none" else text.address()(value),
    default_help="none",
)


RELAY = (
    Setting(
        "listen",
        "ADDR",
        "Public UDP address, IP:PORT or [IP6]:PORT. A wildcard stands for one public address (VIP), on whichever"
        " interface it arrives; several VIPs are several listeners.",
        text.address(PUBLIC_PORT),
        f"0.0.0.0:{PUBLIC_PORT}",
        short="-l",
        many=True,
    ),
    Setting(
        "internal",
        "ADDR",
        "UDP address for SPP towards transceivers and peers, one for each --listen, in order; never a wildcard. Its"
        " port is the ingress id: the same on every relay that serves this VIP, another for each other VIP.",
        text.address(INTERNAL_PORT, concrete=True),
        f"127.0.0.1:{INTERNAL_PORT}",
        many=True,
    ),
    Setting("workers", "N", "Packet threads, 1 to 64.", text.whole_number(1, 64), "1", short="-w"),
    Setting(
        "pin_cpus",
        "LIST",
        "Processors that the packet threads stay on, one each in turn: 2,3 or 4-7. Best with the network card's"
        " interrupts for the same queues there.",
        text.parse_cpus,
        default_help="wherever the kernel likes",
    ),
    Setting(
        "busy_poll",
        "",
        "Packet threads look for packets all the time: less delay, a whole processor each.",
        text.parse_switch,
        "false",
        switch=True,
    ),
    CLUSTER,
    Setting(
        "transceivers",
        "NETWORK",
        "Where this cluster's transceivers are: CIDR, CIDR:PORT, CIDR:FIRST-LAST or [CIDR6]:PORT. Nothing else is ever"
        " forwarded to.",
        text.parse_network_ports,
        f"127.0.0.0/8:{MEDIA_PORT}-{MEDIA_PORT + MAX_WORKERS - 1}",
        many=True,
    ),
    Setting("peers", "CIDR", "Where other relays' internal addresses are.", text.parse_network, many=True),
    CLUSTERS,
    Setting(
        "sites",
        "FILE",
        "Ingresses and clusters, as signaling reads it: relays of clusters that have a redis of their own there are"
        " found by their heartbeats in that.",
        text.parse_path,
    ),
    Setting(
        "ingress_only",
        "",
        "This relay has no cluster and no transceivers of its own: every call goes on to a relay of its cluster, which"
        " --clusters names, or a heartbeat within --peers.",
        text.parse_switch,
        "false",
        switch=True,
    ),
    NODES,
    KEY_FILE,
    Setting(
        "idle_timeout",
        "DURATION",
        "A path without packets is forgotten after this time, 1s to 1h.",
        text.duration_between(1, 3600),
        "60s",
    ),
    Setting("max_flows", "N", "Paths in the table, 1 to 16777216.", text.whole_number(1, 2**24), "262144"),
    Setting(
        "admission_rate",
        "N",
        "New paths per second from one source (IPv4 address, IPv6 /56), 1 to 1000000.",
        text.whole_number(1, 1_000_000),
        "200",
    ),
    Setting(
        "admission_burst",
        "N",
        "New paths at once from one source, 1 to 1000000.",
        text.whole_number(1, 1_000_000),
        "1000",
    ),
    Setting(
        "admission_exempt",
        "CIDR",
        "Sources without that limit, for example a carrier's NAT.",
        text.parse_network,
        many=True,
    ),
    Setting(
        "watch_legs",
        "on|off",
        "Read loss, jitter and round trip of each leg in passing, from what is in the clear.",
        text.parse_switch,
        "on",
    ),
    REDIS,
    REDIS_PASSWORD_FILE,
    _admin("relay.sock"),
    METRICS,
    LOG_FORMAT,
    LOG_ADDRESSES,
    INSECURE_PUBLIC,
)
"""What `rtcrelay serve relay` can be told."""

TRANSCEIVER = (
    Setting("http", "ADDR", "TCP address of signaling (WHIP).", text.address(HTTP_PORT), f"127.0.0.1:{HTTP_PORT}"),
    Setting(
        "media",
        "ADDR",
        "UDP address of the one media socket, where relays send to; never a wildcard.",
        text.address(MEDIA_PORT, concrete=True),
        f"127.0.0.1:{MEDIA_PORT}",
    ),
    Setting(
        "ingress",
        "ADDR",
        "Public address of a relay (VIP:PORT) that is told to clients.",
        text.address(PUBLIC_PORT, concrete=True),
        f"127.0.0.1:{PUBLIC_PORT}",
        many=True,
    ),
    Setting(
        "workers",
        "N",
        "Processes, 1 to 64; one for each processor that is to carry calls. Each has a UDP port of its own: those of"
        " --media (and --direct) and the N-1 after them. All share --http and --metrics.",
        text.whole_number(1, MAX_WORKERS),
        "1",
        short="-w",
    ),
    Setting(
        "node",
        "NAME",
        "Name in logs, status and socket names; of workers NAME-w0, NAME-w1 and so on.",
        text.parse_name,
        default_help="the host's name",
    ),
    Setting(
        "node_id",
        "N",
        "Number in the relays' node table, 0 to 4294967295; necessary if --media is IPv6. Workers take it and the ones"
        " after it.",
        text.whole_number(0, 2**32 - 1),
    ),
    CLUSTER,
    Setting("relays", "CIDR", "Where relays' internal addresses are.", text.parse_network, "127.0.0.0/8", many=True),
    KEY_FILE,
    Setting(
        "auth_token_file",
        "FILE",
        "File with the Bearer token of signaling; without it --http must be a loopback address.",
        text.parse_path,
    ),
    Setting(
        "tls_cert",
        "FILE",
        "Certificate chain of signaling (PEM), for https; without it --http is plain, for a proxy in front.",
        text.parse_path,
    ),
    Setting("tls_key", "FILE", "Private key of that certificate (PEM, not encrypted).", text.parse_path),
    Setting(
        "signaling_address",
        "ADDR",
        "IPv4 address at which the other transceivers reach this one's signaling, if it is not the one of --http, or"
        " of --media where --http is a wildcard.",
        text.address(concrete=True),
    ),
    Setting(
        "signaling_peers",
        "NETWORK",
        "Where the other transceivers' signaling is, as CIDR, CIDR:PORT or CIDR:FIRST-LAST: a request about a session"
        " of theirs is passed on to there and nowhere else.",
        text.parse_network_ports,
        "127.0.0.0/8",
        many=True,
    ),
    NODES,
    Setting(
        "backend",
        "URI",
        "What answers the caller: echo, pcm-echo, tone, null, parrot, file:PATH, python:MODULE:NAME, a service with"
        " OpenAI's Realtime events (ws:// or wss://), or one that takes plain PCM (ws+pcm:// or wss+pcm://).",
        str,
        "echo",
    ),
    Setting(
        "backend_token_file",
        "FILE",
        "File with the Bearer token for a backend behind a WebSocket.",
        text.parse_path,
    ),
    Setting(
        "max_sessions",
        "N",
        "Sessions at once, 1 to 100000; of each worker.",
        text.whole_number(1, 100_000),
        "500",
    ),
    Setting(
        "max_session_duration",
        "DURATION",
        "A session ends after this time, 1s to 24h.",
        text.duration_between(1, 86_400),
        "2h",
    ),
    Setting(
        "max_session_idle",
        "DURATION",
        "A session ends after this time without voice and messages in either direction, 0s to 24h; 0s: it does not."
        " Background noise counts as voice, unless the client sends nothing while its user is silent (DTX).",
        text.duration_between(0, 86_400),
        "0s",
    ),
    Setting(
        "max_session_bit_rate",
        "N",
        "Bits per second of voice that are taken from one client, 0 to 10000000; what is more is dropped. 0: any.",
        text.whole_number(0, 10_000_000),
        "0",
    ),
    Setting(
        "drain_timeout",
        "DURATION",
        "After SIGTERM sessions may go on for this time, 0s to 24h; then they are told and ended. Less than what the"
        " service manager waits: Kubernetes gives 30s, systemd 90s.",
        text.duration_between(0, 86_400),
        "25s",
    ),
    REDIS,
    REDIS_PASSWORD_FILE,
    Setting(
        "direct", "ADDR", "Also take media at this UDP address without a relay (no SPP).", text.address(concrete=True)
    ),
    _admin("transceiver-NODE.sock", " Of workers SOCKET-w0.sock and so on."),
    METRICS,
    Setting(
        "cors_origin",
        "ORIGIN",
        "Web origin that may use signaling, https://HOST[:PORT] or *.",
        text.parse_origin,
        many=True,
    ),
    LOG_FORMAT,
    LOG_ADDRESSES,
    INSECURE_PUBLIC,
)
"""What `rtcrelay serve transceiver` can be told."""

_ALIKE = {setting.name: setting for setting in TRANSCEIVER}
SIGNALING = (
    Setting("http", "ADDR", "TCP address where calls come in.", text.address(8090), "127.0.0.1:8090"),
    Setting(
        "sites",
        "FILE",
        "Ingresses and clusters with their places, and measured round trips between them (TOML).",
        text.parse_path,
    ),
    Setting(
        "told_ingresses",
        "N",
        "Ingresses that a client is told at most, the nearest first, 1 to 8. With more than one it goes on by itself"
        " when the first one dies.",
        text.whole_number(1, 8),
        "2",
    ),
    KEY_FILE,
    _ALIKE["auth_token_file"],
    _ALIKE["tls_cert"],
    _ALIKE["tls_key"],
    Setting(
        "transceiver_cert",
        "FILE",
        "Certificate of the transceivers' signaling, or of who signed it (PEM): they are spoken to by https. Without"
        " it by plain HTTP.",
        text.parse_path,
    ),
    Setting(
        "signaling_peers",
        "NETWORK",
        "Where the transceivers' signaling is, as CIDR, CIDR:PORT or CIDR:FIRST-LAST: a request about a session is"
        " passed on to there and nowhere else.",
        text.parse_network_ports,
        "127.0.0.0/8",
        many=True,
    ),
    NODES,
    Setting(
        "trust_proxy",
        "CIDR",
        "Proxies in front whose word on the client's address and place counts (CF-Connecting-IP, CF-IPLatitude,"
        " CF-IPLongitude, X-Forwarded-For).",
        text.parse_network,
        many=True,
    ),
    Setting(
        "geo_database",
        "FILE",
        "MaxMind database of places by address (.mmdb), for clients whose place no proxy says. Needs rtcrelay[geo].",
        text.parse_path,
    ),
    Setting(
        "insecure_place_from_query",
        "",
        "Let clients say where they are by ?at=LAT,LON. For tests.",
        text.parse_switch,
        "false",
        switch=True,
    ),
    REDIS,
    REDIS_PASSWORD_FILE,
    _admin("signaling.sock"),
    METRICS,
    _ALIKE["cors_origin"],
    LOG_FORMAT,
    LOG_ADDRESSES,
)
"""What `rtcrelay serve signaling` can be told."""

PARROT = (
    Setting("http", "ADDR", "TCP address of its WebSockets.", text.address(8091), "127.0.0.1:8091"),
    _ALIKE["auth_token_file"],
    LOG_FORMAT,
    LOG_ADDRESSES,
)
"""What `rtcrelay serve parrot` can be told."""

PROGRAMS: Mapping[str, tuple[Setting, ...]] = {
    "relay": RELAY,
    "transceiver": TRANSCEIVER,
    "signaling": SIGNALING,
    "parrot": PARROT,
}
"""The settings by TOML table."""
SHARED: Mapping[str, Setting] = {s.name: s for settings in PROGRAMS.values() for s in settings if s.shared}
"""The settings above the tables."""
