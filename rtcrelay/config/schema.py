"""The configuration file as JSON Schema (draft 2020-12), for editors and for checks before a file is deployed.

It knows types, limits and names; what depends on several settings is known to ``rtcrelay config check`` alone.
"""

from __future__ import annotations

from typing import Any

from rtcrelay.config import text
from rtcrelay.config.options import PROGRAMS, SHARED, Setting

_NUMBER = r"^[0-9]+(_[0-9]+)*$"


def config_schema() -> dict[str, Any]:
    """The schema of a file."""
    tables = {
        program: {
            "type": "object",
            "description": f"Settings of 'rtcrelay serve {program}'.",
            "properties": {s.name: _setting(s) for s in settings if not s.shared},
            "additionalProperties": False,
        }
        for program, settings in PROGRAMS.items()
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Configuration of rtcrelay",
        "type": "object",
        "properties": {**{name: _setting(setting) for name, setting in SHARED.items()}, **tables},
        "additionalProperties": False,
    }


def _setting(setting: Setting) -> dict[str, Any]:
    described = {"description": setting.help, **_default(setting)}
    if setting.table:
        one: dict[str, Any] = {"type": "string"}
        kind = {"anyOf": [one, {"type": "array", "items": one}]} if setting.name == "clusters" else one
        return {
            "type": "object",
            "patternProperties": {"^[0-9]+$": kind},
            "additionalProperties": False,
            **described,
        }
    kind = _kind(setting)
    # A list with one member may be written without its brackets.
    return {"anyOf": [kind, {"type": "array", "items": kind}], **described} if setting.many else {**kind, **described}


def _kind(setting: Setting) -> dict[str, Any]:
    parse = setting.parse
    if setting.switch:
        return {"anyOf": [{"type": "boolean"}, {"enum": ["true", "false", "yes", "no", "on", "off", "1", "0"]}]}
    if isinstance(parse, text.WholeNumber):
        number = {"type": "integer", "minimum": parse.low, "maximum": parse.high}
        return {"anyOf": [number, {"type": "string", "pattern": _NUMBER}]}
    if isinstance(parse, text.OneOf):
        return {"enum": list(parse.choices)}
    if isinstance(parse, text.DurationBetween):
        return {"type": "string", "pattern": text.DURATION_PATTERN}
    return {"type": "string"}


def _default(setting: Setting) -> dict[str, Any]:
    if setting.default is None:
        return {}
    if setting.switch:
        return {"default": setting.default == "true"}
    if isinstance(setting.parse, text.WholeNumber):
        return {"default": int(setting.default)}
    return {"default": setting.default.split() if setting.many else setting.default}
