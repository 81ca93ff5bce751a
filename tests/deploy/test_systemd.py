"""deploy/systemd as its README says, with systemd as the first process of a container."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from rtcrelay.doctor.kernel import RELAY_BUFFER

from .conftest import README
from .guide import block, blocks
from .machine import DEPLOY, Machine

pytestmark = [
    pytest.mark.requires(command="systemd-nspawn", install="apt-get install systemd-container"),
    pytest.mark.timeout(180),
]

UNITS = DEPLOY / "systemd"
RELAY, TRANSCEIVER, SIGNALING = (f"rtcrelay-{role}.service" for role in ("relay", "transceiver", "signaling"))


def until(condition: Callable[[], bool], what: str, seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.1)


def statuses(machine: Machine) -> dict[str, dict[str, Any]]:
    """What `rtcrelay status` says of each role."""
    return {row["role"]: row for row in machine.ask("rtcrelay status")}


def during_a_call(machine: Machine, seconds: int, happens: Callable[[], object]) -> dict[str, Any]:
    """What a call of so many seconds came to, in the middle of which something happened."""
    with machine.popen(f"rtcrelay probe session http://127.0.0.1:8080/whip --json --seconds {seconds}") as probe:
        until(lambda: statuses(machine)["transceiver"]["sessions"] == 1, "a call")
        happens()
        assert probe.stdout is not None
        found: dict[str, Any] = json.loads(probe.stdout.read())
    assert found["passed"], found
    return found


@contextmanager
def drop_in(machine: Machine, unit: str, *lines: str) -> Iterator[None]:
    """Other settings of a unit meanwhile."""
    directory = machine.root / "etc/systemd/system" / f"{unit}.d"
    directory.mkdir(exist_ok=True)
    (directory / "50-test.conf").write_text("\n".join(("[Service]", *lines, "")))
    machine.run(f"systemctl daemon-reload && systemctl restart {unit}")
    yield
    (directory / "50-test.conf").unlink()
    machine.run(f"systemctl daemon-reload && systemctl restart {unit}")


def test_the_readme_leads_to_a_call_through_every_service(machine: Machine) -> None:
    assert "every step worked" in machine.follow(block(README, "enable --now rtcrelay-signaling"))
    states = {role: row["state"] for role, row in statuses(machine).items()}
    assert states == {"relay": "ready", "transceiver": "ready", "signaling": "ready"}
    # Not run here: tests/check.sh and the image's build do it.
    assert [block for block in blocks(README) if "pip install" in block] == blocks(README)[:1]


def test_a_reload_of_the_relay_is_a_hand_over_that_loses_nothing(machine: Machine) -> None:
    before = machine.show(RELAY, "MainPID")
    found = during_a_call(machine, 4, lambda: machine.run(f"systemctl reload {RELAY} && systemctl reload {RELAY}"))
    assert (found["media"]["received_lost"], found["media"]["sent_lost"]) == (0, 0)
    after = machine.show(RELAY, "MainPID")
    assert (after, machine.show(RELAY, "NRestarts")) == (str(statuses(machine)["relay"]["pid"]), "0")
    assert after != before
    until(lambda: f"/{before}/" not in machine.run("ls -d /proc/[0-9]*/"), "the first relay ends")


def test_a_reload_that_fails_says_so_and_leaves_the_relay_as_it_was(machine: Machine) -> None:
    config = machine.root / "etc/rtcrelay/config.toml"
    sound, before = config.read_text(), machine.show(RELAY, "MainPID")
    config.write_text(sound.replace("[relay]", "[relay]\nworkers = 0"))
    machine.run(f"systemctl reload {RELAY}", status=1)
    config.write_text(sound)
    assert "relay.workers: '0' is not" in machine.log()
    assert (machine.show(RELAY, "MainPID"), machine.show(RELAY, "ActiveState")) == (before, "active")
    assert during_a_call(machine, 1, lambda: None)["media"]["received_lost"] == 0


def test_other_keys_reach_every_service_without_losing_a_call(machine: Machine) -> None:
    def fingerprints() -> set[str]:
        keys = machine.ask("rtcrelay keys list --key-file /etc/rtcrelay/keys.toml")
        return {key["fingerprint"] for key in keys}

    before = fingerprints()
    found = during_a_call(machine, 6, lambda: machine.follow(block(README, "keys rotate")))
    assert (found["media"]["received_lost"], found["media"]["sent_lost"]) == (0, 0)
    assert before < fingerprints()
    assert machine.run("stat -c '%a %U:%G' /etc/rtcrelay/keys.toml") == "440 root:rtcrelay-keys\n"


def test_a_killed_service_comes_back_and_one_with_a_wrong_configuration_does_not(machine: Machine) -> None:
    machine.run(f"systemctl kill --signal=KILL {SIGNALING}")
    until(lambda: machine.show(SIGNALING, "NRestarts") == "1", "a restart")
    until(lambda: machine.show(SIGNALING, "ActiveState") == "active", "signaling is back")
    sites = machine.root / "etc/rtcrelay/sites.toml"
    sound = sites.read_text()
    sites.write_text("[[ingresses]]\n")
    machine.run(f"systemctl restart {SIGNALING}", status=1)
    states = [machine.show(SIGNALING, name) for name in ("ActiveState", "Result", "ExecMainStatus", "NRestarts")]
    assert states == ["failed", "exit-code", "78", "0"]
    sites.write_text(sound)
    machine.run(f"systemctl restart {SIGNALING}")


def test_a_relay_that_stands_still_is_restarted_also_after_a_hand_over(machine: Machine) -> None:
    (reload,) = re.findall(r"^ExecReload=(.*)$", (UNITS / RELAY).read_text(), re.MULTILINE)
    quick = reload.replace("WATCHDOG_USEC=30000000", "WATCHDOG_USEC=3000000")
    with drop_in(machine, RELAY, "WatchdogSec=3s", "ExecReload=", f"ExecReload={quick}"):
        first = machine.show(RELAY, "MainPID")
        machine.run(f"systemctl reload {RELAY}")
        seen = machine.show(RELAY, "WatchdogTimestampMonotonic")
        until(lambda: machine.show(RELAY, "WatchdogTimestampMonotonic") != seen, "the successor feeds the watchdog")
        successor = machine.show(RELAY, "MainPID")
        assert (successor != first, machine.show(RELAY, "NRestarts")) == (True, "0")
        machine.run(f"kill -STOP {successor}")
        until(lambda: machine.show(RELAY, "NRestarts") == "1", "the watchdog")
        assert "Watchdog timeout" in machine.log()
        until(lambda: machine.show(RELAY, "ActiveState") == "active", "the relay is back")


def test_the_watchdog_of_a_successor_is_the_services(machine: Machine) -> None:
    (told,) = re.findall(r"WATCHDOG_USEC=(\d+)", (UNITS / RELAY).read_text())
    assert machine.run(f"systemctl show -p WatchdogUSec {RELAY}") == f"WatchdogUSec={int(told) // 1_000_000}s\n"


def test_a_stop_of_the_transceiver_waits_for_its_calls_and_not_for_systemds_patience(machine: Machine) -> None:
    with drop_in(machine, TRANSCEIVER, "TimeoutStopSec=1s"):
        found = during_a_call(machine, 4, lambda: machine.run(f"systemctl stop {TRANSCEIVER}"))
        assert found["media"]["sent"] > 150, "it went on to its end"
        assert machine.show(TRANSCEIVER, "Result") == "success"


@pytest.mark.parametrize("unit", [RELAY, TRANSCEIVER, SIGNALING])
def test_units_are_clean_and_as_little_exposed_as_the_readme_says(machine: Machine, unit: str) -> None:
    assert machine.run(f"systemd-analyze verify --man=no /etc/systemd/system/{unit}") == ""
    out = machine.run(f"systemd-analyze security --offline=yes --no-pager /etc/systemd/system/{unit}")
    (exposure,) = re.findall(rf"Overall exposure level for {re.escape(unit)}: ([\d.]+)", out)
    assert f"| {unit} | {exposure} |" in README.read_text()


def test_services_have_no_capability_and_are_nobody_known(machine: Machine) -> None:
    for unit in (RELAY, TRANSCEIVER, SIGNALING):
        status = machine.run(f"cat /proc/{machine.show(unit, 'MainPID')}/status")
        assert {line.split()[1] for line in status.splitlines() if line.startswith("Cap")} == {"0" * 16}
        assert re.search(r"^NoNewPrivs:\s+1$", status, re.MULTILINE)
        assert re.search(r"^Seccomp:\s+2$", status, re.MULTILINE)
    assert "rtcrelay" not in (machine.root / "etc/passwd").read_text()


def test_the_sysctl_file_gives_what_doctor_asks_for(machine: Machine) -> None:
    for name in ("rmem_max", "wmem_max"):
        assert machine.run(f"cat /proc/sys/net/core/{name}").strip() == str(RELAY_BUFFER)
        (found,) = [each for each in machine.ask("rtcrelay doctor") if each["check"] == f"kernel.{name}"]
        assert found["verdict"] == "pass"


def test_keys_may_come_as_credentials_instead(machine: Machine) -> None:
    assert "every step worked" in machine.follow(block(README, "credentials.conf"))
    pid = machine.show(RELAY, "MainPID")
    mode = machine.run(f"nsenter -t {pid} -m stat -c '%a' /run/credentials/{RELAY}/keys.toml").strip()
    assert mode in ("400", "440")
    machine.run("rm /etc/systemd/system/rtcrelay-.service.d/20-credentials.conf")
    machine.run("chown root:rtcrelay-keys /etc/rtcrelay/keys.toml && chmod 440 /etc/rtcrelay/keys.toml")
    machine.run(f"systemctl daemon-reload && systemctl restart {RELAY} {TRANSCEIVER}")
