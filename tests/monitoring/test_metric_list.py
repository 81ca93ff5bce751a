"""The list of metrics: conventions of Prometheus, a meaning that stands alone, an action whose commands exist."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from prometheus_client.exposition import generate_latest
from prometheus_client.registry import Collector

from rtcrelay.cli.app import root_command
from rtcrelay.cli.metric_docs import families, labels_of, reasons, shown_name
from rtcrelay.metrics.actions import ACTIONS
from rtcrelay.metrics.families import Metric

FAMILIES = {shown_name(family): family for found in families().values() for family in found}
OURS = sorted(name for name in FAMILIES if name.startswith("rtcrelay_"))
CLOSED_LABELS = {
    *("cluster", "direction", "event", "fingerprint", "id", "ingress", "measure", "method", "place", "python"),
    *("reason", "result", "role", "side", "source", "state", "status", "version", "worker"),
}
"""Values of all of these come from the code, the configuration or, for the status, from us."""


def commands() -> set[str]:
    """Every command as it is typed, ``rtcrelay flows top``."""
    root = root_command()
    found = set()
    with root.make_context("rtcrelay", [], resilient_parsing=True) as context:
        for name in root.list_commands(context):
            command = root.get_command(context, name)
            leaves = getattr(command, "commands", None)
            found |= {f"rtcrelay {name} {leaf}" for leaf in leaves} if leaves else {f"rtcrelay {name}"}
    return found


def test_each_metric_has_one_action_and_each_action_a_metric() -> None:
    assert set(ACTIONS) == set(FAMILIES)


@pytest.mark.parametrize("metric", sorted(reasons()))
def test_each_reason_has_a_meaning_and_an_action(metric: str) -> None:
    meanings, todo = reasons()[metric]
    shown = {sample.labels["reason"] for sample in FAMILIES[metric].samples}
    assert shown == set(meanings) == set(todo)


@pytest.mark.parametrize("name", OURS)
def test_a_name_follows_the_conventions(name: str) -> None:
    family = FAMILIES[name]
    assert re.fullmatch(r"rtcrelay(_[a-z]+)+", name)
    assert (family.type == "counter") == name.endswith("_total")
    assert not re.search(r"_(ms|milliseconds|minutes|hours|kb|kbit|percent|count|bucket|sum)(_|$)", name), "base units"
    if family.type == "histogram":
        assert name.endswith(("_seconds", "_buffers"))
    assert set(labels_of(family)) <= CLOSED_LABELS


@pytest.mark.parametrize("name", OURS)
def test_a_meaning_is_one_sentence_that_stands_alone(name: str) -> None:
    meaning = FAMILIES[name].documentation
    assert meaning.endswith(".")
    assert meaning[0].isupper() or meaning[0].isdigit()
    assert "\n" not in meaning
    assert not re.search(r"^(Their|They|It)\b|\b[Tt]hose\b(?! that)|\b[Tt]hese\b", meaning), (
        "who sees one, sees no other"
    )


def _todo() -> Iterator[tuple[str, str]]:
    yield from ACTIONS.items()
    for metric, (_, todo) in reasons().items():
        yield from ((f"{metric} {reason}", action) for reason, action in todo.items())


def test_every_command_that_an_action_names_exists() -> None:
    known = commands()
    for name, action in _todo():
        assert action.endswith("."), name
        for command in re.findall(r"`(rtcrelay [a-z ]+?)(?: -[^`]*)?`", action):
            assert command.strip() in known, f"{name}: there is no {command!r}"


class _All(Collector):
    def collect(self) -> Iterator[Metric]:
        yield from FAMILIES.values()


def test_the_number_of_series_is_known_beforehand() -> None:
    """All reasons are there from the start, so that a rate sees the first one; and they are few."""
    lines = [line for line in generate_latest(_All()).decode().splitlines() if not line.startswith("#")]
    assert len(lines) < 400
