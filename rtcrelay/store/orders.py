"""Having nodes take no new calls, or take them again, and waiting until they do."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Final

from rtcrelay.config.text import format_duration
from rtcrelay.errors import BackendError, ExitStatus, UsageError
from rtcrelay.store.directory import Nodes, Store, give_order, now_ms, read_nodes
from rtcrelay.store.node_entry import Heartbeat, Order, State

POLL_SECONDS: Final = 0.5
"""Between two looks; a node speaks up at once when its state changes, else every five seconds."""


def find_nodes(nodes: Nodes, names: Sequence[str], cluster: int | None) -> list[Heartbeat]:
    """The nodes with these names. Raises UsageError if one is not alive, or there are several in several clusters."""
    found = []
    for name in dict.fromkeys(names):
        known = nodes.meant(name, cluster)
        if not known:
            where = "" if cluster is None else f" in cluster {cluster}"
            raise UsageError(
                f"no node {name!r} is alive{where}",
                hint="'rtcrelay nodes list' has those that are",
                status=ExitStatus.PROBLEM,
            )
        if len(clusters := {node.cluster: None for node in known}) > 1:
            raise UsageError(
                f"there is a node {name!r} in clusters {' and '.join(map(str, clusters))}",
                hint="--cluster ID names one",
            )
        found += known
    return found


async def order_nodes(
    store: Store, nodes: Sequence[Heartbeat], state: State, by: str, deadline_seconds: float | None = None
) -> None:
    """Tells nodes what is wanted. To drain is wanted of these processes, and not of those that come after them."""
    for node in nodes:
        instance = node.process.instance if state == "draining" else None
        order = Order(state=state, by=by, at_ms=now_ms(), instance=instance, deadline_seconds=deadline_seconds)
        await give_order(store, node, order)


async def wait_for_nodes(
    store: Store,
    nodes: Sequence[Heartbeat],
    state: State,
    tell: Callable[[str], None],
    timeout_seconds: float | None = None,
) -> None:
    """Returns once every node is in the state; if that is ``draining``, once nothing is left on it either.

    A node that has ended, or another process under its name, has drained. ``tell`` hears of the progress. Raises
    BackendError: `ExitStatus.TEMPORARY` after the time, `ExitStatus.PROBLEM` if a node that should stay has gone.
    """
    clock = asyncio.get_running_loop().time
    deadline = None if timeout_seconds is None else clock() + timeout_seconds
    told = ""
    while True:
        missing = _missing(await read_nodes(store), nodes, state)
        if missing is None:
            return
        if deadline is not None and clock() >= deadline:
            raise BackendError(f"after {format_duration(timeout_seconds or 0)}: {missing}", status=ExitStatus.TEMPORARY)
        if missing != told:
            tell(missing)
            told = missing
        await asyncio.sleep(POLL_SECONDS if deadline is None else min(POLL_SECONDS, max(0.0, deadline - clock())))


def _missing(now: Nodes, nodes: Sequence[Heartbeat], state: State) -> str | None:
    """What is still to be waited for, in words."""
    left, waiting = 0, list[str]()
    for node in nodes:
        same = [other for other in now.named(node.node, node.cluster) if _is_same(other, node)]
        if not same and state != "draining":
            raise BackendError(f"node {node.node!r} has gone", status=ExitStatus.PROBLEM)
        for other in same:
            if other.state != state:
                waiting.append(f"{other.node} is still {other.state}")
            elif state == "draining":
                left += other.load.used
    if waiting:
        return ", ".join(waiting)
    return f"{left} flows or sessions are left" if left else None


def _is_same(one: Heartbeat, other: Heartbeat) -> bool:
    return one.process.instance == other.process.instance
