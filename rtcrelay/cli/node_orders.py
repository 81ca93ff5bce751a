"""``rtcrelay nodes cordon``, ``uncordon`` and ``drain``: which nodes take new calls."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from rtcrelay.cli.node_options import CLUSTER, COLUMNS, NAMES, app, row_of
from rtcrelay.cli.options import Flags, Listing, leaf, parsed, whole
from rtcrelay.cli.redis_access import SETTINGS, who, with_store
from rtcrelay.cli.render import note, show_rows
from rtcrelay.cli.services import YES, asks
from rtcrelay.config.text import duration_between, parse_duration
from rtcrelay.errors import ExitStatus, UsageError

if TYPE_CHECKING:
    from rtcrelay.store.node_entry import Heartbeat, State
    from rtcrelay.store.redis_store import RedisStore

_WAIT = typer.Option("--wait", help="Return only when their heartbeats say so.")
_WAIT_EMPTY = typer.Option("--wait", help="Return only when no flows and sessions are left on them.")
_TIMEOUT = typer.Option("--timeout", metavar="DURATION", help="Wait at most this long, then exit with 75.")
_DEADLINE = typer.Option(
    "--deadline",
    metavar="DURATION",
    help="End the sessions that are left after this time, 0s to 168h; for transceivers. [default: they may go on]",
)


@leaf(
    app,
    "cordon",
    listing=True,
    settings=SETTINGS,
    examples="""
    rtcrelay nodes cordon transceiver-a
    rtcrelay nodes cordon 10.0.0.5:3479 --wait --timeout 10s""",
)
def cordon(
    options: Listing,
    flags: Flags,
    names: Annotated[list[str], NAMES],
    cluster: Annotated[str | None, CLUSTER] = None,
    wait: Annotated[bool, _WAIT] = False,
    timeout: Annotated[str | None, _TIMEOUT] = None,
) -> ExitStatus | None:
    """Have nodes take no new calls until they are uncordoned, also after a restart; what they have goes on.

    A transceiver answers offers with 503 and Retry-After. A relay is no longer ready, and does not answer probes of its
    public address. They hear of it within 5 s.
    """
    return _order(options, flags, (names, cluster), "cordoned", (wait, timeout))


@leaf(
    app,
    "uncordon",
    listing=True,
    settings=SETTINGS,
    examples="rtcrelay nodes uncordon transceiver-a --wait\nrtcrelay nodes uncordon 10.0.0.5:3479 --json",
)
def uncordon(
    options: Listing,
    flags: Flags,
    names: Annotated[list[str], NAMES],
    cluster: Annotated[str | None, CLUSTER] = None,
    wait: Annotated[bool, _WAIT] = False,
    timeout: Annotated[str | None, _TIMEOUT] = None,
) -> ExitStatus | None:
    """Have nodes take new calls again, after they were cordoned or had to drain.

    A node that drains because its own machine wants it to ("rtcrelay drain", SIGTERM) goes on draining.
    """
    return _order(options, flags, (names, cluster), "serving", (wait, timeout))


@leaf(
    app,
    "drain",
    listing=True,
    settings=SETTINGS,
    examples="""
    rtcrelay nodes drain transceiver-a --deadline 10m --wait
    rtcrelay nodes drain 10.0.0.5:3479 --wait --timeout 2m""",
)
def drain(
    options: Listing,
    flags: Flags,
    names: Annotated[list[str], NAMES],
    cluster: Annotated[str | None, CLUSTER] = None,
    wait: Annotated[bool, _WAIT_EMPTY] = False,
    timeout: Annotated[str | None, _TIMEOUT] = None,
    deadline: Annotated[str | None, _DEADLINE] = None,
    yes: Annotated[bool, YES] = False,
) -> ExitStatus | None:
    """Have nodes take no new calls before they are ended: as cordon, but only for the processes that run now.

    No process is ended: that is for whoever started it. With --deadline, the calls that are left then are.
    """
    seconds = None if deadline is None else parsed("--deadline", deadline, duration_between(0, 604_800))
    if not (yes or _confirms(names)):
        return ExitStatus.PROBLEM
    return _order(options, flags, (names, cluster), "draining", (wait, timeout), seconds)


def _order(
    options: Listing,
    flags: Flags,
    which: tuple[Sequence[str], str | None],
    state: State,
    waiting: tuple[bool, str | None],
    deadline_seconds: float | None = None,
) -> ExitStatus | None:
    (names, cluster_text), (wait, timeout) = which, waiting
    if timeout is not None and not wait:
        raise UsageError("--timeout needs --wait")
    cluster = None if cluster_text is None else whole("--cluster", cluster_text, 0, 65_535)
    seconds = None if timeout is None else parsed("--timeout", timeout, parse_duration)

    async def work(store: RedisStore) -> list[Heartbeat]:
        from rtcrelay.store.directory import read_nodes
        from rtcrelay.store.orders import find_nodes, order_nodes, wait_for_nodes

        nodes = find_nodes(await read_nodes(store), names, cluster)
        if deadline_seconds is not None and any(node.role == "relay" for node in nodes):
            raise UsageError("--deadline is for transceivers: a relay has no calls to end")
        await order_nodes(store, nodes, state, who(), deadline_seconds)
        if not wait:
            note(f"{', '.join(node.node for node in nodes)} will be {state} within 5 s", options)
            return []
        await wait_for_nodes(store, nodes, state, lambda text: note(text, options), seconds)
        now = await read_nodes(store)
        return [other for node in nodes for other in now.named(node.node, node.cluster)]

    _show(with_store(flags, options.config, work), options)
    return None


def _show(nodes: Sequence[Heartbeat], options: Listing) -> None:
    from rtcrelay.store.directory import now_ms

    if nodes:
        show_rows([row_of(node, now_ms()) for node in nodes], COLUMNS, options)


def _confirms(names: Sequence[str]) -> bool:
    """Asks a person; a program means what it says."""
    return not sys.stdin.isatty() or asks(f"Drain {', '.join(names)}?")
