"""Where a setting comes from: option, environment, configuration files, default; the first that has it wins.

A file given by ``--config`` or ``RTCRELAY_CONFIG`` is read alone, so that a service's configuration does not depend
on what else lies on the machine. Without one, the user's file stands before the system's.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from rtcrelay.config.options import PROGRAMS, SHARED, Setting
from rtcrelay.errors import ConfigError

SYSTEM_FILE = Path("/etc/rtcrelay/config.toml")
"""Read last, and only if no file was named."""


@dataclass(frozen=True, slots=True)
class Value:
    """What a setting was set to, and by what."""

    parsed: Any
    """The value, or a tuple of values if the setting takes several; None if nothing set it."""
    words: tuple[str, ...]
    """The text it was parsed from."""
    origin: str
    """``--option``, ``VARIABLE``, ``FILE: table.key`` or ``default``."""


@dataclass(frozen=True, slots=True)
class ConfigFile:
    """A TOML file whose keys are all known."""

    path: Path
    content: Mapping[str, Any]

    def lookup(self, program: str | None, setting: Setting) -> tuple[str, Any] | None:
        """(origin, value as TOML has it) of a setting, or None."""
        table = self.content if setting.shared else self.content.get(program or "", {})
        if setting.name not in table:
            return None
        prefix = "" if setting.shared else f"{program}."
        return f"{self.path}: {prefix}{setting.name}", table[setting.name]


def load_files(config: Path | None, environ: Mapping[str, str]) -> list[ConfigFile]:
    """The configuration files that apply, most important first. A named file must exist, others need not."""
    return [_load(path) for path in file_paths(config, environ)]


def file_paths(config: Path | None, environ: Mapping[str, str]) -> list[Path]:
    """Where those files are."""
    if config is None and environ.get("RTCRELAY_CONFIG"):
        config = Path(environ["RTCRELAY_CONFIG"])
    if config is not None:
        return [config]
    home = environ.get("XDG_CONFIG_HOME") or str(Path(environ.get("HOME", "/nonexistent"), ".config"))
    return [path for path in (Path(home, "rtcrelay", "config.toml"), SYSTEM_FILE) if os.path.isfile(path)]


def resolve(
    program: str | None,
    setting: Setting,
    flags: Mapping[str, object],
    files: list[ConfigFile],
    environ: Mapping[str, str],
) -> Value:
    """The value of a setting by precedence. ``program`` is the TOML table, None for shared settings only.

    Raises ConfigError that names where a wrong value was written.
    """
    for origin, words in _candidates(program, setting, flags, files, environ):
        return _parse(setting, words, origin)
    if setting.default is None:
        return Value(() if setting.many else None, (), "default")
    return _parse(setting, tuple(setting.default.split()) if setting.many else (setting.default,), "default")


def _candidates(
    program: str | None,
    setting: Setting,
    flags: Mapping[str, object],
    files: list[ConfigFile],
    environ: Mapping[str, str],
) -> Iterator[tuple[str, tuple[str, ...]]]:
    flag = flags.get(setting.name)
    if flag is not None and flag is not False and flag != [] and flag != ():
        yield setting.option, _words(setting, flag, setting.option)
    if environ.get(setting.variable):
        written = environ[setting.variable]
        words = [word for word in re.split(r"[,\s]+", written) if word] if setting.many else [written]
        yield setting.variable, tuple(words)
    for file in files:
        found = file.lookup(program, setting)
        if found is not None:
            origin, value = found
            yield origin, _words(setting, value, origin)


def _words(setting: Setting, value: object, origin: str) -> tuple[str, ...]:
    """A flag's or a TOML value as text; TOML numbers and booleans are what they look like."""
    if isinstance(value, Mapping):  # file loading made sure that it is for a setting that is a table
        return tuple(
            f"{key}={_word(item, f'{origin}.{key}')}"
            for key, items in value.items()
            for item in (items if isinstance(items, list) else [items])
        )
    if isinstance(value, list | tuple):
        if not setting.many:
            raise ConfigError(f"{origin} takes one value, not a list")
        return tuple(_word(item, f"{origin}[{index}]") for index, item in enumerate(value))
    return (_word(value, origin),)


def _word(value: object, origin: str) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str | int | float):
        return str(value)
    raise ConfigError(f"{origin} is a {type(value).__name__}, expected a string, a number or true or false")


def _parse(setting: Setting, words: tuple[str, ...], origin: str) -> Value:
    parsed = []
    for word in words:
        try:
            parsed.append(setting.parse(word))
        except ValueError as error:
            raise ConfigError(f"{origin}: {setting.printable(word)!r} {error}") from None
    return Value(tuple(parsed) if setting.many else parsed[0], words, origin)


def _load(path: Path) -> ConfigFile:
    content = read_toml(path)
    for error in key_problems(path, content):
        raise error
    return ConfigFile(path, content)


def read_toml(path: Path) -> dict[str, Any]:
    """A configuration file as TOML has it. Raises ConfigError."""
    try:
        return tomllib.loads(path.read_bytes().decode())
    except OSError as error:
        raise ConfigError(f"cannot read configuration file {path}: {(error.strerror or str(error)).lower()}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"configuration file {path} is not UTF-8 text") from error
    except tomllib.TOMLDecodeError as error:
        message = str(error)
        raise ConfigError(f"configuration file {path} is not valid TOML: {message[:1].lower()}{message[1:]}") from error


def key_problems(path: Path, content: Mapping[str, Any]) -> Iterator[ConfigError]:
    """Everything that is wrong with the keys of a file, whatever their values."""
    for key, value in content.items():
        if key not in PROGRAMS:
            yield from _key_problem(path, "", key, value, [*SHARED, *PROGRAMS])
        elif not isinstance(value, Mapping):
            yield ConfigError(f"{path}: {key} must be a table")
        else:
            known = [s.name for s in PROGRAMS[key] if not s.shared]
            for name, item in value.items():
                yield from _key_problem(path, f"{key}.", name, item, known)


def _key_problem(path: Path, prefix: str, name: str, value: object, known: list[str]) -> Iterator[ConfigError]:
    if name not in known:
        near = get_close_matches(name, known, 1)
        hint = f"did you mean {prefix}{near[0]}?" if near else f"known here: {', '.join(sorted(known))}"
        if prefix and name in SHARED:
            hint = f"{name} is shared by all services: write it above the tables"
        yield ConfigError(f"{path}: unknown key {prefix}{name}", hint=hint)
    elif isinstance(value, Mapping) != (is_table := name in SHARED and SHARED[name].table):
        yield ConfigError(f"{path}: {prefix}{name} must {'' if is_table else 'not '}be a table")
