"""aiortc's peer connection with its ICE on the shared port; everything else is aiortc's own.

It overrides one private method of aiortc, which a test compares with the pinned version.
"""

from __future__ import annotations

from typing import Any

import aiortc
from aiortc import RTCBundlePolicy, RTCConfiguration, RTCIceGatherer, RTCIceTransport
from aiortc.rtcdtlstransport import RTCDtlsTransport
from aiortc.rtcicetransport import RTCIceParameters

from rtcrelay.oneport.connection import LiteConnection
from rtcrelay.oneport.port import SharedPort

_STOCK = aiortc.RTCPeerConnection


class _LiteGatherer(RTCIceGatherer):
    def __init__(self, connection: LiteConnection) -> None:
        super().__init__(iceServers=[])
        self._connection: Any = connection

    def getLocalParameters(self) -> RTCIceParameters:  # aiortc's name
        mine = super().getLocalParameters()
        return RTCIceParameters(mine.usernameFragment, mine.password, iceLite=True)


class RTCPeerConnection(_STOCK):
    """A drop-in for ``aiortc.RTCPeerConnection``; ICE servers are not needed and not asked."""

    def __init__(self, configuration: RTCConfiguration | None = None) -> None:
        """Takes the running loop's `SharedPort`. Raises ConfigError if that cannot be opened."""
        super().__init__(RTCConfiguration(iceServers=[], bundlePolicy=RTCBundlePolicy.MAX_BUNDLE))
        self._port = SharedPort.current()

    def _RTCPeerConnection__createDtlsTransport(self) -> RTCDtlsTransport:
        private: Any = self
        connection = LiteConnection(self._port)
        gatherer = _LiteGatherer(connection)
        gatherer.on("statechange", private._RTCPeerConnection__updateIceGatheringState)
        ice = RTCIceTransport(gatherer)
        ice.on("statechange", private._RTCPeerConnection__updateIceConnectionState)
        ice.on("statechange", private._RTCPeerConnection__updateConnectionState)
        private._RTCPeerConnection__iceTransports.add(ice)
        dtls = RTCDtlsTransport(ice, private._RTCPeerConnection__certificates)
        dtls.on("statechange", private._RTCPeerConnection__updateConnectionState)
        dtls.on("statechange", lambda: connection.handle_connected() if dtls.state == "connected" else None)
        private._RTCPeerConnection__dtlsTransports.add(dtls)
        private._RTCPeerConnection__updateIceGatheringState()
        private._RTCPeerConnection__updateIceConnectionState()
        private._RTCPeerConnection__updateConnectionState()
        return dtls


def install() -> None:
    """Has every later ``from aiortc import RTCPeerConnection`` get ours: for frameworks that have that line."""
    aiortc.RTCPeerConnection = RTCPeerConnection  # type: ignore[misc]
    aiortc.rtcpeerconnection.RTCPeerConnection = RTCPeerConnection  # type: ignore[misc]
