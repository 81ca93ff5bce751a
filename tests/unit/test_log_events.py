"""Every logging call of the package is in the table of events, with as many keys as it has values."""

from __future__ import annotations

import ast
import json
import logging
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import rtcrelay
from rtcrelay.daemon import set_up_logging, shown_client
from rtcrelay.log_events import EVENTS

PACKAGE = Path(rtcrelay.__file__).parent
LEVELS = {"debug", "info", "warning", "error", "exception", "critical", "log"}
LOGGERS = {"log", "self._log", "service", "logger", "logging"}
PLACEHOLDER = re.compile(r"%[sdr]|%\.?\d*[a-z]")


def templates(node: ast.expr) -> Iterator[str]:
    """The texts that a first argument may be."""
    if isinstance(node, ast.IfExp):
        yield from templates(node.body)
        yield from templates(node.orelse)
    elif isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value
    else:
        assert ast.unparse(node) == "self._form", f"a message that is no constant: {ast.unparse(node)}"


def calls() -> Iterator[tuple[str, str, int | None]]:
    """(where, template, number of values) of each logging call; of complaints, which add theirs, the number is 2."""
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Call):
                continue
            where = f"{path.relative_to(PACKAGE)}:{node.lineno}"
            called = node.func
            if isinstance(called, ast.Name) and called.id == "Complaints":
                yield from ((where, text, 2) for text in templates(node.args[1]))
            elif isinstance(called, ast.Attribute) and called.attr in LEVELS and ast.unparse(called.value) in LOGGERS:
                first, *values = node.args[called.attr == "log" :]
                yield from ((where, text, len(values)) for text in templates(first))


def test_every_logging_call_is_an_event_of_the_table_and_every_event_is_logged() -> None:
    seen = set()
    for where, template, values in calls():
        assert template in EVENTS, f"{where}: {template!r} is not in rtcrelay/log_events.py"
        assert len(EVENTS[template].keys) == values, where
        seen.add(template)
    assert set(EVENTS) - seen == set()


def test_names_are_unique_and_keys_are_not_those_of_every_line() -> None:
    names = [event.name for event in EVENTS.values()]
    assert len(names) == len(set(names))
    for template, event in EVENTS.items():
        assert len(PLACEHOLDER.findall(template)) == len(event.keys) == len(set(event.keys)), template
        assert not set(event.keys) & {"time", "level", "logger", "message", "event", "exception"}


def test_a_line_has_its_event_and_its_values(capsys: pytest.CaptureFixture[str]) -> None:
    set_up_logging("json")
    logging.getLogger("rtcrelay.transceiver").info("session %s created, ufrag %s", "e3b7", "a4fn")
    logging.getLogger("rtcrelay.x").info("what no table knows: %s", 1)
    known, unknown = map(json.loads, capsys.readouterr().err.splitlines())
    assert (known["event"], known["id"], known["ufrag"]) == ("session_created", "e3b7", "a4fn")
    assert known["message"] == "session e3b7 created, ufrag a4fn"
    assert "event" not in unknown


def test_a_traceback_is_one_line_of_json(capsys: pytest.CaptureFixture[str]) -> None:
    set_up_logging("json")
    try:
        raise ValueError("first\nsecond")
    except ValueError:
        logging.getLogger("rtcrelay.http").exception("a request failed")
    (line,) = capsys.readouterr().err.splitlines()
    record = json.loads(line)
    assert record["event"] == "request_failed"
    assert record["exception"].endswith("ValueError: first\nsecond")
    assert "\n" in record["exception"]


@pytest.mark.parametrize(
    ("verbosity", "addresses", "shown"), [(0, False, None), (0, True, "192.0.2.1:5"), (1, False, "192.0.2.1:5")]
)
def test_a_client_is_named_only_if_that_is_asked_for(verbosity: int, addresses: bool, shown: str | None) -> None:
    set_up_logging("json", verbosity=verbosity, addresses=addresses)
    assert shown_client("192.0.2.1:5") == shown
