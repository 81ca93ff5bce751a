"""The chart's examples, rendered. ``python -m tests.deploy.charts`` writes the files that tests compare them with."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import yaml

CHART: Final = Path(__file__).parents[2] / "deploy" / "helm" / "rtcrelay"
GOLDEN: Final = Path(__file__).parent / "golden"
EXAMPLES: Final = ("one-host", "one-cluster", "many-regions")
HELM: Final = Path(sys.executable).with_name("helm")
"""As pip installs it."""


def helm(*words: str) -> subprocess.CompletedProcess[str]:
    """Runs helm."""
    return subprocess.run([HELM, *words], capture_output=True, text=True, timeout=60)


def template(*words: str) -> str:
    """The manifests of a release called rtcrelay."""
    done = helm("template", "rtcrelay", str(CHART), *words)
    assert done.returncode == 0, done.stderr
    return done.stdout


def example(name: str) -> str:
    """The manifests of an example."""
    return template("--values", str(CHART / "examples" / f"{name}.yaml"))


def objects(manifests: str) -> list[dict[str, Any]]:
    """What manifests say."""
    return [each for each in yaml.safe_load_all(manifests) if each]


if __name__ == "__main__":
    GOLDEN.mkdir(exist_ok=True)
    for name in EXAMPLES:
        (GOLDEN / f"{name}.yaml").write_text(example(name))
        print(f"wrote {GOLDEN / name}.yaml")
