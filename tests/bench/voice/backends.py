"""Backends of the bench."""

from __future__ import annotations

from rtcrelay.transceiver.backends import Call
from rtcrelay.transceiver.backends.pcm import PcmBackend


class PcmIn(PcmBackend):
    """Hears samples and says nothing."""

    def __init__(self, call: Call) -> None:
        super().__init__(call)
        self.heard_bytes = 0

    def on_pcm(self, pcm: bytes) -> None:
        """Counts them."""
        self.heard_bytes += len(pcm)
