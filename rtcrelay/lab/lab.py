"""A laboratory: built, found again, used and removed.

Law: what is about to be made is written down first, so that whatever was killed in between can be removed; and nothing
is removed that was not written down, but for processes in the lab's own namespaces.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec

from rtcrelay.errors import BackendError, ExitStatus, UsageError
from rtcrelay.lab import links, network, roles
from rtcrelay.lab.kernel import inside
from rtcrelay.lab.plan import PUBLIC_PORT, SIGNALING_PORT, VALKEY_PORT, Host, Plan
from rtcrelay.lab.processes import Process, Readiness, end_all, find_in, last_words, nsenter, start
from rtcrelay.lab.state import State, locked, read_state, write_state
from rtcrelay.lab.world import read_world

ROOT: Final = Path("/run/rtcrelay-lab")
"""A directory for each laboratory, of its name."""
_WORLD: Final = "world.toml"
_LINKS: Final = "links"
"""The emulator's name among the processes."""
_ANSWER_SECONDS: Final = 10.0


@dataclass(frozen=True, slots=True)
class HostStatus:
    """How a host fares."""

    host: Host
    process: Process | None
    """Its service; None: it has none."""
    running: bool


class Lab:
    """One laboratory, by its name."""

    def __init__(self, name: str = "lab") -> None:
        self.name = name
        self.directory = ROOT / name

    # -- building and removing

    def up(self, world_text: str, origin: str) -> None:
        """Builds the world of a TOML text and starts everything in it; removes it again if that fails.

        Raises BackendError, ConfigError, or UsageError if it is up already.
        """
        plan = Plan(self.name, read_world(world_text, origin), self.directory)
        network.check_machine(plan)
        with locked(self.directory):
            if read_state(self.directory) is not None:
                raise UsageError(
                    f"the laboratory {self.name} is there already",
                    hint=f"'rtcrelay lab down{self._option}' removes it; --name NAME builds another beside it",
                    status=ExitStatus.PROBLEM,
                )
            try:
                network.require_free(plan)
                self._build(plan, world_text)
            except BaseException:
                self._remove()
                raise

    def down(self) -> bool:
        """Removes everything; False if there was nothing. Raises BackendError if something would not go."""
        network.require_root()
        if not self.directory.exists():
            return False
        with locked(self.directory):
            self._remove()
        return True

    def _build(self, plan: Plan, world_text: str) -> None:
        state = State(plan.namespaces)
        write_state(self.directory, state)
        (self.directory / _WORLD).write_text(world_text)
        (self.directory / links.PLAN).write_bytes(msgspec.json.encode(plan.links()))
        for host in plan.hosts:
            plan.home(host).mkdir()
        roles.write_files(plan)
        network.make_namespaces(plan)
        self._start_links(plan, state)
        network.set_up_interfaces(plan)
        readiness = Readiness(self.directory)
        for host in plan.hosts:
            self._start(plan, host, state, readiness)
        readiness.wait()
        for host in plan.of("valkey", "turn"):
            self._until_listening(host)
        state.ready = True
        write_state(self.directory, state)

    def _start_links(self, plan: Plan, state: State) -> None:
        readiness = Readiness(self.directory)
        command = [*roles.PYTHON, "-m", "rtcrelay.lab.links", str(self.directory)]
        # At home in one of the namespaces, where 'down' finds it even if it was not noted any more.
        command = nsenter(plan.namespaces[0], command)
        process = start(command, self.directory / f"{_LINKS}.log", readiness.expect(_LINKS))
        readiness.started(_LINKS, process)
        self._note(state, _LINKS, process)
        readiness.wait()

    def _start(self, plan: Plan, host: Host, state: State, readiness: Readiness) -> None:
        command = roles.command(plan, host)
        if command is None:
            return
        notifying = host.role in roles.NOTIFYING
        environment = {"RUNTIME_DIRECTORY": str(plan.home(host))}
        environment |= readiness.expect(host.name) if notifying else {}
        process = start(nsenter(host.namespace, command), self.directory / f"{host.name}.log", environment)
        if notifying:
            readiness.started(host.name, process)
        self._note(state, host.name, process)

    def _note(self, state: State, name: str, process: Process) -> None:
        state.processes[name] = (process.pid, process.started)
        write_state(self.directory, state)

    def _until_listening(self, host: Host) -> None:
        address = (host.private, VALKEY_PORT) if host.role == "valkey" else (host.public, PUBLIC_PORT)
        deadline = time.monotonic() + _ANSWER_SECONDS
        with inside(host.namespace):
            while True:
                with suppress(OSError), socket.create_connection(address, 1):
                    return
                if time.monotonic() > deadline:
                    log = self.directory / f"{host.name}.log"
                    raise BackendError(f"{host.name} does not listen", hint=last_words(log))
                time.sleep(0.02)

    def _remove(self) -> None:
        state = read_state(self.directory)
        if state is not None:
            noted = [Process(*pair) for pair in state.processes.values()]
            left = end_all([*noted, *find_in(state.namespaces)])
            # What a process that was killed just now had started.
            left += end_all(find_in(state.namespaces))
            if left:
                raise BackendError(f"processes do not end: {', '.join(str(process.pid) for process in left)}")
            network.delete_namespaces(state.namespaces)
        shutil.rmtree(self.directory)
        with suppress(OSError):  # other laboratories are there
            ROOT.rmdir()

    # -- using

    def plan(self) -> Plan:
        """What was built. Raises BackendError if it is not up."""
        state = read_state(self.directory)
        if state is None:
            raise BackendError(
                f"the laboratory {self.name} is not up",
                hint=f"'rtcrelay lab up{self._option}' builds it",
                status=ExitStatus.UNAVAILABLE,
            )
        if not state.ready:
            raise BackendError(
                f"the laboratory {self.name} is not built to the end",
                hint=f"'rtcrelay lab down{self._option}' removes what is there of it",
                status=ExitStatus.UNAVAILABLE,
            )
        world = self.directory / _WORLD
        return Plan(self.name, read_world(world.read_text(), str(world)), self.directory)

    def host(self, plan: Plan, name: str) -> Host:
        """The host of that name. Raises UsageError."""
        host = plan.host(name)
        if host is None:
            known = ", ".join(host.name for host in plan.hosts)
            raise UsageError(f"there is no host {name} in the laboratory", hint=f"there are {known}")
        return host

    def url(self, plan: Plan, region: str) -> str | None:
        """Where a client in a region calls: the signaling at its place, else the first; None: there is none."""
        fronts = plan.of("signaling", region=region) or plan.of("signaling")
        if not fronts:
            return None
        place = plan.region(region)
        return f"http://{fronts[0].public}:{SIGNALING_PORT}/whip?at={place.latitude},{place.longitude}"

    def environment(self, plan: Plan, host: Host) -> dict[str, str]:
        """What commands on a host get besides: its own services' sockets, the keys, where calls go."""
        found = {
            "RUNTIME_DIRECTORY": str(plan.home(host)),
            "RTCRELAY_KEY_FILE": str(self.directory / roles.KEYS),
            "LAB_TOKEN_FILE": str(self.directory / roles.TOKEN),
            "LAB_SITES": str(self.directory / roles.SITES),
            "LAB_DIRECTORY": str(self.directory),
        }
        url = self.url(plan, host.region)
        return found | ({"LAB_URL": url} if url else {})

    def command(self, plan: Plan, host: Host, words: Sequence[str]) -> tuple[list[str], dict[str, str]]:
        """(command line, environment) that run ``words`` on a host."""
        return nsenter(host.namespace, words), dict(os.environ) | self.environment(plan, host)

    def status(self) -> list[HostStatus]:
        """Of every host."""
        plan, state = self.plan(), read_state(self.directory)
        assert state is not None, "it has a plan"
        found = []
        for host in plan.hosts:
            process = state.process(host.name)
            found.append(HostStatus(host, process, process is not None and process.is_running))
        return found

    def kill(self, host: Host, number: int) -> None:
        """Sends a host's service a signal. Raises UsageError if none runs there."""
        state = read_state(self.directory)
        process = state.process(host.name) if state else None
        if process is None or not process.is_running:
            raise UsageError(f"nothing runs on {host.name}", status=ExitStatus.PROBLEM)
        process.kill(number)

    def restart(self, host: Host) -> None:
        """Starts a host's service again, and waits until it is ready; whatever still runs there is killed first."""
        plan = self.plan()
        if roles.command(plan, host) is None:
            raise UsageError(f"{host.name} is a {host.role}: nothing is to be started there")
        with locked(self.directory):
            state = read_state(self.directory)
            assert state is not None, "it has a plan"
            process = state.process(host.name)
            end_all([process] if process else [])
            readiness = Readiness(self.directory)
            self._start(plan, host, state, readiness)
            readiness.wait()
            if host.role in ("valkey", "turn"):
                self._until_listening(host)

    def links(self) -> list[dict[str, Any]]:
        """What every way of every link did so far."""
        return self._ask({})

    def set_link(self, name: str, changes: dict[str, Any]) -> list[dict[str, Any]]:
        """Has a link treat packets differently; its two rows. Raises UsageError."""
        return [row for row in self._ask({"link": name, "set": changes}) if row["link"] == name]

    def _ask(self, request: dict[str, Any]) -> list[dict[str, Any]]:
        self.plan()
        # A name in a directory, because the kernel's own names end at the border of a namespace.
        mine = self.directory / f"asking-{os.getpid()}.sock"
        mine.unlink(missing_ok=True)
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as asking:
            try:
                asking.bind(str(mine))
                asking.settimeout(_ANSWER_SECONDS)
                asking.sendto(json.dumps(request).encode(), str(self.directory / links.SOCKET))
                answer = json.loads(asking.recv(1 << 20))
            except OSError as error:
                raise BackendError(
                    f"the links of the laboratory {self.name} do not answer: {(error.strerror or str(error)).lower()}",
                    hint=last_words(self.directory / f"{_LINKS}.log"),
                    status=ExitStatus.UNAVAILABLE,
                ) from error
            finally:
                mine.unlink(missing_ok=True)
        if "error" in answer:
            raise UsageError(answer["error"], hint=f"'rtcrelay lab links{self._option}' lists them")
        rows: list[dict[str, Any]] = answer["links"]
        return rows

    @property
    def _option(self) -> str:
        return "" if self.name == "lab" else f" --name {self.name}"
