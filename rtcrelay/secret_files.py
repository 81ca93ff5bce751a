"""Files with secrets: keys, tokens, passwords. One rule for all of them.

A file that others may read or change is refused, with the command that mends it: a warning in a log is read by nobody.
0440 is how systemd and Kubernetes (``defaultMode: 0440`` and ``fsGroup``) mount secrets for a service's group.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from rtcrelay.errors import ConfigError

_FORBIDDEN_MODES = stat.S_IWGRP | stat.S_IROTH | stat.S_IWOTH


def read_secret_file(path: Path, what: str, max_bytes: int, *, hint: str | None = None) -> bytes:
    """A file's content. ``what`` is how messages call it, ``hint`` how to make one.

    Raises ConfigError if it cannot be read, is over ``max_bytes``, or others may read or change it.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        missing = hint if isinstance(error, FileNotFoundError) else None
        raise ConfigError(f"cannot read {what} {path}: {_reason(error)}", hint=missing) from error
    try:
        # The open file, not the name: what is checked is what is read.
        _check_access(path, what, os.fstat(descriptor))
        content = os.read(descriptor, max_bytes + 1)
    except OSError as error:
        raise ConfigError(f"cannot read {what} {path}: {_reason(error)}") from error
    finally:
        os.close(descriptor)
    if len(content) > max_bytes:
        raise ConfigError(f"{what} {path} is over {max_bytes} bytes")
    return content


def _check_access(path: Path, what: str, status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise ConfigError(f"{what} {path} is not a regular file")
    mode = stat.S_IMODE(status.st_mode)
    if mode & _FORBIDDEN_MODES:
        who = "others may read or change it" if mode & (stat.S_IROTH | stat.S_IWOTH) else "its group may change it"
        raise ConfigError(
            f"{what} {path} has mode {mode:04o}: {who}, expected 0600, 0400 or 0440", hint=f"chmod 600 {path}"
        )
    if status.st_uid not in (0, os.geteuid()):
        raise ConfigError(
            f"{what} {path} belongs to user {status.st_uid}, who could change it, expected this user"
            f" ({os.geteuid()}) or root",
            hint=f"chown {os.geteuid()} {path}",
        )


def _reason(error: OSError) -> str:
    return (error.strerror or str(error)).lower()
