"""What a service was told to do, as frozen settings. Text is parsed in this package and nowhere else."""

from rtcrelay.config.rules import find_admin_sockets, find_key_file, relay_settings, transceiver_settings
from rtcrelay.config.settings import LogFormat, RelaySettings, TransceiverSettings
from rtcrelay.config.show import show
from rtcrelay.config.text import Address

__all__ = [
    "Address",
    "LogFormat",
    "RelaySettings",
    "TransceiverSettings",
    "find_admin_sockets",
    "find_key_file",
    "relay_settings",
    "show",
    "transceiver_settings",
]
