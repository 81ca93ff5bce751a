"""What the whole suite's services logged, and every secret that it made: collected while it runs.

Logs: of processes that write them into files (``*.log`` of the tests' directories) or pipes, and of what runs inside
the tests. Secrets: in key, token and password files, of Redis servers, and every ICE password that a test sees.
"""

from __future__ import annotations

import logging
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rtcrelay.rtc.offer_answer import IceCredentials

_SHORTEST = 8
"""What is shorter is found by chance."""


class Collector(logging.Handler):
    """Begins with `start` and never ends: the suite does."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []
        """What was logged inside the tests and by processes with pipes."""
        self.secrets: set[str] = set()
        """Those that no file holds."""

    def start(self) -> None:
        """Looks over the shoulders of logging, subprocess and whoever makes ICE credentials."""
        logging.getLogger("rtcrelay").addHandler(self)
        make, begin, communicate = IceCredentials.__init__, subprocess.Popen.__init__, subprocess.Popen.communicate

        def made(credentials: IceCredentials, ufrag: str, password: str) -> None:
            make(credentials, ufrag, password)
            self.secrets.add(password)

        def began(process: subprocess.Popen[Any], args: Any, *more: Any, **named: Any) -> None:
            begin(process, args, *more, **named)
            if isinstance(args, list) and "--requirepass" in args:
                self.secrets.add(str(args[args.index("--requirepass") + 1]))

        def communicated(process: subprocess.Popen[Any], *more: Any, **named: Any) -> tuple[Any, Any]:
            out, err = communicate(process, *more, **named)
            if isinstance(process.args, list) and "serve" in process.args:
                self.lines += [
                    text.decode(errors="replace") if isinstance(text, bytes) else text or "" for text in (out, err)
                ]
            return out, err

        for where, name, function in (
            (IceCredentials, "__init__", made),
            (subprocess.Popen, "__init__", began),
            (subprocess.Popen, "communicate", communicated),
        ):
            setattr(where, name, function)

    def emit(self, record: logging.LogRecord) -> None:
        """Takes a line as it is written."""
        self.lines.append(f"{record.getMessage()} {getattr(record, 'fields', '')} {record.exc_info or ''}")


def logs_in(directory: Path) -> Iterator[tuple[str, str]]:
    """(name, content) of every log below a directory."""
    for path in directory.rglob("*.log"):
        if path.is_file():
            yield str(path), path.read_text(errors="replace")


def secrets_in(directory: Path) -> set[str]:
    """Key material, tokens and passwords in the files below a directory."""
    found: set[str] = set()
    for path in directory.rglob("*"):
        if not path.is_file() or path.stat().st_size > 65_536:
            continue
        if path.suffix == ".toml":
            found |= set(re.findall(r'secret\s*=\s*"([0-9a-fA-F]{32})"', path.read_text(errors="replace")))
        elif re.search(r"token|password", path.name) and path.suffix in ("", ".txt"):
            found.add(path.read_text(errors="replace").strip())
    return {secret for secret in found if len(secret) >= _SHORTEST}


def leaks(logs: Iterator[tuple[str, str]], secrets: set[str]) -> list[str]:
    """Where a log has a secret; of the secret only its beginning."""
    wanted = {secret for secret in secrets if len(secret) >= _SHORTEST}
    return [f"{name}: {secret[:4]}…" for name, text in logs for secret in wanted if secret in text]
