"""The backends that keep nothing: echo and null."""

from __future__ import annotations

from rtcrelay.transceiver.audio import OpusPacket
from rtcrelay.transceiver.backends.interface import BaseBackend, Call, Message


class Echo(BaseBackend):
    """Returns everything unchanged and in the order of arrival."""

    def __init__(self, call: Call) -> None:
        self._send_opus, self._send_message = call.send_opus, call.send_message

    def on_opus(self, packet: OpusPacket) -> None:
        """Sends the payload back with its own timestamp, so that pauses and losses keep their length."""
        self._send_opus(packet.payload, timestamp=packet.timestamp, marker=packet.marker)

    def on_message(self, channel: int, label: str, message: Message) -> None:
        """Sends the message back on its channel."""
        self._send_message(channel, message)


class Null(BaseBackend):
    """Hears everything and says nothing. The client may as well save its packets."""

    wants_dtx = True

    def __init__(self, call: Call) -> None:
        """Needs nothing of the call."""
