"""Which ICE credentials does a session have? One pair after the offer, another after each ICE restart.

The old pair keeps working until the client has used the new one for a while: the answer to a restart may be lost,
and checks made before it may be under way. Law: once the new pair is used, checks with an old one move nothing.
"""

from __future__ import annotations

from typing import Final

from rtcrelay.rtc.offer_answer import IceCredentials

KEEP_SECONDS: Final = 10.0
"""How long an old pair is answered after the first check with a newer one."""
MAX_GENERATIONS: Final = 3
"""Pairs at once: the one in use, and restarts that the client may not have heard of."""


class Generation:
    """The credentials of both ends between two ICE restarts."""

    __slots__ = ("key", "local", "number", "remote")

    def __init__(self, number: int, local: IceCredentials, remote: IceCredentials) -> None:
        self.number, self.local, self.remote = number, local, remote
        self.key = local.password.encode()
        """Of MESSAGE-INTEGRITY in checks with our ufrag, and in our answers to them."""


class Generations:
    """The pairs that still work, oldest first."""

    def __init__(self, local: IceCredentials, remote: IceCredentials) -> None:
        self.newest = Generation(0, local, remote)
        """The last one that was agreed on."""
        self.in_use = self.newest
        """The newest that the client sent a check with; the first one before there was any."""
        self._all: list[Generation] = [self.newest]
        self._used_since = 0.0

    def find(self, ufrag: bytes) -> Generation | None:
        """The one with this ufrag of ours."""
        for generation in reversed(self._all):
            if generation.local.ufrag.encode() == ufrag:
                return generation
        return None

    def ufrags(self) -> list[str]:
        """Ours, of all of them."""
        return [generation.local.ufrag for generation in self._all]

    def restart(self, local: IceCredentials, remote: IceCredentials) -> list[str]:
        """Takes new credentials; returns our ufrags that stopped working, so that there are never too many."""
        self.newest = Generation(self.newest.number + 1, local, remote)
        self._all.append(self.newest)
        unused = [each for each in self._all if each not in (self.in_use, self.newest)]
        dropped = unused[: max(0, len(self._all) - MAX_GENERATIONS)]
        return self._drop(dropped)

    def handle_check(self, generation: Generation, now: float) -> bool:
        """A valid check with one of them. False if the client uses a newer one already."""
        if generation.number > self.in_use.number:
            self.in_use, self._used_since = generation, now
        return generation is self.in_use

    def poll_timeout(self) -> float | None:
        """When `handle_timeout` has something to drop; None: nothing is old."""
        return self._used_since + KEEP_SECONDS if self._all[0] is not self.in_use else None

    def handle_timeout(self, now: float) -> list[str]:
        """Drops what is older than the one in use, if its time is over; returns our ufrags of these."""
        at = self.poll_timeout()
        if at is None or now < at:
            return []
        return self._drop([each for each in self._all if each.number < self.in_use.number])

    def _drop(self, dropped: list[Generation]) -> list[str]:
        self._all = [each for each in self._all if each not in dropped]
        return [each.local.ufrag for each in dropped]
