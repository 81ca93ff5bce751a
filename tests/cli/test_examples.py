"""The examples at the end of each command's help work when they are pasted beside ``rtcrelay demo --serve``."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from rtcrelay.cli.app import root_command

from .demo_site import DemoSite, demo_site, talking
from .test_cli_app import commands

CAPTURE = Path(__file__).parents[1] / "vectors" / "captures" / "call.pcap"

NEEDS: dict[str, str] = {
    r"^rtcrelay serve (?!.*--check)": "runs until it is ended; tests/cli/test_serve_relay.py and others start services",
    r"^rtcrelay demo": "starts a site of its own; tests/e2e/test_demo.py runs it",
    r"^rtcrelay drain --wait": "returns when the calls are over; tests/cli/test_operate.py waits",
    r"^rtcrelay flows kill (?!.*(--yes|--dry-run))": "asks on a terminal; tests/cli/test_flows.py and others answer",
    r"/run/rtcrelay/": "the admin socket of an installed service",
    r"203\.0\.113\.|10\.0\.\d+\.\d+:|api\.example\.com": "hosts of a documentation network",
    r"192\.168\.1\.20": "an address of this machine's",
    r"^rtcrelay flows (top|tail)(?!.*--once)": "runs until Ctrl-C; tests/cli/test_flows.py ends it",
    r"\btcpdump\b": "captures until Ctrl-C, and needs a privilege",
    r"^rtcrelay capture": "writes until Ctrl-C or a limit; tests/cli/test_capture.py captures",
    r"^rtcrelay (routes|nodes) ": "Redis; tests/cli/test_routes.py and test_schemas.py have one",
    r"^rtcrelay lab ": "network namespaces; tests/cli/test_lab.py pastes them all",
    r"kubectl": "a cluster of Kubernetes",
    r"GeoLite2": "a database of places, which wants a licence",
    r"offer\.sdp": "an offer of a browser",
    r"signaling\.sock|sites\.toml": "signaling in front of many clusters; tests/cli/test_schemas.py runs it",
    r"/etc/bash_completion|fpath|~/\.config": "writes to where a shell looks; test_cli_docs.py checks the scripts",
    r"parrot|realtime": "a service behind the transceiver; tests/e2e has one",
}
"""Examples that need more than the demo, by a pattern, and what."""

NO_IS_AN_ANSWER = re.compile(
    r"sessions close|doctor|--wait|flows kill|flows get|keys (revoke|rotate)|probe (route|stun)|explain"
)
"""Commands whose answer may be no (1) here: nothing of that kind is there."""


def examples() -> Iterator[tuple[str, str]]:
    """(command, line) of every example; a line that goes on is one."""
    for path, command in commands(root_command()):
        if hasattr(command, "list_commands"):
            continue
        text = (command.epilog or "").replace("\b", "").replace("\\\n", " ")
        for line in text.splitlines():
            if line.startswith("  "):
                yield " ".join(path), " ".join(line.split())


EXAMPLES = list(examples())


def needs(line: str) -> str | None:
    """What an example needs beyond the demo."""
    return next((why for pattern, why in NEEDS.items() if re.search(pattern, line)), None)


@pytest.fixture(scope="module")
def site() -> Iterator[DemoSite]:
    with demo_site() as site, talking(site.url(0)), talking(site.url(1)):
        for name in ("call.pcap", "call.pcapng", "caller.pcapng"):
            (site.directory / name).write_bytes(CAPTURE.read_bytes())
        (site.directory / "password.txt").write_text("a-password-of-24-letters\n")
        site.shell("rtcrelay stun encode > request.bin")
        yield site


def test_every_command_has_two_or_three_examples() -> None:
    for path, command in commands(root_command()):
        if hasattr(command, "list_commands"):
            continue
        name = " ".join(path)
        many = [line for owner, line in EXAMPLES if owner == name]
        assert 2 <= len(many) <= 4, f"{name} has {len(many)} examples"
        assert f"rtcrelay {name}" in many[0]


def test_every_exception_excuses_something() -> None:
    for pattern, why in NEEDS.items():
        assert any(re.search(pattern, line) for _, line in EXAMPLES), f"no example needs {why}"


def test_most_examples_are_pasted() -> None:
    here = [line for owner, line in EXAMPLES if not owner.startswith("lab ")]
    assert sum(needs(line) is None for line in here) > len(here) / 2


@pytest.mark.requires(command="jq", install="apt-get install jq")
@pytest.mark.requires(command="tshark", install="apt-get install tshark")
@pytest.mark.parametrize("line", [line for _, line in EXAMPLES if needs(line) is None])
def test_an_example_works_when_it_is_pasted(site: DemoSite, line: str, tmp_path: Path) -> None:
    done = paste(site, line)
    allowed = {0, 1} if NO_IS_AN_ANSWER.search(line) else {0}
    assert done.returncode in allowed, f"{line}\n{done.stderr}"
    if done.returncode == 0:
        assert "rtcrelay: error:" not in done.stderr
        assert done.stdout or done.stderr or ">" in line or "select" in line or "-w" in line


def paste(site: DemoSite, line: str) -> subprocess.CompletedProcess[str]:
    """Runs a line where a person would, beside the demo."""
    for name in ("keys.toml.new", "rtcrelay.toml", "new.toml"):
        (site.directory / name).unlink(missing_ok=True)
    line = re.sub(r"(probe (?:stun|route)|--to) 127\.0\.0\.1(?![:.\d])", r"\1 127.0.0.1:3478", line)
    return site.shell(site.here(line))
