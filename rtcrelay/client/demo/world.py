"""What the demo's steps share: the processes, the calls, and how a call is counted at its far end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from rtcrelay.client.caller import Caller
from rtcrelay.client.core import Call
from rtcrelay.client.demo.site import Site, Transceiver
from rtcrelay.client.demo.steps import Figure, Row, Step
from rtcrelay.config.text import format_address
from rtcrelay.errors import BackendError, PeerError, RtcrelayError

SETUP_SECONDS = 10.0
"""Longest wait for one part of the set-up; on an idle machine each takes milliseconds."""
COUNTER_SECONDS = 2.0
"""Longest wait until a process has counted what the client has already seen the effect of."""
SETTLE_SECONDS = 0.15
"""Both ends are counted after this much silence, when no packet is under way on loopback any more."""


@dataclass(frozen=True, slots=True)
class Tally:
    """Audio packets of one call, counted at both ends in a silence."""

    client_sent: int
    server_received: int
    server_sent: int
    client_received: int
    client_echoed: int

    def since(self, earlier: Tally) -> Tally:
        """What was added."""
        return Tally(
            self.client_sent - earlier.client_sent,
            self.server_received - earlier.server_received,
            self.server_sent - earlier.server_sent,
            self.client_received - earlier.client_received,
            self.client_echoed - earlier.client_echoed,
        )


@dataclass(slots=True)
class Conversation:
    """One call: the caller, and the transceiver that its signaling went to."""

    node: Transceiver
    caller: Caller
    session_id: str = ""
    """As the transceiver names it."""
    tally: Tally = Tally(0, 0, 0, 0, 0)
    """At the last count."""
    checks: int = 0
    """STUN checks that the transceiver had counted when the relay was killed."""

    @property
    def name(self) -> str:
        """How messages call its transceiver."""
        return f"transceiver {self.node.name}"

    @property
    def call(self) -> Call:
        """The client's end."""
        return self.caller.call

    @property
    def client(self) -> str:
        """The caller's address, as the relay sees it."""
        assert self.caller.local is not None, "the caller has dialled"
        return format_address(self.caller.local)

    async def until(self, condition: Callable[[Call], bool], what: str) -> None:
        """Waits for something at the client's end; PeerError if it does not come."""
        await self.caller.until(lambda: condition(self.call), f"the call to {self.node.name}: {what}", SETUP_SECONDS)

    async def count(self, name: str) -> int:
        """A counter of the transceiver."""
        return (await self.node.admin.stats()).count(name)

    async def counted(self, name: str, least: int) -> int:
        """The same, once it has reached a value or `COUNTER_SECONDS` are over: the client may be ahead of it."""
        seen = await self.count(name)
        for _ in range(int(COUNTER_SECONDS / 0.01)):
            if seen >= least:
                break
            await asyncio.sleep(0.01)
            seen = await self.count(name)
        return seen

    async def session(self) -> dict[str, Any]:
        """The transceiver's one session; PeerError if it has none or several."""
        sessions = await self.node.admin.sessions()
        if len(sessions) != 1:
            raise PeerError(f"{self.name}: expected 1 session, saw {len(sessions)}")
        return sessions[0]

    async def tally_now(self) -> Tally:
        """Counts at both ends; call it in a silence."""
        counts = self.call.counts(asyncio.get_running_loop().time())
        stats = await self.node.admin.stats()
        return Tally(
            counts.audio_sent,
            stats.count("rtp_in"),
            stats.count("rtp_out"),
            counts.audio_received,
            counts.audio_echoed,
        )

    def mute(self, muted: bool) -> None:
        """Stops speaking or goes on."""
        self.call.mute(muted, asyncio.get_running_loop().time())
        self.caller.wake()


@dataclass(slots=True)
class World:
    """Everything that is running."""

    site: Site
    half_seconds: float
    """Of speech, before and after the relay is killed."""
    calls: list[Conversation] = field(default_factory=list)
    killed_at: float = 0.0
    """On the loop's clock."""
    down_ms: float = 0.0
    """From the kill until the new relay was ready."""

    async def next_hops(self, call: Conversation) -> list[str]:
        """Where the relay's path table sends a call's packets."""
        flow = await self.site.relay.admin.flow(call.client)
        return [claim["next_hop"] for claim in flow["claims"]] if flow else []

    async def pass_time(self, seconds: float) -> None:
        """Lets the calls go on for a while; BackendError as soon as one of the processes ends."""
        waits = {asyncio.ensure_future(daemon.wait()): daemon for daemon in self.site.daemons}
        try:
            ended, _ = await asyncio.wait(waits, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
            for wait in ended:
                raise BackendError(f"the {waits[wait].name} ended by itself with status {wait.result()}")
        finally:
            for wait in waits:
                wait.cancel()

    async def silence(self) -> None:
        """Mutes every call until nothing is under way."""
        for call in self.calls:
            call.mute(True)
        await asyncio.sleep(SETTLE_SECONDS)

    def speak(self) -> None:
        """Ends the silence."""
        for call in self.calls:
            call.mute(False)

    def add_row(self, step: Step, title: str, key: str, proof: str) -> None:
        """Adds a figure of each call to the table."""
        step.rows.append(Row(title, tuple(words(figures.get(key)) for figures in step.calls), proof))

    async def close(self) -> None:
        """Ends calls and processes, in whatever state they are."""
        for call in self.calls:
            with suppress(RtcrelayError):
                await call.caller.hang_up()
        await self.site.stop()


def words(figure: Figure) -> str:
    """A figure for people: times in milliseconds with three digits that mean something."""
    if isinstance(figure, float):
        return f"{figure:.0f} ms" if figure >= 99.5 else f"{figure:.1f} ms"
    return "-" if figure is None else str(figure)


def between(start_ms: object, end_ms: object) -> float | None:
    """The time from one moment to another, if both happened."""
    if isinstance(start_ms, int | float) and isinstance(end_ms, int | float):
        return round(end_ms - start_ms, 3)
    return None
