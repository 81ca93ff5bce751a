"""What deploy/container/Containerfile says. That it builds and runs is shown by ``python -m tests.deploy.image``."""

from __future__ import annotations

import re
import subprocess
import sys
from fnmatch import fnmatch
from pathlib import Path

from .charts import CHART
from .guide import blocks
from .image import CONTAINERFILE, ROOT

TEXT = CONTAINERFILE.read_text()
STAGES = [f"FROM{stage}" for stage in re.split(r"^FROM", TEXT, flags=re.MULTILINE)[1:]]


def instructions(name: str, text: str = TEXT) -> list[str]:
    return re.findall(rf"^{name} (.*)$", text, re.MULTILINE)


def test_each_stage_is_from_a_base_that_can_be_named() -> None:
    named = [base.split()[0].strip("${}") for base in instructions("FROM")]
    assert named == [argument.partition("=")[0] for argument in instructions("ARG")]
    assert len(STAGES) == 2, "one builds, one runs"


def test_the_last_stage_takes_nothing_from_the_first_but_what_was_installed() -> None:
    assert instructions("COPY", STAGES[-1]) == ["--from=build /opt/rtcrelay /opt/rtcrelay"]
    assert "uninstall" in STAGES[0]
    assert not re.search(r"gcc|cargo|rust|pip", STAGES[-1])


def test_it_runs_as_the_user_that_the_chart_names_and_never_as_root() -> None:
    (user,) = instructions("USER")
    names = (CHART / "templates" / "_names.tpl").read_text()
    for name, number in zip(("runAsUser", "runAsGroup"), user.split(":"), strict=True):
        assert f"{name}: {number}" in names
        assert int(number) > 0


def test_what_is_copied_in_is_there_and_let_through() -> None:
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    allowed = [line[1:] for line in lines if line.startswith("!")]
    assert lines[0] == "*"
    for copied in instructions("COPY", STAGES[0]):
        for source in copied.split()[:-1]:
            assert (ROOT / source).exists()
            assert any(fnmatch(source, pattern) for pattern in allowed), source


def test_what_the_build_of_the_package_reads_is_copied_in() -> None:
    project = (ROOT / "pyproject.toml").read_text()
    copied = " ".join(instructions("COPY", STAGES[0]))
    files = re.findall(r'^(?:readme = "|license-files = \[")([^"]+)"', project, re.MULTILINE)
    assert sorted(files) == ["LICENSE", "README.md"]
    assert all(name in copied for name in (*files, "pyproject.toml", "rtcrelay"))


def test_the_hooks_of_the_chart_find_their_programs() -> None:
    (path,) = re.findall(r"PATH=(\S+)", STAGES[-1])
    assert {"/opt/rtcrelay/bin", "/bin"} <= set(path.split(":"))
    assert '["rtcrelay"]' in instructions("ENTRYPOINT", STAGES[-1])


def test_the_command_of_the_readme_is_there() -> None:
    (commands,) = blocks(CONTAINERFILE.with_name("README.md"))
    words = commands.split()
    assert words[:3] == ["python", "-m", "tests.deploy.image"]
    done = subprocess.run([sys.executable, *words[1:], "--help"], cwd=Path(ROOT), capture_output=True, text=True)
    assert (done.returncode, "--json" in done.stdout) == (0, True)
