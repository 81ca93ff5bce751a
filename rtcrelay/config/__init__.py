"""What a service was told to do, as frozen settings. Text is parsed in this package and nowhere else."""

from rtcrelay.config.rules import (
    READERS,
    find_admin_sockets,
    find_key_file,
    find_redis,
    find_sites,
    find_steering,
    parrot_settings,
    relay_settings,
    signaling_settings,
    transceiver_settings,
)
from rtcrelay.config.settings import LogFormat, ParrotSettings, RelaySettings, SignalingSettings, TransceiverSettings
from rtcrelay.config.show import effective, show
from rtcrelay.config.text import Address

__all__ = [
    "READERS",
    "Address",
    "LogFormat",
    "ParrotSettings",
    "RelaySettings",
    "SignalingSettings",
    "TransceiverSettings",
    "effective",
    "find_admin_sockets",
    "find_key_file",
    "find_redis",
    "find_sites",
    "find_steering",
    "parrot_settings",
    "relay_settings",
    "show",
    "signaling_settings",
    "transceiver_settings",
]
