"""The published schemas, and whether an object is what they say: neither less nor more."""

from __future__ import annotations

import copy
import json
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
from referencing import Registry, Resource

FOLDER = Path(__file__).parents[2] / "docs" / "schemas"
HOW = "see docs/schemas/README.md: write docs/schemas/{kind}.json, and add a command to OUTPUTS in {test}"


def known_kinds() -> set[str]:
    """The kinds that are published."""
    return {path.stem for path in FOLDER.glob("*.json")}


def how_to_register(kind: str) -> str:
    """What whoever adds a kind has to do."""
    return f"kind {kind!r} has no schema; " + HOW.format(kind=kind, test="tests/cli/test_schemas.py")


def validate(row: dict[str, Any]) -> str:
    """Validates an object by its kind, which is returned. A key that its schema does not name is a fault here: it is
    allowed to users' programs, but it belongs into the schema."""
    kind = row.get("kind")
    assert isinstance(kind, str), f"no kind in {row!r}"
    assert kind in known_kinds(), how_to_register(kind)
    errors = sorted(_validator(kind).iter_errors(row), key=lambda error: list(map(str, error.absolute_path)))
    assert not errors, f"{kind}: " + "; ".join(f"{error.json_path}: {error.message}" for error in errors[:5])
    return kind


@cache
def _validator(kind: str) -> jsonschema.Draft202012Validator:
    registry: Registry[Any] = Registry().with_resources(
        (path.name, Resource.from_contents(_closed(json.loads(path.read_text())))) for path in FOLDER.glob("*.json")
    )
    return jsonschema.Draft202012Validator({"$ref": f"{kind}.json"}, registry=registry)


def _closed(schema: Any) -> Any:
    """The schema with every object closed that does not say otherwise."""
    schema = copy.deepcopy(schema)
    if isinstance(schema, dict):
        if "properties" in schema:
            schema.setdefault("additionalProperties", False)
            schema["properties"] = {name: _closed(value) for name, value in schema["properties"].items()}
        for name in ("items", "anyOf"):
            if name in schema:
                schema[name] = _closed(schema[name])
    elif isinstance(schema, list):
        schema = [_closed(value) for value in schema]
    return schema
