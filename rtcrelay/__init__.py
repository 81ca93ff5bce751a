"""rtcrelay: run and debug WebRTC relays for voice AI."""

__version__ = "0.1.0"
