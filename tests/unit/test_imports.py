"""Imports go one way, and each heavy or foreign library has one door.

The layers, from the top: ``cli``; ``relay``, ``transceiver``, ``client``, ``signaling``, ``debug``; ``audio``;
``rtc``; then what all may use. A module imports from its own layer's package and from below, never from above or
beside.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import rtcrelay

PACKAGE = Path(rtcrelay.__file__).parent
BASE = {
    "errors",
    "_dataplane",
    "config",
    "daemon",
    "log_events",
    "event_loop",
    "keys",
    "key_edit",
    "key_rotation",
    "secret_files",
    "http",
    "admin",
    "metrics",
    "store",
    "__init__",
}
MIDDLE = {"relay", "transceiver", "client", "signaling", "parrot", "debug"}

ALLOWED = {
    **dict.fromkeys(BASE, BASE),
    "errors": {"__init__"},
    "config": {"errors", "daemon", "__init__"},
    "daemon": {"errors", "log_events", "__init__"},
    "log_events": set(),
    "event_loop": {"daemon", "errors"},
    "secret_files": {"errors", "__init__"},
    "keys": {"errors", "_dataplane", "config", "secret_files", "__init__"},
    "key_edit": {"errors", "keys", "secret_files"},
    "key_rotation": {"keys"},
    "http": {"errors", "_dataplane", "config", "daemon", "metrics", "secret_files", "__init__"},
    "admin": {"errors", "config", "daemon", "http", "keys", "key_rotation", "__init__"},
    "metrics": {"errors", "config", "daemon", "keys", "__init__"},
    "store": {"errors", "_dataplane", "config", "metrics", "secret_files", "__init__"},
    "rtc": BASE,
    "audio": BASE | {"rtc"},
    **{name: BASE | {"rtc", "audio"} for name in MIDDLE},
    "doctor": BASE | {"relay"},
    # aiortc applications on a transceiver's socket: its router, paths and ufrags, under other sessions than its own.
    "oneport": BASE | {"rtc", "transceiver"},
    # Only builds: what runs in it is started by its command line.
    "lab": {"errors", "_dataplane", "config", "daemon", "keys", "secret_files", "__init__"},
    "cli": BASE | MIDDLE | {"rtc", "audio", "doctor", "lab"},
    "__main__": {"cli"},
}

# Library, and where it may be imported. Typer needs 50 ms, rich, aiortc and scapy hundreds; scapy is GPL besides.
DOORS = {
    "typer": ("cli/",),
    "rich": ("cli/render.py",),
    "aiortc": ("rtc/", "oneport/"),  # the second one is for applications of aiortc, and nothing else of ours
    "scapy": ("debug/",),
    "redis": ("store/redis_store.py", "store/redis_client.py"),
    "prometheus_client": ("metrics/",),
    "pydantic": (),
    "click": (),
}

MODULES = sorted(path for path in PACKAGE.rglob("*.py") if "dataplane" not in path.relative_to(PACKAGE).parts[:1])


def name_of(path: Path) -> str:
    return str(path.relative_to(PACKAGE))


def imports(path: Path) -> Iterator[tuple[int, str]]:
    """(line, absolute module name) of every import of a file, also inside functions and under TYPE_CHECKING."""
    package = ["rtcrelay", *path.relative_to(PACKAGE).parts[:-1]]
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            yield node.lineno, module
            if module == "rtcrelay":
                yield from ((node.lineno, f"rtcrelay.{alias.name}") for alias in node.names)


def imports_at_run_time(path: Path) -> Iterator[str]:
    """Absolute module names of a file's imports, without those under TYPE_CHECKING."""
    tree = ast.parse(path.read_text())
    for branch in [node for node in ast.walk(tree) if isinstance(node, ast.If)]:
        if isinstance(branch.test, ast.Name) and branch.test.id == "TYPE_CHECKING":
            branch.body = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module


def part_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_a_module_imports_only_from_its_own_part_and_from_below(path: Path) -> None:
    part = part_of(path)
    allowed = ALLOWED[part] | {part}
    for line, module in imports(path):
        top, _, rest = module.partition(".")
        if top == "rtcrelay" and rest:
            target = rest.partition(".")[0]
            known = (PACKAGE / target).exists() or (PACKAGE / f"{target}.py").exists() or target == "_dataplane"
            if known:  # else a name such as __version__
                assert target in allowed, f"{name_of(path)}:{line} imports {module}: {part} may not"


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_a_library_is_imported_only_at_its_door(path: Path) -> None:
    for line, module in imports(path):
        doors = DOORS.get(module.partition(".")[0])
        if doors is not None:
            assert name_of(path).startswith(doors), f"{name_of(path)}:{line} imports {module}, whose place is {doors}"


def test_one_module_for_tables_imports_rich() -> None:
    users = [name_of(path) for path in MODULES if any(m.partition(".")[0] == "rich" for _, m in imports(path))]
    assert users == ["cli/render.py"]


EVERY_START = (
    "config",
    "daemon.py",
    "log_events.py",
    "keys.py",
    "secret_files.py",
    "errors.py",
    "admin/unix_socket.py",
    "metrics/listener.py",
    "relay/service.py",
    "relay/early_answers.py",
    "store/route_entry.py",
    "relay/policy.py",
    "store/redis_password.py",
    "cli/app.py",
)
SLOW = {"aiohttp", "aiortc", "asyncio", "av", "cryptography", "msgspec", "prometheus_client", "redis", "rich", "scapy"}


def test_what_every_start_imports_needs_none_of_the_slow_libraries() -> None:
    for part in EVERY_START:
        path = PACKAGE / part
        for file in path.rglob("*.py") if path.is_dir() else [path]:
            used = {m.partition(".")[0] for m in imports_at_run_time(file)} & (SLOW | {"uvloop"})
            assert not used, f"{name_of(file)} imports {used}"


def test_a_relay_forwards_before_any_slow_library_is_imported() -> None:
    """What is imported when the data plane starts, asked of a fresh interpreter."""
    code = "import sys, rtcrelay.cli.serve, rtcrelay.relay.service, rtcrelay.relay.early_answers; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not SLOW & {name.partition(".")[0] for name in done.stdout.split()}
