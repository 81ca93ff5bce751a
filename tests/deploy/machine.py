"""A small machine with systemd as its first process, in a container of systemd-nspawn.

Its root is a directory of its own: /usr is the machine's below, read-only; nothing else of it is seen, no network but
loopback. `tests/deploy` installs rtcrelay there as the README says, and what PID 1 does is what it does anywhere.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Final

ROOT: Final = Path(__file__).parents[2]
DEPLOY: Final = ROOT / "deploy"
INSTALLED: Final = Path("/opt/rtcrelay")
_PUBLIC: Final = "203.0.113.10"
_BOOT_SECONDS: Final = 60.0
_MASKED: Final = (
    *("systemd-udevd.service", "systemd-udev-trigger.service", "systemd-logind.service", "getty.target"),
    *("systemd-tmpfiles-setup.service", "systemd-tmpfiles-clean.timer", "systemd-firstboot.service", "dbus.socket"),
    *("systemd-journal-flush.service", "systemd-update-utmp.service", "systemd-user-sessions.service", "dbus.service"),
)
_PASSWD: Final = "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/usr/sbin/nologin\n"
_ENVIRON: Final = {"PATH": f"{INSTALLED}/bin:/usr/sbin:/usr/bin", "TERM": "dumb", "HOME": "/root"}
_LAUNCHER: Final = """#!/bin/sh
export LD_LIBRARY_PATH=/opt/rtcrelay/python/lib
PYTHONPATH=/opt/rtcrelay/code:/opt/rtcrelay/libraries exec /opt/rtcrelay/python/bin/python3 -m rtcrelay "$@"
"""


class Machine:
    """Boots on entering the context, and is gone on leaving it."""

    def __init__(self, directory: Path) -> None:
        """``directory`` is empty and becomes the machine's root."""
        self.root = directory
        self._groups = [parent / f"rtcrelay-test-{os.getpid()}" for parent in _cgroup_parents()]
        self._log = directory.with_name(f"{directory.name}.log")
        self._nspawn: subprocess.Popen[bytes] | None = None
        self._leader = 0

    def __enter__(self) -> Machine:
        self._make_root()
        for group in self._groups:
            group.mkdir()
        options = ["--register=no", "--keep-unit", "--private-network", "--console=pipe", "--quiet"]
        binds = [f"--bind-ro={source}:{target}" for source, target in self._binds().items()]
        with self._log.open("wb") as log:
            self._nspawn = subprocess.Popen(
                ["systemd-nspawn", *options, *binds, f"--directory={self.root}", "--boot", "--", "--show-status=no"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                process_group=0,
                preexec_fn=self._join_groups,
            )
        try:
            self._wait_until_up()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        self.run(f"ip link set lo up && ip address add {_PUBLIC}/32 dev lo")
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        if self._nspawn is not None:
            if self._leader:
                os.kill(self._leader, signal.SIGKILL)  # takes its whole PID namespace along
            else:
                self._nspawn.kill()
            self._nspawn.wait(timeout=30)
        for group in self._groups:
            _remove_groups(group)

    def run(self, command: str, *, status: int | None = 0) -> str:
        """What a shell in the machine prints, both streams; its status must be ``status``, unless that is None."""
        done = subprocess.run(
            [*self._enter(), "/bin/bash", "-euo", "pipefail", "-c", command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=90,
            env=_ENVIRON,
        )
        assert status in (None, done.returncode), f"{command}: status {done.returncode}\n{done.stdout}{self.log()}"
        return done.stdout

    def ask(self, command: str) -> Any:
        """What a command answers in JSON, whatever its status."""
        return json.loads(self.run(f"{command} --json 2>/dev/null", status=None))

    def follow(self, *blocks: str) -> str:
        """Runs commands of a README, as if typed one after the other in a checkout."""
        return "".join(self.run(f"cd {INSTALLED}/code\n{commands}") for commands in blocks)

    def show(self, unit: str, name: str) -> str:
        """A property of a unit, as ``systemctl show`` has it."""
        return self.run(f"systemctl show --value --property={name} {unit}").strip()

    def log(self) -> str:
        """The end of the journal."""
        if not self._leader:
            return self._log.read_text(errors="replace")
        done = subprocess.run(
            [*self._enter(), "journalctl", "-n40", "--no-pager", "--unit=rtcrelay-*"], capture_output=True, text=True
        )
        return done.stdout

    def popen(self, command: str) -> subprocess.Popen[str]:
        """A shell command that goes on in the machine; its output is read, its messages are not."""
        enter = [*self._enter(), "/bin/bash", "-c", f"exec {command}"]
        return subprocess.Popen(enter, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=_ENVIRON)

    def _enter(self) -> list[str]:
        return ["nsenter", f"--target={self._leader}", "--mount", "--uts", "--ipc", "--net", "--pid", "--root", "--wd"]

    def _make_root(self) -> None:
        self.root.chmod(0o755)  # services are other users
        for name in (
            "usr",
            "etc/systemd/system",
            "var",
            "tmp",
            "run",
            "proc",
            "sys",
            "dev",
            "root",
            "opt/rtcrelay/bin",
        ):
            (self.root / name).mkdir(parents=True)
        for name in ("bin", "sbin", "lib", "lib32", "lib64", "libx32"):
            if Path("/", name).is_symlink():
                (self.root / name).symlink_to(f"usr/{name}")
        etc = self.root / "etc"
        (etc / "passwd").write_text(_PASSWD)
        (etc / "group").write_text("root:x:0:\nnogroup:x:65534:\n")
        (etc / "os-release").write_text('ID=test\nPRETTY_NAME="a test"\n')
        (etc / "machine-id").write_text(f"{os.urandom(16).hex()}\n")
        (etc / "nsswitch.conf").write_text("passwd: files systemd\ngroup: files systemd\nhosts: files\n")
        (etc / "hosts").write_text("127.0.0.1 localhost\n")
        shutil.copytree("/etc/alternatives", etc / "alternatives", symlinks=True)
        for unit in _MASKED:
            (etc / "systemd/system" / unit).symlink_to("/dev/null")
        (etc / "systemd/system/default.target").symlink_to("/usr/lib/systemd/system/multi-user.target")
        launcher = self.root / "opt/rtcrelay/bin/rtcrelay"
        launcher.write_text(_LAUNCHER)
        launcher.chmod(0o755)

    def _binds(self) -> Mapping[str, str]:
        """What the machine sees of the one below, by where it sees it."""
        import aiohttp

        libraries = Path(aiohttp.__file__).parents[1]
        binds = {
            "/usr": "/usr",
            str(ROOT): f"{INSTALLED}/code",
            str(libraries): f"{INSTALLED}/libraries",
            sys.base_prefix: f"{INSTALLED}/python",
        }
        for target in binds.values():
            (self.root / target.lstrip("/")).mkdir(parents=True, exist_ok=True)
        return binds

    def _join_groups(self) -> None:
        for group in self._groups:
            (group / "cgroup.procs").write_text(str(os.getpid()))

    def _wait_until_up(self) -> None:
        assert self._nspawn is not None
        deadline = time.monotonic() + _BOOT_SECONDS
        while time.monotonic() < deadline:
            assert self._nspawn.poll() is None, f"systemd-nspawn ended:\n{self._log.read_text(errors='replace')}"
            self._leader = self._leader or _child_named(self._nspawn.pid, "systemd")
            if self._leader and self.run("systemctl is-system-running", status=None).strip() in ("running", "degraded"):
                return
            time.sleep(0.1)
        raise TimeoutError(f"the machine did not boot:\n{self._log.read_text(errors='replace')}")


def _child_named(pid: int, name: str) -> int:
    """The child of a process that runs a program of this name; 0: there is none yet."""
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        if Path(f"/proc/{child}/comm").read_text().strip() == name:
            return int(child)
    return 0


def _cgroup_parents() -> list[Path]:
    """Where systemd's groups are made: the unified hierarchy, and its own one of version 1."""
    found = []
    for line in Path("/proc/self/mounts").read_text().splitlines():
        _, place, kind, options, *_ = line.split()
        if kind == "cgroup2" or (kind == "cgroup" and "name=systemd" in options.split(",")):
            found.append(Path(place))
    return found


def _remove_groups(group: Path) -> None:
    """Removes a cgroup and those in it; their processes have ended, or are about to."""
    deadline = time.monotonic() + 10
    while group.exists():
        for directory, _, _ in os.walk(group, topdown=False):
            try:
                os.rmdir(directory)
            except OSError:
                if time.monotonic() > deadline:
                    return
        time.sleep(0.05)
