"""The admin socket's former place; see `rtcrelay.daemon`."""

from rtcrelay.daemon import AdminSocket as AdminSocket
