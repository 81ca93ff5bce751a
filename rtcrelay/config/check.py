"""Everything that is wrong with a configuration, not just the first thing."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rtcrelay.config.options import PROGRAMS
from rtcrelay.config.rules import READERS
from rtcrelay.config.sources import ConfigFile, file_paths, key_problems, read_toml, resolve
from rtcrelay.errors import ConfigError


def configured_programs(
    config: Path | None, environ: Mapping[str, str] | None = None, *, every_if_none: bool = True
) -> list[str]:
    """The services that have a table in the files; if none has, all of them or none. Raises ConfigError."""
    files = [read_toml(path) for path in file_paths(config, os.environ if environ is None else environ)]
    found = [name for name in PROGRAMS if any(name in content for content in files)]
    return found or (list(PROGRAMS) if every_if_none else [])


def file_problems(config: Path | None, environ: Mapping[str, str] | None = None) -> list[ConfigError]:
    """What is wrong with the keys of the files, whichever service reads them. Raises ConfigError if a file cannot be
    read at all."""
    paths = file_paths(config, os.environ if environ is None else environ)
    return [problem for path in paths for problem in key_problems(path, read_toml(path))]


def setting_problems(program: str, config: Path | None, environ: Mapping[str, str] | None = None) -> list[ConfigError]:
    """What is wrong with each setting of a service by itself; else the first rule between settings that is broken.

    Raises ConfigError if a file cannot be read at all.
    """
    environ = os.environ if environ is None else environ
    files = [ConfigFile(path, _sound(path)) for path in file_paths(config, environ)]
    problems: list[ConfigError] = []
    for setting in PROGRAMS[program]:
        try:
            resolve(program, setting, {}, files, environ)
        except ConfigError as error:
            problems.append(error)
    if not problems and not file_problems(config, environ):
        try:
            READERS[program]({}, config, environ)
        except ConfigError as error:
            problems.append(error)
    return problems


def _sound(path: Path) -> dict[str, Any]:
    """A file's content without the keys that `file_problems` tells of."""
    content = read_toml(path)
    for program in PROGRAMS:
        table = content.get(program, {})
        if isinstance(table, Mapping):
            kept = {name: value for name, value in table.items() if not _is_wrong(path, {program: {name: value}})}
            content[program] = kept
    return {name: value for name, value in content.items() if not _is_wrong(path, {name: value})}


def _is_wrong(path: Path, content: Mapping[str, Any]) -> bool:
    return any(True for _ in key_problems(path, content))
