"""The settings in effect, written as a configuration file."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from rtcrelay.config import text
from rtcrelay.config.options import PROGRAMS, Setting
from rtcrelay.config.rules import Flags, resolve_all
from rtcrelay.config.sources import Value


def show(program: str, flags: Flags, config: Path | None = None, environ: Mapping[str, str] | None = None) -> str:
    """The effective settings of a service as a configuration file that says where each came from. No secrets."""
    environ = os.environ if environ is None else environ
    found = resolve_all(program, flags, config, environ)
    above = [_toml_line(s, found[s.name]) for s in PROGRAMS[program] if s.shared and not s.table]
    table = [_toml_line(s, found[s.name]) for s in PROGRAMS[program] if not s.shared]
    nodes = found["nodes"].parsed if "nodes" in found else ()
    lines = [*above, "", f"[{program}]", *table]
    clusters: dict[int, list[str]] = {}
    for cluster, where in found["clusters"].parsed if "clusters" in found else ():
        clusters.setdefault(cluster, []).append(toml_word(text.format_address(where)))
    if clusters:
        lines += ["", "[clusters]", *(f"{cluster} = [{', '.join(relays)}]" for cluster, relays in clusters.items())]
    if nodes:
        lines += ["", "[nodes]", *(f'{node} = "{text.format_address(where)}"' for node, where in nodes)]
    return "\n".join(lines)


def _toml_line(setting: Setting, value: Value) -> str:
    if value.parsed is None:
        return f"# {setting.name} is not set"
    words = [toml_word(setting.printable(word)) for word in value.words]
    written = f"[{', '.join(words)}]" if setting.many else words[0]
    return f"{setting.name} = {written}  # {value.origin}"


def effective(
    program: str, flags: Flags, config: Path | None = None, environ: Mapping[str, str] | None = None
) -> list[tuple[str, object, str]]:
    """(name, value, origin) of every setting of a service: a value as JSON has it, without secrets; None: not set."""
    found = resolve_all(program, flags, config, os.environ if environ is None else environ)
    return [(s.name, _json_value(s, found[s.name]), found[s.name].origin) for s in PROGRAMS[program]]


def _json_value(setting: Setting, value: Value) -> object:
    if value.parsed is None:
        return None
    words = [_json_word(setting.printable(word)) for word in value.words]
    return words if setting.many else words[0]


def _json_word(word: str) -> object:
    written = toml_word(word)
    if written.startswith('"'):
        return word
    return {"true": True, "false": False}[written] if written in ("true", "false") else int(written)


def toml_word(word: str) -> str:
    """A word as TOML writes it: switches and numbers without quotes."""
    if word in ("true", "false") or (word.isascii() and word.isdigit() and (word == "0" or word[0] != "0")):
        return word
    escaped = "".join(c if c.isprintable() and c not in '"\\' else f"\\U{ord(c):08X}" for c in word)
    return f'"{escaped}"'
