"""aiortc applications on one UDP port: their peer connections share one socket, behind a relay or without.

Change one line, ``from aiortc import RTCPeerConnection``, into::

    from rtcrelay.oneport import RTCPeerConnection

or, where a framework has that line, call `install` before importing it. The port is the one of
``rtcrelay serve transceiver``, with the same variables (``RTCRELAY_MEDIA``, ``RTCRELAY_INGRESS``,
``RTCRELAY_DIRECT``, ``RTCRELAY_RELAYS``, ``RTCRELAY_KEY_FILE``, …) and configuration file; it is opened when the
first connection is made, and belongs to that event loop.
"""

from __future__ import annotations

from rtcrelay.oneport.peer import RTCPeerConnection as RTCPeerConnection
from rtcrelay.oneport.peer import install as install
from rtcrelay.oneport.port import SharedPort as SharedPort
