"""The password of the route cache, out of a file. Read before anything is bound; needs nothing of redis."""

from __future__ import annotations

import logging
import os
import stat
from pathlib import Path
from typing import Final

from rtcrelay.errors import ConfigError

log = logging.getLogger("rtcrelay.relay")

_MAX_BYTES: Final = 4096


def read_redis_password(path: Path | None) -> str | None:
    """The first and only line of a file; None for no file. Raises ConfigError."""
    if path is None:
        return None
    try:
        with path.open("rb") as file:
            content = file.read(_MAX_BYTES + 1)
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
        password = content.decode().rstrip("\r\n")
    except OSError as error:
        raise ConfigError(
            f"cannot read Redis password file {path}: {(error.strerror or str(error)).lower()}"
        ) from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"Redis password file {path} is not UTF-8 text") from error
    if not password or len(content) > _MAX_BYTES or "\n" in password or "\0" in password:
        raise ConfigError(f"Redis password file {path} must hold one line of at most {_MAX_BYTES} bytes")
    if mode & stat.S_IROTH:  # no more than a warning: Kubernetes mounts secrets with 0644
        log.warning("every user of this machine may read %s, a secret: chmod o-r", path)
    return password
