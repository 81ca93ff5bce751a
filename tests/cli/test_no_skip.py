"""The tests' own rule: a skip names the command that installs what is missing, and fails where nothing may be."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

CONFTEST = Path(__file__).parents[1] / "conftest.py"

SAMPLE = """
import pytest

@pytest.mark.requires(command="no-such-command", install="apt-get install it")
def test_that_needs_a_command():
    pass

@pytest.mark.requires(module="no_such_module", install="pip install it")
def test_that_needs_a_module():
    pass

def test_that_needs_a_file(requires):
    requires(file="/no/such/file", install="make it")

@pytest.mark.requires(command="sh", module="json", file="/", install="nothing")
def test_that_has_all_it_needs():
    pass

@pytest.mark.xfail(reason="known", strict=True)
def test_that_is_known_to_fail():
    assert False
"""


@pytest.mark.parametrize(
    ("no_skip", "summary"), [("", "1 passed, 3 skipped, 1 xfailed"), ("1", "1 failed, 1 passed, 1 xfailed, 2 errors")]
)
def test_a_skip_is_a_failure_where_nothing_may_be_missing(tmp_path: Path, no_skip: str, summary: str) -> None:
    shutil.copy(CONFTEST, tmp_path)
    (tmp_path / "test_sample.py").write_text(SAMPLE)
    command = [sys.executable, "-m", "pytest", "-p", "no:valkey", "-rfs", "--strict-markers", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"RTCRELAY_TESTS_NO_SKIP": no_skip})
    assert summary in done.stdout
    assert "no-such-command is not installed: apt-get install it" in done.stdout
    assert "the module no_such_module is not installed: pip install it" in done.stdout
    assert "/no/such/file does not exist: make it" in done.stdout


def test_a_module_that_cannot_be_collected_without_a_part_fails_too(tmp_path: Path) -> None:
    shutil.copy(CONFTEST, tmp_path)
    (tmp_path / "test_sample.py").write_text("import pytest\npytest.importorskip('no_such_module')\n")
    command = [sys.executable, "-m", "pytest", "-p", "no:valkey", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"RTCRELAY_TESTS_NO_SKIP": "1"})
    assert done.returncode != 0
    assert "RTCRELAY_TESTS_NO_SKIP=1 forbids to skip" in done.stdout
