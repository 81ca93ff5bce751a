"""What the READMEs say to type works, line by line."""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from rtcrelay.client.demo.processes import free_ports
from rtcrelay.keys import generate, write_key_file

from .prometheus import INSTALL

DEPLOY = Path(__file__).parents[2] / "deploy"


def commands(readme: Path) -> Iterator[str]:
    """Every line of its ``sh`` blocks."""
    for block in re.findall(r"```sh\n(.*?)```", readme.read_text(), re.DOTALL):
        yield from block.splitlines()


def copied(name: str, directory: Path) -> Path:
    """A folder of deploy/ where a test may write."""
    return Path(shutil.copytree(DEPLOY / name, directory / name))


@pytest.mark.requires(command="prometheus", install=INSTALL)
@pytest.mark.requires(command="curl", install="apt-get install curl")
def test_the_lines_on_prometheus_work_from_top_to_bottom(tmp_path: Path) -> None:
    here = copied("prometheus", tmp_path)
    write_key_file(here / "keys.toml", generate())
    metrics, web = free_ports(2)
    servers: list[subprocess.Popen[bytes]] = []
    done: list[str] = []
    try:
        for line in commands(here / "README.md"):
            # Other ports than the usual ones, which somebody may have; and an end to what goes on for ever.
            typed = line.replace("9478", str(metrics)).removesuffix(" &")
            done.append(typed.partition(" ")[0])
            if line.endswith(" &") or line.startswith("prometheus "):
                typed = typed.replace("rtcrelay ", f"{sys.executable} -m rtcrelay ", 1)
                typed += " -l 127.0.0.1:0 --internal 127.0.0.1:0 --admin none" if done[-1] == "rtcrelay" else ""
                typed += f" --web.listen-address=127.0.0.1:{web}" if done[-1] == "prometheus" else ""
                servers.append(subprocess.Popen(typed.split(), cwd=here, stderr=subprocess.DEVNULL))
                page = f"http://127.0.0.1:{web}/-/ready" if done[-1] == "prometheus" else f"http://127.0.0.1:{metrics}/"
                wait_for(page + ("readyz" if done[-1] == "rtcrelay" else ""), servers[-1])
            else:
                ran = subprocess.run(typed, shell=True, cwd=here, capture_output=True, text=True)
                assert ran.returncode == 0, f"{line}: {ran.stdout}{ran.stderr}"
    finally:
        for server in servers:
            server.send_signal(signal.SIGKILL)
            server.wait()
    assert done == ["rtcrelay", "curl", "promtool", "promtool", "prometheus"]


def wait_for(page: str, server: subprocess.Popen[bytes]) -> None:
    """Until a server says that it is ready."""
    deadline = time.monotonic() + 30
    while True:
        try:
            with urllib.request.urlopen(page, timeout=5):
                return
        except OSError:
            assert time.monotonic() < deadline, f"{page} was not ready in time"
            assert server.poll() is None, f"{page}: it ended with {server.returncode}"
            time.sleep(0.05)


def test_the_line_on_grafana_makes_the_file_again(tmp_path: Path) -> None:
    here = copied("grafana", tmp_path)
    committed = (here / "rtcrelay.json").read_text()
    (here / "rtcrelay.json").unlink()
    (line,) = commands(here / "README.md")
    assert line.startswith("python ")
    subprocess.run([sys.executable, *line.split()[1:]], cwd=here, check=True)
    assert (here / "rtcrelay.json").read_text() == committed


def test_the_readme_counts_the_alerts() -> None:
    alerts = (DEPLOY / "prometheus" / "alerts.yml").read_text().count("- alert: ")
    assert f"{alerts} alerts:" in (DEPLOY / "prometheus" / "README.md").read_text()
