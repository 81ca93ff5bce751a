"""The admin socket's former place; see `rtcrelay.admin.unix_socket`."""

from rtcrelay.admin.unix_socket import AdminSocket as AdminSocket
