"""``rtcrelay ufrag``: make and read routing ufrags."""

from __future__ import annotations

import os
import secrets
import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rtcrelay import config, keys
from rtcrelay._dataplane import Route, UfragError, mint_ufrag
from rtcrelay.cli.app import new_group, report
from rtcrelay.cli.key_options import KEY_FILE_HELP, complete_key_ids
from rtcrelay.cli.options import Listing, leaf, parsed, whole
from rtcrelay.cli.render import Column, show_fields, show_rows
from rtcrelay.cli.services import complete_cluster
from rtcrelay.config.options import CLUSTER
from rtcrelay.config.sources import load_files, resolve
from rtcrelay.config.text import Address, address
from rtcrelay.debug.ufrags import FORM_REASONS, route_row, ufrag_row
from rtcrelay.errors import ExitStatus, UsageError

if TYPE_CHECKING:
    from rtcrelay._dataplane import UfragKind

app = new_group()

COLUMNS = (
    Column("ufrag", "UFRAG", unbroken=True),
    Column("key_id", "KEY", right=True),
    Column("route", "ROUTE"),
    Column("cluster", "CLUSTER", right=True),
    Column("endpoint", "TARGET", pick=lambda row: row["endpoint"] or row["node"], unbroken=True),
    Column("nonce", "NONCE"),
)
VERDICT = Column("verdict", "VERDICT")
FIELDS = (*COLUMNS[:1], VERDICT, Column("message", "MESSAGE"), Column("version", "VERSION"), *COLUMNS[1:])

_MAX_LINE = 4096


@leaf(
    app,
    "encode",
    listing=True,
    examples="""
    rtcrelay ufrag encode --endpoint 127.0.0.1:7000 --key-file keys.toml
    rtcrelay ufrag encode --cluster 7 --node 17 --count 3 --key-file keys.toml --json""",
)
def encode(
    options: Listing,
    endpoint: Annotated[
        str | None, typer.Option("--endpoint", metavar="IP:PORT", help="Transceiver to route to, by IPv4 address.")
    ] = None,
    node: Annotated[
        str | None, typer.Option("--node", metavar="N", help="Transceiver to route to, by node id, 0 to 4294967295.")
    ] = None,
    session: Annotated[
        str | None, typer.Option("--session", metavar="IP:PORT", help="HTTP owner of a session; not valid for media.")
    ] = None,
    probe: Annotated[bool, typer.Option("--probe", help="A probe: answered, but no session comes of it.")] = False,
    cluster: Annotated[
        str | None,
        typer.Option(
            "--cluster",
            metavar="ID",
            autocompletion=complete_cluster,
            help=f"{CLUSTER.help} [default: 0] [env: {CLUSTER.variable}]",
        ),
    ] = None,
    key_file: Annotated[str | None, typer.Option("--key-file", metavar="FILE", help=KEY_FILE_HELP)] = None,
    key_id: Annotated[
        str | None,
        typer.Option(
            "--key-id",
            metavar="N",
            autocompletion=complete_key_ids,
            help="Key to use, 0 to 7. [default: the active one]",
        ),
    ] = None,
    nonce: Annotated[
        str | None, typer.Option("--nonce", metavar="HEX", help="24 bits as 6 hexadecimal digits. [default: random]")
    ] = None,
    count: Annotated[str, typer.Option("--count", metavar="N", help="How many, 1 to 1000000. [default: 1]")] = "1",
) -> None:
    """Make ufrags that lead to a transceiver.

    Prints the ufrags only, one a line; -o table and -o json show every field.
    """
    kind, where, number = _target(endpoint, node, session, probe)
    many = whole("--count", count, 1, 1_000_000)
    fixed = None if nonce is None else _nonce(nonce)
    if many > 1 and fixed is not None:
        raise UsageError("--nonce and --count exclude each other: a nonce is used once")
    found = resolve(None, CLUSTER, {"cluster": cluster}, load_files(options.config, os.environ), os.environ)
    ring = keys.load_key_file(config.find_key_file({"key_file": key_file}, options.config))
    key = keys.require_active_key(ring) if key_id is None else whole("--key-id", key_id, 0, keys.MAX_KEY_ID)
    rows = []
    for _ in range(many):
        bits = secrets.randbits(24) if fixed is None else fixed
        ip, port = where or (None, 0)
        route = Route(kind, found.parsed, ip=ip, node=number, port=port, nonce=bits, key_id=key)
        try:
            rows.append(route_row(mint_ufrag(ring.ring, route), route))
        except UfragError as error:
            raise UsageError(f"--key-id: {error.args[1]}") from error
    if options.form in (None, "plain"):
        print("\n".join(str(row["ufrag"]) for row in rows[: options.limit]))
    else:
        show_rows(rows, COLUMNS, options)


