"""``rtcrelay probe ingress``: a ranking of what answers and what does not."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from .relay_process import RelayProcess

Cli = Callable[..., Any]


@pytest.fixture
def dead() -> str:
    """An address where nobody answers."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{probe.getsockname()[1]}"


def test_ingresses_are_ranked_by_what_they_answer(tmp_path: Path, key_file: str, dead: str, cli: Cli) -> None:
    with RelayProcess(tmp_path, key_file) as relay:
        alive = "{}:{}".format(*relay.public())
        sites = tmp_path / "sites.toml"
        sites.write_text(
            "".join(
                f'[[ingresses]]\nname = "{name}"\naddress = "{address}"\nlatitude = 0\nlongitude = 0\n'
                for name, address in (("dead", dead), ("alive", alive))
            )
        )
        done = cli("probe", "ingress", "--sites", str(sites), "--count", "3", "-i", "20ms", "-W", "300ms", "--json")
        assert done.status == 1, "one does not answer"
        first, second = json.loads(done.out)
        assert (first["rank"], first["name"], first["sent"], first["received"]) == (1, "alive", 3, 3)
        assert 0 < first["min_ms"] <= first["rtt_ms"] <= first["max_ms"]
        assert first["jitter_ms"] is not None
        assert (second["name"], second["received"], second["loss_percent"]) == ("dead", 0, 100.0)
        assert "refused" in second["problem"]
        done = cli("probe", "ingress", alive, "--count", "1")
        assert done.status == 0
        assert alive in done.out


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (["127.0.0.1", "--sites", "x"], 2, "ADDR and --sites exclude each other"),
        (["--sites", "/nonexistent"], 78, "cannot read sites file /nonexistent"),
        ([], 78, "no sites file is configured"),
        (["127.0.0.1", "--count", "0"], 2, "--count: '0' is not a whole number from 1 to 10000"),
    ],
)
def test_what_cannot_be_is_said(cli: Cli, arguments: list[str], status: int, said: str) -> None:
    done = cli("probe", "ingress", *arguments)
    assert done.status == status
    assert said in done.err
