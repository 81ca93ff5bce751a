"""What all tests share: skips that say how to install what is missing, and that fail where nothing may be missing.

``@pytest.mark.requires(command="fish", install="apt-get install fish")`` skips a test (or, as ``pytestmark``, a
module) unless the command, ``module=`` or ``file=`` is there. With ``RTCRELAY_TESTS_NO_SKIP=1`` every skip fails.
"""

from __future__ import annotations

import importlib.util
import logging
import os
import shutil
import signal
from collections.abc import Callable, Generator
from pathlib import Path
from typing import TypeVar

import pytest

from rtcrelay import daemon

NO_SKIP = "RTCRELAY_TESTS_NO_SKIP"

Report = TypeVar("Report", pytest.TestReport, pytest.CollectReport)


def pytest_configure(config: pytest.Config) -> None:
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        # A shell's background job ignores it, and so would every process that a test starts and interrupts.
        signal.signal(signal.SIGINT, signal.default_int_handler)
    config.addinivalue_line("markers", "requires(command, module, file, *, install): skip unless it is there")


def pytest_runtest_setup(item: pytest.Item) -> None:
    for mark in item.iter_markers("requires"):
        requires(*mark.args, **mark.kwargs)


def requires(
    command: str | None = None, module: str | None = None, file: str | Path | None = None, *, install: str
) -> None:
    """Skips the test that calls it unless a command, a Python module or a file is there.

    ``install`` is the exact command that installs it; it becomes the reason.
    """
    if command is not None and shutil.which(command) is None:
        pytest.skip(f"{command} is not installed: {install}")
    if module is not None and importlib.util.find_spec(module) is None:
        pytest.skip(f"the module {module} is not installed: {install}")
    if file is not None and not Path(file).exists():
        pytest.skip(f"{file} does not exist: {install}")


@pytest.fixture(name="requires")
def _requires() -> Callable[..., None]:
    """The function `requires`, for tests that learn late what they need."""
    return requires


@pytest.fixture(autouse=True)
def _logs_as_they_were() -> Generator[None]:
    """Takes back what a command that ran in this process did to logging."""
    root, ours = logging.getLogger(), logging.getLogger("rtcrelay")
    levels, handlers = (root.level, ours.level), list(root.handlers)
    shows_clients = daemon._addresses_are_shown
    yield
    daemon._addresses_are_shown = shows_clients
    root.setLevel(levels[0])
    ours.setLevel(levels[1])
    root.handlers[:] = handlers


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    return _refuse_skip((yield))


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    return _refuse_skip((yield))


def _refuse_skip(report: Report) -> Report:
    if os.environ.get(NO_SKIP) == "1" and report.outcome == "skipped" and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        report.outcome = "failed"
        report.longrepr = f"{NO_SKIP}=1 forbids to skip. {reason}"
    return report
