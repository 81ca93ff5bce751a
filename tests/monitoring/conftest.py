"""Collects what the whole suite logs, and has the test that reads it run last."""

from __future__ import annotations

import pytest

from .suite import Collector

COLLECTOR = Collector()
COLLECTOR.start()  # nested conftests are imported while tests are collected, before the first one runs


@pytest.fixture(scope="session")
def collector() -> Collector:
    """Everything so far that is in no file."""
    return COLLECTOR


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: item.get_closest_marker("reads_the_suites_logs") is not None)


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "reads_the_suites_logs: runs after all others")
