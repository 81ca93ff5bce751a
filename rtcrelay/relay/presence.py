"""What does a relay say of itself to the others? Its heartbeat."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rtcrelay.config.text import format_address
from rtcrelay.store.beacon import Pulse
from rtcrelay.store.node_entry import Heartbeat, HeldKey, Ingress, Load, Order

if TYPE_CHECKING:
    from rtcrelay.relay.control import Control


class RelayPresence:
    """A running relay, see `rtcrelay.store.beacon.Presence`."""

    def __init__(self, control: Control) -> None:
        self._control = control

    def identity(self) -> tuple[int | None, str]:
        """Its cluster, if it has one, and its name."""
        return self._control.settings.cluster, self._control.name

    def describe(self, pulse: Pulse) -> Heartbeat:
        """Its heartbeat."""
        control = self._control
        cluster, name = self.identity()
        return Heartbeat(
            role="relay",
            node=name,
            cluster=cluster,
            state=control.standing.state,
            process=pulse.process,
            load=Load(control.relay.gauges()["flows"], control.settings.max_flows, pulse.cpu),
            beat_ms=pulse.at_ms,
            keys=[HeldKey(key.id, key.state, key.fingerprint) for key in control.key_file.keys],
            ingresses=[
                Ingress(internal[1], format_address(public), format_address(internal))
                for public, internal in control.relay.listeners()
            ],
        )

    def obey(self, order: Order) -> None:
        """See `Control.obey`."""
        self._control.obey(order)
