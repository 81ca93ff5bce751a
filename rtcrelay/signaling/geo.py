"""Where is an IP address? As a MaxMind database says (GeoLite2-City or the like), if the operator has one."""

from __future__ import annotations

from pathlib import Path

from rtcrelay.config.sites import Place
from rtcrelay.errors import ConfigError
from rtcrelay.signaling.locate import Lookup


def open_database(path: Path) -> Lookup:
    """A lookup in a database that is kept in memory. Raises ConfigError if there is none or it has no places."""
    try:
        import maxminddb
    except ImportError:
        raise ConfigError(
            "a database of places needs the package maxminddb, which is not installed",
            hint="pip install 'rtcrelay[geo]'",
        ) from None
    try:
        reader = maxminddb.open_database(path, maxminddb.MODE_MEMORY)
    except OSError as error:
        raise ConfigError(f"cannot read database {path}: {(error.strerror or str(error)).lower()}") from error
    except (maxminddb.InvalidDatabaseError, ValueError) as error:
        raise ConfigError(f"{path} is no MaxMind database: {error}") from error

    def look_up(address: str) -> Place | None:
        try:
            record = reader.get(address)
        except (ValueError, maxminddb.InvalidDatabaseError):  # IPv6 in a database of IPv4, or a broken entry
            return None
        location = record.get("location") if isinstance(record, dict) else None
        if not isinstance(location, dict):
            return None
        latitude, longitude = location.get("latitude"), location.get("longitude")
        if not isinstance(latitude, int | float) or not isinstance(longitude, int | float):
            return None
        return Place(float(latitude), float(longitude))

    return look_up
