"""The rules are sound, every alert fires when it ought to and is silent when all is well: asked of promtool."""

from __future__ import annotations

import re
import subprocess

import pytest

from .prometheus import INSTALL, RULES
from .test_metric_list import FAMILIES, commands

ALERTS = (RULES / "alerts.yml").read_text()
RECORDING = (RULES / "recording.yml").read_text()
NAMES = re.findall(r"- alert: (\w+)", ALERTS)


def promtool(*arguments: str) -> str:
    done = subprocess.run(["promtool", *arguments], cwd=RULES, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.requires(command="promtool", install=INSTALL)
def test_rules_and_the_example_configuration_are_sound() -> None:
    assert f"SUCCESS: {len(NAMES)} rules found" in promtool("check", "rules", "alerts.yml", "recording.yml")
    promtool("check", "config", "prometheus.yml")


@pytest.mark.requires(command="promtool", install=INSTALL)
def test_alerts_fire_when_they_ought_to_and_at_nothing_else() -> None:
    promtool("test", "rules", "tests.yml", "tests-slow.yml")


def test_every_alert_has_a_case_in_which_it_fires() -> None:
    cases = (RULES / "tests.yml").read_text() + (RULES / "tests-slow.yml").read_text()
    assert len(NAMES) == len(set(NAMES)) > 30
    assert set(re.findall(r'alertname="(\w+)"', cases)) == set(NAMES)


def test_every_alert_says_what_happened_and_what_to_type() -> None:
    known = commands()
    for text in ALERTS.split("- alert: ")[1:]:
        name = text.partition("\n")[0]
        for part in ("severity: ", "summary: ", "description: ", "runbook: "):
            assert text.count(part) == 1, f"{name} has no {part}"
        for command in re.findall(r"`(rtcrelay [a-z ]+?)(?: -[^`]*)?`", text):
            assert command.strip() in known, f"{name}: there is no {command!r}"


def test_every_name_in_a_rule_is_a_metric_or_recorded() -> None:
    assert names_in(ALERTS + RECORDING) - recorded() <= set(FAMILIES)


def recorded() -> set[str]:
    """What the recording rules make."""
    return set(re.findall(r"- record: (\S+)", RECORDING))


def names_in(text: str) -> set[str]:
    """The metrics that rules or queries name, without what a histogram adds."""
    found = re.findall(r"(?:[a-z_]+:)?rtcrelay_[a-z_]+(?::\w+)?|\bprocess_[a-z_]+", text)
    shown = set()
    for name in found:
        base = re.sub(r"_(bucket|sum|count)$", "", name)
        shown.add(base if base in FAMILIES else name)
    return shown
