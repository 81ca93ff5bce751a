"""Does a node want new calls? What its own operator said, and what an order through Redis said last."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rtcrelay.store.node_entry import Order, State


@dataclass(slots=True)
class Standing:
    """What holds for one process."""

    is_draining_here: bool = False
    """Whether the admin interface or a signal wants it to drain."""
    order: Order | None = None
    """The last one obeyed."""

    @property
    def state(self) -> State:
        """What a heartbeat says: the stricter of both."""
        if self.is_draining_here:
            return "draining"
        return "serving" if self.order is None else self.order.state

    @property
    def reason(self) -> str | None:
        """Why nothing new should come, in a few words; None if it should."""
        if self.is_draining_here or self.order is None or self.order.state == "serving":
            return "draining" if self.is_draining_here else None
        return f"{self.order.state} by {self.order.by}"
