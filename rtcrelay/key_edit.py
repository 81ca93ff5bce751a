"""A key file changed in place: its comments, order, mode and owner stay; readers see the old file or the new one."""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rtcrelay.errors import BackendError, ConfigError, ExitStatus
from rtcrelay.keys import KeyFile, load_key_file
from rtcrelay.secret_files import read_secret_file

if TYPE_CHECKING:
    from tomlkit import TOMLDocument

_MAX_FILE_BYTES = 65_536


class KeyFileEdit:
    """One change of a key file. Nothing is written before `save`."""

    def __init__(self, path: Path, now: datetime) -> None:
        """Raises ConfigError if the file cannot be read."""
        import tomlkit  # 70 ms that only a change needs

        # Kubernetes and others mount links: what they lead to is changed, and the link stays.
        self._path = Path(os.path.realpath(path))
        self._before = read_secret_file(self._path, "key file", _MAX_FILE_BYTES)
        self._document: TOMLDocument = tomlkit.parse(self._before.decode())
        self._now = now.astimezone(UTC).replace(microsecond=0)

    def add(self, key_id: int) -> None:
        """Adds a new random key that is accepted; a revoked one of the same id gives way."""
        import tomlkit

        tables: Any = self._document["keys"]
        for index, table in enumerate(list(tables)):
            if table["id"] == key_id:
                del tables[index]
        table = tomlkit.table()
        table.update({"id": key_id, "secret": secrets.token_hex(16), "state": "accept", "created": self._now})
        if len(tables):
            tables[-1].add(tomlkit.nl())
        tables.append(table)

    def set_states(self, states: Mapping[int, str]) -> None:
        """Changes the state of keys by id, and notes when."""
        tables: Any = self._document["keys"]
        for table in tables:
            if table["id"] in states:
                table["state"] = states[table["id"]]
                table["changed"] = self._now

    def save(self) -> KeyFile:
        """Puts the new file into the old one's place, and reads it. Raises BackendError and ConfigError; then the old
        one stays."""
        import tomlkit

        target = self._path.with_name(f".{self._path.name}.{secrets.token_hex(4)}")
        try:
            status = self._path.stat()
            descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            try:
                with os.fdopen(descriptor, "wb") as file:
                    file.write(f"{tomlkit.dumps(self._document).rstrip()}\n".encode())
                    if (status.st_uid, status.st_gid) != (os.geteuid(), os.getegid()):
                        os.fchown(file.fileno(), status.st_uid, status.st_gid)
                    os.fchmod(file.fileno(), status.st_mode & 0o7777)
                    file.flush()
                    os.fsync(file.fileno())
                load_key_file(target)  # never a file that no server would take
                self._refuse_if_changed()
                os.replace(target, self._path)
            except BaseException:
                target.unlink(missing_ok=True)
                raise
        except OSError as error:
            raise BackendError(
                f"cannot write key file {self._path}: {(error.strerror or str(error)).lower()}",
                hint="a mounted secret is changed where it comes from: rotate a copy, and replace the secret by it",
                status=ExitStatus.IO,
            ) from error
        return load_key_file(self._path)

    def _refuse_if_changed(self) -> None:
        if read_secret_file(self._path, "key file", _MAX_FILE_BYTES) != self._before:
            raise ConfigError(f"key file {self._path} was changed by somebody else meanwhile", hint="try again")
