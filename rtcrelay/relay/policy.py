"""Settings into what the data plane takes."""

from __future__ import annotations

from rtcrelay._dataplane import Policy, RelayConfig
from rtcrelay.config import RelaySettings
from rtcrelay.errors import ConfigError
from rtcrelay.keys import KeyFile, load_key_file, refuse_demo_key


def load_policy(settings: RelaySettings) -> tuple[KeyFile, Policy]:
    """Reads the keys, and makes what may change while a relay runs. Raises ConfigError."""
    key_file = load_key_file(settings.key_file)
    refuse_demo_key(key_file, settings.addresses)
    try:
        policy = Policy(
            key_file.ring,
            cluster=settings.cluster,
            transceivers=settings.transceivers,
            peers=settings.peers,
            nodes=settings.nodes,
            admission_exempt=settings.admission_exempt,
        )
    except ValueError as error:
        raise ConfigError(str(error)) from error
    return key_file, policy


def relay_config(settings: RelaySettings, policy: Policy) -> RelayConfig:
    """What a relay needs to start. Raises ConfigError."""
    try:
        return RelayConfig(
            settings.listeners,
            policy,
            workers=settings.workers,
            max_flows=settings.max_flows,
            idle_timeout_seconds=settings.idle_timeout_seconds,
            claim_rate=settings.admission_rate,
            claim_burst=settings.admission_burst,
            watch_legs=settings.watch_legs,
        )
    except ValueError as error:
        raise ConfigError(str(error)) from error
