"""Is Redis there, fast enough, and does it keep what it is given?"""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Iterator, Mapping
from typing import Any, Final

from rtcrelay.doctor.finding import Finding, Verdict
from rtcrelay.doctor.patient import Patient
from rtcrelay.errors import ConfigError, RtcrelayError

LEAST_MAJOR: Final = {"redis": 7, "valkey": 8}
"""What is tested."""
SLOW_MS: Final = 5.0
"""A question for a waiting packet is worth 20 ms; chosen: a quarter."""
CLOCK_SECONDS: Final = 1.0
"""Entries carry their end as a time: a clock that is further off makes them end too early or too late."""
_PINGS: Final = 5


def redis(patient: Patient) -> Iterator[Finding]:
    """The route cache of the configured services, if there is one."""
    with_redis = next((s for s in (patient.relay, patient.signaling, patient.transceiver) if _url(s)), None)
    url = _url(with_redis)
    if url is None:
        yield Finding("redis.server", Verdict.SKIP, "no Redis is configured, and none is needed")
        return
    from rtcrelay.store.redis_password import read_redis_password

    try:
        password = read_redis_password(getattr(with_redis, "redis_password_file", None))
        yield from asyncio.run(_examine(url, password, patient.seconds))
    except ConfigError as error:
        yield Finding("redis.server", Verdict.FAIL, str(error), error.hint)


def _url(settings: object) -> str | None:
    return getattr(settings, "redis", None)


async def _examine(url: str, password: str | None, seconds: float) -> list[Finding]:
    from rtcrelay.store.redis_store import RedisStore

    store = RedisStore(url, password)
    try:
        async with asyncio.timeout(seconds):
            await store.ping()
            times = [await _ping(store) for _ in range(_PINGS)]
            (info,) = await store.run(("INFO",))
            asked_at = time.time()
            (server_time,) = await store.run(("TIME",))
            has_msetex = await _has_msetex(store)
    except (RtcrelayError, TimeoutError) as error:
        reason = str(error) or f"{store.name} does not answer within {seconds:g} s"
        return [Finding("redis.server", Verdict.FAIL, reason, f"redis-cli -u {store.name} ping")]
    finally:
        await store.close()
    facts: Mapping[str, Any] = info if isinstance(info, Mapping) else {}
    return [
        _version(facts),
        _latency(statistics.median(times)),
        _eviction(facts, store.name),
        _command(has_msetex),
        _clock(server_time, asked_at),
    ]


async def _ping(store: Any) -> float:
    begun = time.perf_counter()
    await store.ping()
    return (time.perf_counter() - begun) * 1000


async def _has_msetex(store: Any) -> bool | None:
    """Whether the server knows the command; asked without arguments, which it refuses. None: it does not say."""
    (reply,) = await store.run(("MSETEX",))
    text = str(reply).lower()
    return False if "unknown command" in text else True if "wrong number of arguments" in text else None


def _version(facts: Mapping[str, Any]) -> Finding:
    name = "valkey" if facts.get("server_name") == "valkey" or "valkey_version" in facts else "redis"
    version = str(facts.get("valkey_version" if name == "valkey" else "redis_version", ""))
    major = version.partition(".")[0]
    least = LEAST_MAJOR[name]
    if not major.isdecimal():
        return Finding("redis.server", Verdict.SKIP, "the server does not tell its version")
    if int(major) < least:
        message = f"{name} {version}, tested is {least} and newer"
        return Finding("redis.server", Verdict.WARN, message, f"apt-get install {name}-server")
    return Finding("redis.server", Verdict.PASS, f"{name} {version} answers")


def _latency(median_ms: float) -> Finding:
    if median_ms > SLOW_MS:
        message = f"an answer takes {median_ms:.1f} ms, expected {SLOW_MS:g} or less: put Redis nearer to the relays"
        return Finding("redis.latency", Verdict.WARN, message, "redis-cli --latency-history")
    return Finding("redis.latency", Verdict.PASS, f"an answer takes {median_ms:.2f} ms")


def _eviction(facts: Mapping[str, Any], name: str) -> Finding:
    policy, most = str(facts.get("maxmemory_policy", "")), facts.get("maxmemory")
    if not policy or not isinstance(most, int):
        return Finding("redis.eviction", Verdict.SKIP, "the server does not tell its eviction policy")
    if most and policy == "noeviction":
        message = f"with maxmemory {most} and noeviction, a full server refuses new routes"
        remedy = f"redis-cli -u {name} config set maxmemory-policy volatile-ttl"
        return Finding("redis.eviction", Verdict.WARN, message, remedy)
    return Finding("redis.eviction", Verdict.PASS, f"{policy}, {f'maxmemory {most}' if most else 'no maxmemory'}")


def _command(has_msetex: bool | None) -> Finding:
    if has_msetex is None:
        return Finding("redis.msetex", Verdict.SKIP, "the server does not say whether it has MSETEX")
    if has_msetex:
        return Finding("redis.msetex", Verdict.PASS, "routes are written by MSETEX, in one command")
    return Finding("redis.msetex", Verdict.PASS, "no MSETEX (Redis 8.4, Valkey 9.1): routes are written one by one")


def _clock(server_time: object, asked_at: float) -> Finding:
    if not (isinstance(server_time, tuple | list) and len(server_time) == 2):
        return Finding("redis.clock", Verdict.SKIP, "the server does not tell its time")
    off = float(server_time[0]) + float(server_time[1]) / 1e6 - asked_at
    if abs(off) > CLOCK_SECONDS:
        message = f"the server's clock is {off:+.1f} s off ours"
        return Finding("redis.clock", Verdict.WARN, message, "timedatectl set-ntp true")
    return Finding("redis.clock", Verdict.PASS, f"the server's clock is {abs(off) * 1000:.0f} ms off ours")
