"""When did a session get how far? For the admin interface and for measuring set-up."""

from __future__ import annotations

from typing import Final, Literal, TypeAlias

Milestone: TypeAlias = Literal["first_check", "keys", "dtls", "first_rtp_in", "first_rtp_out"]
"""``keys``: media could be sent (False Start); ``dtls``: the handshake was complete both ways."""

_NAMES: Final[tuple[Milestone, ...]] = ("first_check", "keys", "dtls", "first_rtp_in", "first_rtp_out")


class Milestones:
    """The times of one session."""

    __slots__ = ("_reached", "created")

    def __init__(self, now: float) -> None:
        self.created = now
        """When the offer came, on the clock of ``now``."""
        self._reached: dict[Milestone, float] = {}

    def reach(self, milestone: Milestone, now: float) -> None:
        """Notes the first time only."""
        self._reached.setdefault(milestone, now)

    def ages_ms(self) -> dict[str, float | None]:
        """Milliseconds from the offer to each, by name with ``_ms``; None: not yet."""
        ages: dict[str, float | None] = {}
        for name in _NAMES:
            at = self._reached.get(name)
            ages[f"{name}_ms"] = None if at is None else round(1000 * (at - self.created), 3)
        return ages
