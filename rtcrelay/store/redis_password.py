"""The password of the route cache, out of a file. Read before anything is bound; needs nothing of redis."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from rtcrelay.errors import ConfigError
from rtcrelay.secret_files import read_secret_file

_MAX_BYTES: Final = 4096


def read_redis_password(path: Path | None) -> str | None:
    """The first and only line of a file; None for no file. Raises ConfigError."""
    if path is None:
        return None
    content = read_secret_file(path, "Redis password file", _MAX_BYTES)
    try:
        password = content.decode().rstrip("\r\n")
    except UnicodeDecodeError as error:
        raise ConfigError(f"Redis password file {path} is not UTF-8 text") from error
    if not password or "\n" in password or "\0" in password:
        raise ConfigError(f"Redis password file {path} must hold one line of at most {_MAX_BYTES} bytes")
    return password
