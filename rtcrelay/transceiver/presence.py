"""What does a transceiver say of itself to the others? Its heartbeat."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rtcrelay.config.text import format_address, is_wildcard
from rtcrelay.store.beacon import Pulse
from rtcrelay.store.node_entry import Heartbeat, HeldKey, Load, Order

if TYPE_CHECKING:
    from rtcrelay._dataplane import Address
    from rtcrelay.metrics.loop_lag import LoopLag
    from rtcrelay.transceiver.control import Control


class TransceiverPresence:
    """A running transceiver, see `rtcrelay.store.beacon.Presence`."""

    def __init__(self, control: Control, lag: LoopLag) -> None:
        self._control, self._lag = control, lag

    def identity(self) -> tuple[int, str]:
        """Its cluster and its name."""
        settings = self._control.transceiver.settings
        return settings.cluster, settings.node

    def describe(self, pulse: Pulse) -> Heartbeat:
        """Its heartbeat, with the longest lag since the last one."""
        transceiver = self._control.transceiver
        settings, (media, http) = transceiver.settings, transceiver.addresses
        lag_ms = round(self._lag.pull_worst() * 1000, 3)
        return Heartbeat(
            role="transceiver",
            node=settings.node,
            cluster=settings.cluster,
            state=self._control.standing.state,
            process=pulse.process,
            load=Load(transceiver.session_count, settings.max_sessions, pulse.cpu, lag_ms),
            beat_ms=pulse.at_ms,
            keys=[HeldKey(key.id, key.state, key.fingerprint) for key in transceiver.keys.keys],
            media=format_address(media),
            http=format_address(settings.signaling_address or _reachable(http, media)),
            node_id=settings.node_id,
        )

    def obey(self, order: Order) -> None:
        """See `Control.obey`."""
        self._control.obey(order)


def _reachable(http: Address, media: Address) -> Address:
    """Where others reach signaling: the interface of media, if it listens on all."""
    return (media[0] if is_wildcard(http[0]) else http[0], http[1])
