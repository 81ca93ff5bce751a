"""Every machine-readable output is what its published schema says, as real processes print it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from store.server import running

import rtcrelay
from rtcrelay.cli.app import root_command

from .demo_site import DemoSite, demo_site, talking
from .relay_process import RelayProcess, UnixConnection
from .schemas import FOLDER, how_to_register, known_kinds, validate
from .test_cli_app import commands

CAPTURES = Path(__file__).parents[1] / "vectors" / "captures"
SITES = """\
[[ingresses]]
name = "fra"
address = "127.0.0.1:3478"
latitude = 50.11
longitude = 8.68
[[clusters]]
id = 1
name = "eu"
latitude = 50.11
longitude = 8.68
transceivers = ["127.0.0.1:8080"]
"""

CALL = f"{CAPTURES}/call.pcap"
SPP = "56ec00000000000000000000ffffc633640700000000000000000000ffff0a000005c8220d97"
UFRAG = "$(rtcrelay ufrag encode --endpoint 127.0.0.1:7000)"

# A shell line in the demo's directory, the kinds it prints, and its statuses. A new kind goes here.
OUTPUTS: tuple[tuple[str, set[str], set[int]], ...] = (
    ("rtcrelay status --json", {"status"}, {0}),
    ("rtcrelay drain --cancel --json", {"status"}, {0}),
    ("rtcrelay doctor --json --timeout 1s", {"finding"}, {0, 1}),
    ("rtcrelay flows list --json", {"flow"}, {0}),
    ("rtcrelay flows list -o jsonl --src 127.0.0.1", {"flow"}, {0}),
    ("rtcrelay flows get 127.0.0.1 --json", {"flow"}, {0}),
    ("rtcrelay flows kill --dst 127.0.0.1 --dry-run --json", {"flow"}, {0}),
    ("rtcrelay flows stats --all --json", {"count"}, {0}),
    ("rtcrelay sessions list --json", {"session"}, {0}),
    ("rtcrelay sessions get $(rtcrelay sessions list -o jsonl -n 1 -q | jq -r .id) --json", {"session"}, {0}),
    ("rtcrelay sessions close --all --dry-run -o jsonl", {"session"}, {0}),
    ("rtcrelay ufrag encode --node 3 --json", {"ufrag"}, {0}),
    (f"rtcrelay ufrag decode {UFRAG} nonsense -o jsonl", {"ufrag"}, {65}),
    (f"rtcrelay stun encode --username {UFRAG}:abcd | rtcrelay stun decode --json", {"stun"}, {0}),
    (f"rtcrelay stun decode -r {CALL} --password-file {CAPTURES}/call.passwords -o jsonl", {"stun"}, {0}),
    (f"rtcrelay spp decode {SPP} --json", {"spp"}, {0}),
    (f"rtcrelay spp decode -r {CALL} -o jsonl", {"spp"}, {0}),
    ("rtcrelay sdp inspect answer.sdp --json", {"sdp"}, {0, 1}),
    (f"rtcrelay explain -r {CALL} --vip 127.0.0.1 -o jsonl", {"explanation"}, {0}),
    (
        f"rtcrelay stun encode --username {UFRAG}:abcd | rtcrelay explain --from 198.51.100.7:51234 --json",
        {"explanation"},
        {0},
    ),
    ("rtcrelay steer explain --sites sites.toml --from 48.86,2.35 --json", {"steer"}, {0}),
    ("rtcrelay probe stun 127.0.0.1:3478 -c 1 --json", {"stun_summary"}, {0}),
    ("rtcrelay probe stun 127.0.0.1:3478 -c 1 -o jsonl", {"stun_reply", "stun_summary"}, {0}),
    ("rtcrelay probe stun 127.0.0.1:9 -c 1 -W 100ms --json", {"stun_summary"}, {1}),
    ("rtcrelay probe route 127.0.0.1:3478 --endpoint 127.0.0.1:7000 --json", {"route_probe"}, {0}),
    ("rtcrelay probe session http://127.0.0.1:8080/whip --seconds 1 --json", {"session_probe"}, {0}),
    ("rtcrelay probe session http://127.0.0.1:9/whip --seconds 1 --json", {"session_probe"}, {1}),
    (f"rtcrelay probe replay {CALL} --to 127.0.0.1:9 --dry-run --json", {"replay_plan"}, {0}),
    (f"rtcrelay probe replay {CALL} --to 127.0.0.1:9 -t --json", {"replay"}, {0, 1}),
    ("rtcrelay routes set 198.51.100.8:1 127.0.0.1:7000 --ingress 3479 --json", {"route_set"}, {0}),
    ("rtcrelay routes list -o jsonl", {"route"}, {0}),
    ("rtcrelay routes get 198.51.100.8:1 --json", {"route"}, {0}),
    ("rtcrelay routes list --count-only --json", {"route_count"}, {0}),
    ("rtcrelay routes stats --json", {"count"}, {0}),
    (
        "(sleep 0.5; rtcrelay routes set 198.51.100.9:1 127.0.0.1:7000 --ingress 3479 2> /dev/null > /dev/null) &"
        " rtcrelay routes watch -o jsonl -n 1",
        {"route_event"},
        {0},
    ),
    ("rtcrelay routes flush --all --yes --json", {"flush"}, {0}),
    ("until rtcrelay nodes list -o jsonl | grep .; do sleep 0.2; done", {"node"}, {0}),
    ("rtcrelay nodes get $(rtcrelay nodes list -o jsonl | jq -r .node) --json", {"node"}, {0}),
    ("rtcrelay keys list --live --json", {"key"}, {0}),
    ("rtcrelay keys rotate --dry-run --json", {"key_rotation"}, {0}),
    ("cp keys.toml k && rtcrelay keys rotate --key-file k --json", {"key_rotation"}, {0}),
    ("rtcrelay keys rotate --key-file k --json", {"key_rotation"}, {1}),
    ("rtcrelay keys rotate --key-file k --force --json", {"key_rotation"}, {0}),
    ("rtcrelay keys revoke 0 --key-file k --json", {"key_revocation"}, {1}),
    ("rtcrelay keys revoke 0 --key-file k --force --yes --json", {"key_revocation"}, {0}),
    ("rtcrelay config show --json", {"setting"}, {0}),
    ("rtcrelay config check --json", {"config_check"}, {0}),
    ("RTCRELAY_WORKERS=99 rtcrelay config check --json", {"config_check"}, {78}),
    ("rtcrelay probe ingress 127.0.0.1 --count 2 -i 20ms --json", {"ingress_probe"}, {0}),
    ("rtcrelay bench relay --seconds 200ms --pps 500 --flows 5 --json", {"bench_relay"}, {0, 1}),
    ("rtcrelay bench ufrag --seconds 100ms --json", {"bench_ufrag"}, {0}),
    ("rtcrelay version --json", {"version"}, {0}),
)
ADMIN: tuple[tuple[str, str, str], ...] = (
    ("GET", "/v1/stats", "stats"),
    ("POST", "/v1/drain", "drain"),
    ("DELETE", "/v1/drain", "drain"),
    ("POST", "/v1/reload", "reload"),
)
ELSEWHERE = {
    "kill": "ends paths; tests/cli/test_flows.py and its neighbours read the answer",
    "lab": "makes network namespaces; tests/cli/test_lab.py validates what lab commands print",
    "lab_host": "as lab",
    "lab_link": "as lab",
    "demo": "takes seconds; tests/e2e/test_demo.py validates what it prints",
}
LOG_RECORDS = {"session_ended": "a line of a transceiver's log, not of an output"}
NO_JSON = {
    "serve relay": "runs until it is ended; --print-config is TOML",
    "serve transceiver": "as serve relay",
    "serve signaling": "as serve relay",
    "serve parrot": "as serve relay",
    "flows top": "a picture; flows list has the same rows",
    "capture": "writes pcapng",
    "lab up": "makes network namespaces; tests/cli/test_lab.py validates what it prints",
    "lab status": "as lab up",
    "lab links": "as lab up",
    "lab set": "as lab up",
    "lab down": "says nothing, or that there was nothing",
    "lab run": "prints what its command prints",
    "lab kill": "says nothing",
    "lab start": "says nothing",
    "lab world": "is TOML",
    "nodes cordon": "prints node rows as nodes list; tests/cli/test_nodes.py",
    "nodes uncordon": "as nodes cordon",
    "nodes drain": "as nodes cordon",
    "stun encode": "writes a message",
    "keys generate": "writes a key file",
    "config init": "writes a configuration file",
    "config schema": "is a schema",
    "completion": "writes a script",
    "man": "writes roff",
}
"""Commands without machine-readable output, and why."""


@pytest.fixture(scope="module")
def site() -> Iterator[DemoSite]:
    with (
        running("valkey") as redis,
        demo_site() as site,
        talking(site.url(0)) as caller,
        talking(site.url(1)),
        _beating(site, redis.url),
    ):
        assert caller.answer is not None
        (site.directory / "answer.sdp").write_text(caller.answer.sdp)
        (site.directory / "sites.toml").write_text(SITES)
        yield site


@contextmanager
def _beating(site: DemoSite, redis: str) -> Iterator[None]:
    """A relay of its own that shows in Redis that it is alive."""
    directory = site.directory / "beating"
    directory.mkdir()
    with RelayProcess(directory, str(site.directory / "keys.toml"), "--redis", redis, RTCRELAY_CONFIG="/dev/null"):
        site.environ["RTCRELAY_REDIS"] = redis
        yield


def objects(text: str) -> list[dict[str, Any]]:
    """The objects of JSON or of JSON lines."""
    try:
        found = json.loads(text)
    except ValueError:
        return [json.loads(line) for line in text.splitlines()]
    return found if isinstance(found, list) else [found]


@pytest.mark.requires(command="jq", install="apt-get install jq")
@pytest.mark.parametrize(("line", "kinds", "statuses"), OUTPUTS, ids=[line[:60] for line, _, _ in OUTPUTS])
def test_what_a_command_prints_is_what_its_schema_says(
    site: DemoSite, line: str, kinds: set[str], statuses: set[int]
) -> None:
    done = site.shell(site.here(line))
    assert done.returncode in statuses, done.stderr
    assert {validate(row) for row in objects(done.stdout)} == kinds, done.stderr


@contextmanager
def signaling(site: DemoSite) -> Iterator[str]:
    """The admin socket of a signaling in front of the demo's transceivers."""
    socket = site.directory / "signaling.sock"
    args = ["--sites", "sites.toml", "--http", "127.0.0.1:0", "--admin", str(socket)]
    command = [sys.executable, "-m", "rtcrelay", "serve", "signaling", "-q", *args]
    with subprocess.Popen(command, cwd=site.directory, env=site.environ) as process:
        try:
            while not socket.exists():
                assert process.poll() is None
                time.sleep(0.02)
            yield str(socket)
        finally:
            process.terminate()


