"""Settings into what the data plane takes."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

from rtcrelay._dataplane import Policy, RelayConfig
from rtcrelay.config import Address, RelaySettings
from rtcrelay.errors import ConfigError
from rtcrelay.keys import KeyFile, load_key_file, refuse_demo_key


def load_policy(settings: RelaySettings) -> tuple[KeyFile, Policy]:
    """Reads the keys, and makes what may change while a relay runs. Raises ConfigError."""
    key_file = load_key_file(settings.key_file)
    refuse_demo_key(key_file, settings.addresses)
    return key_file, make_policy(settings, key_file)


def make_policy(
    settings: RelaySettings,
    key_file: KeyFile,
    *,
    clusters: Mapping[int, Sequence[Address]] | None = None,
    hints: Mapping[int, Address] | None = None,
    draining: bool = False,
) -> Policy:
    """What may change while a relay runs, with keys that were read before. Raises ConfigError.

    ``clusters`` is the table of clusters, None for that of the settings; ``hints`` are nodes that are not in the
    settings. With ``draining``, probes of the public address have no answer.
    """
    try:
        return Policy(
            key_file.ring,
            cluster=settings.cluster,
            transceivers=settings.transceivers,
            peers=settings.peers,
            clusters=settings.clusters if clusters is None else clusters,
            nodes={**(hints or {}), **(settings.nodes or {})},
            admission_exempt=settings.admission_exempt,
            draining=draining,
        )
    except ValueError as error:
        raise ConfigError(str(error)) from error


def relay_config(settings: RelaySettings, policy: Policy) -> RelayConfig:
    """What a relay needs to start. Raises ConfigError."""
    if missing := set(settings.pin_cpus) - os.sched_getaffinity(0):
        listed = ", ".join(map(str, sorted(missing)))
        raise ConfigError(f"pin_cpus names processors that this process may not use: {listed}")
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
            pin_cpus=settings.pin_cpus,
            busy_poll=settings.busy_poll,
        )
    except ValueError as error:
        raise ConfigError(str(error)) from error