@leaf(
    app,
    "decode",
    listing=True,
    examples="""
    rtcrelay ufrag decode "$(rtcrelay ufrag encode --endpoint 127.0.0.1:7000)"
    rtcrelay ufrag encode --node 17 --count 3 --key-file keys.toml | rtcrelay ufrag decode --key-file keys.toml -o jsonl
    rtcrelay sessions list -o jsonl | jq -r .ufrag | rtcrelay ufrag decode""",
)
def decode(
    options: Listing,
    ufrags: Annotated[
        list[str] | None, typer.Argument(metavar="UFRAG", help="SERVER or SERVER:CLIENT; - or nothing reads lines.")
    ] = None,
    key_file: Annotated[str | None, typer.Option("--key-file", metavar="FILE", help=KEY_FILE_HELP)] = None,
) -> ExitStatus:
    """Read where ufrags lead.

    Exits with 1 if a ufrag was not made with a key of the key file, with 65 if one is not a routing ufrag at all.
    """
    ring = keys.load_key_file(config.find_key_file({"key_file": key_file}, options.config))
    rows: list[dict[str, Any]] = []
    status = ExitStatus.OK
    for word in _inputs(ufrags):
        row, outcome = _read(ring, word)
        status = max(status, outcome)
        if outcome and options.verbosity >= 0:
            report(f"{row['ufrag']!r}: {row['message']}", None, outcome)
        if options.form == "jsonl" and not options.sort_by and options.limit is None:
            show_rows([row], (*COLUMNS, VERDICT), options)
        else:
            rows.append(row)
    if len(rows) == 1 and options.form in (None, "table"):
        show_fields(rows[0], FIELDS, options)
    elif rows:
        show_rows(rows, (*COLUMNS, VERDICT), options)
    return status


def _target(
    endpoint: str | None, node: str | None, session: str | None, probe: bool
) -> tuple[UfragKind, Address | None, int | None]:
    if sum(given is not None for given in (endpoint, node, session)) != 1:
        raise UsageError("expected exactly one of --endpoint, --node and --session")
    if session is not None:
        if probe:
            raise UsageError("--probe goes with --endpoint or --node, not with --session")
        return "session", ipv4_endpoint("--session", session), None
    if node is not None:
        return "probe_node" if probe else "node", None, whole("--node", node, 0, 2**32 - 1)
    return "probe_endpoint" if probe else "endpoint", ipv4_endpoint("--endpoint", endpoint or ""), None


def ipv4_endpoint(option: str, text: str) -> Address:
    """What an option says of a transceiver's address, which must fit into a ufrag. Raises UsageError."""
    ip, port = parsed(option, text, address(concrete=True))
    if ":" in ip:
        raise UsageError(f"{option}: {text!r} is IPv6, which does not fit into a ufrag", hint="--node N")
    if port == 0:
        raise UsageError(f"{option}: {text!r} has port 0, expected 1 to 65535")
    return ip, port


def _nonce(text: str) -> int:
    if len(text) != 6 or not set(text.lower()) <= set("0123456789abcdef"):
        raise UsageError(f"--nonce: {text!r} is not 6 hexadecimal digits")
    return int(text, 16)


def _inputs(ufrags: Sequence[str] | None) -> Iterator[str]:
    if not ufrags and sys.stdin.isatty():
        raise UsageError("expected ufrags as arguments, or lines on stdin")
    for word in ufrags or ("-",):
        if word == "-":
            yield from _lines()
        else:
            yield word


def _lines() -> Iterator[str]:
    """Lines of stdin; what is longer than any username is cut, so that memory stays bounded."""
    whole_line = True
    while line := sys.stdin.buffer.readline(_MAX_LINE):
        if whole_line and line.strip():
            yield line.strip().decode("utf-8", "backslashreplace")
        whole_line = line.endswith(b"\n")


def _read(ring: keys.KeyFile, word: str) -> tuple[dict[str, Any], ExitStatus]:
    ufrag = word.partition(":")[0]
    row = ufrag_row(ring.ring, ufrag)
    if row["verdict"] == "ok":
        return row, ExitStatus.OK
    return row, ExitStatus.DATA if row["verdict"] in FORM_REASONS else ExitStatus.PROBLEM