def test_what_admin_sockets_answer_is_what_their_schemas_say(site: DemoSite) -> None:
    with signaling(site) as front:
        for role, socket, own in (
            ("relay", site.facts["relay_admin"], "flows"),
            ("transceiver", site.admin(), "sessions"),
            ("signaling", front, "world"),
        ):
            for method, path, kind in (*ADMIN, ("GET", f"/v1/{own}", own)):
                connection = UnixConnection(Path(socket))
                connection.request(method, path)
                answer = connection.getresponse()
                expected = f"{role}_{kind}" if kind == "stats" else kind
                assert validate(json.loads(answer.read())) == expected, f"{method} {path} of {role}"
                connection.close()
    validate(site.facts)
    connection = UnixConnection(Path(site.facts["relay_admin"]))
    connection.request("GET", "/v1/capture?all=1")
    assert validate(json.loads(connection.getresponse().readline())) == "capture"
    connection.close()


def test_events_are_what_their_schema_says(site: DemoSite) -> None:
    command = [sys.executable, "-m", "rtcrelay", "flows", "tail", "-o", "jsonl", "-n", "2"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=site.environ) as tail:
        while tail.poll() is None:
            with talking(site.url(0)):
                pass
        assert tail.stdout is not None
        assert {validate(row) for row in objects(tail.stdout.read())} == {"flow_event"}
    validate({"kind": "lost", "v": 1, "time": "2026-11-22T10:00:00.000Z", "relay": "r", "where": "relay", "events": 3})


