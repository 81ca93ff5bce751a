"""A real Prometheus for the length of a test."""

from __future__ import annotations

import asyncio
import json
import subprocess
import urllib.parse
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from rtcrelay.client.demo.processes import free_ports

RULES = Path(__file__).parents[2] / "deploy" / "prometheus"
INSTALL = "apt-get install prometheus"


class Prometheus:
    """Scrapes every second, with the project's rules or others."""

    def __init__(self, directory: Path, targets: Mapping[str, int], rules: Mapping[str, str]) -> None:
        """``targets``: ports of loopback by job; ``rules``: contents of rule files by name."""
        self._directory = directory
        (self._port,) = free_ports(1)
        jobs = [
            {"job_name": job, "static_configs": [{"targets": [f"127.0.0.1:{port}"]}]} for job, port in targets.items()
        ]
        for name, content in rules.items():
            (directory / name).write_text(content)
        config = {
            "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
            "rule_files": list(rules),
            "scrape_configs": jobs,
        }
        (directory / "prometheus.yml").write_text(json.dumps(config))  # JSON is YAML

    def __enter__(self) -> Prometheus:
        self._log = (self._directory / "prometheus.log").open("wb")
        arguments = [
            f"--config.file={self._directory / 'prometheus.yml'}",
            f"--storage.tsdb.path={self._directory / 'data'}",
            f"--web.listen-address=127.0.0.1:{self._port}",
            "--log.level=warn",
        ]
        self._process = subprocess.Popen(["prometheus", *arguments], stdout=self._log, stderr=self._log)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._process.kill()
        self._process.wait()
        self._log.close()

    async def get(self, path: str, **parameters: str) -> Any:
        """What the HTTP API says to a request; raises OSError until it runs."""
        url = f"http://127.0.0.1:{self._port}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
        return await asyncio.to_thread(_read, url)

    async def query(self, query: str) -> list[dict[str, Any]]:
        """The series that a query gives now; a query that is wrong raises urllib.error.HTTPError."""
        return list((await self.get("query", query=query))["data"]["result"])

    async def values(self, query: str) -> list[float]:
        """Their values."""
        return [float(series["value"][1]) for series in await self.query(query)]

    async def firing(self) -> dict[str, str]:
        """Summaries of the alerts that fire, by name."""
        rows = (await self.get("alerts"))["data"]["alerts"]
        return {row["labels"]["alertname"]: row["annotations"]["summary"] for row in rows if row["state"] == "firing"}

    async def is_up(self, targets: int) -> bool:
        """Whether so many targets answered its last scrape."""
        try:
            return await self.values("sum(up)") == [targets]
        except OSError:
            return False


def _read(url: str) -> Any:
    with urllib.request.urlopen(url, timeout=10) as response:
        return json.load(response)