def test_every_kind_in_the_source_has_a_schema_and_every_schema_a_kind() -> None:
    source = "".join(path.read_text() for path in Path(rtcrelay.__file__).parent.rglob("*.py"))
    kinds = set(re.findall(r'"kind": ?"([a-z_]+)"', source)) | {"flow", "route"}
    kinds -= set(LOG_RECORDS)
    for kind in sorted(kinds):
        assert kind in known_kinds(), how_to_register(kind)
    assert known_kinds() == kinds, "a schema of what nobody prints"


def test_every_schema_is_reached_by_a_test() -> None:
    printed = set.union(*(kinds for _, kinds, _ in OUTPUTS), {"flow_event", "lost", "demo_site"})
    printed |= {
        "flows",
        "sessions",
        "reload",
        "drain",
        "relay_stats",
        "transceiver_stats",
        "signaling_stats",
        "world",
        "capture",
    }
    missing = known_kinds() - printed - set(ELSEWHERE)
    assert not missing, f"{missing}: add a command that prints it to OUTPUTS in tests/cli/test_schemas.py"


def test_every_command_with_json_is_in_the_table() -> None:
    lines = " ".join(line for line, _, _ in OUTPUTS)
    for path, command in commands(root_command()):
        name = " ".join(path)
        if hasattr(command, "list_commands") or name in NO_JSON or name in ("demo", "flows tail"):
            continue
        assert f"rtcrelay {name}" in lines, (
            f"'{name}' is not in OUTPUTS of tests/cli/test_schemas.py: add a line that prints its JSON, or its name to"
            " NO_JSON with the reason"
        )


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.json")), ids=lambda path: path.stem)
def test_a_schema_is_a_schema_and_says_whose_it_is(path: Path) -> None:
    schema = json.loads(path.read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    assert schema["$id"] == path.name
    assert schema["title"]
    assert schema["properties"]["kind"] == {"const": path.stem}
    assert {"kind", "v"} <= set(schema["required"])


def test_a_missing_a_wrong_and_an_unknown_key_are_faults() -> None:
    row = {"kind": "version", "v": 1, "version": "1", "python": "3"}
    assert validate(row) == "version"
    for wrong in ({**row, "python": 3}, {**row, "more": 1}, {"kind": "version", "v": 1}, {**row, "v": 2}):
        with pytest.raises(AssertionError, match="version: "):
            validate(wrong)
    with pytest.raises(AssertionError, match=r"write docs/schemas/news\.json"):
        validate({"kind": "news", "v": 1})
