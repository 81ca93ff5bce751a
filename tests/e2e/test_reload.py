"""SIGHUP on a running transceiver: new keys, another token, other networks, and no call lost."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import aiohttp

from rtcrelay._dataplane import open_ufrag
from rtcrelay.client.demo.admin import Admin
from rtcrelay.client.demo.processes import Daemon, free_ports
from rtcrelay.keys import generate, load_key_file, write_key_file
from rtcrelay.rtc.certificate import Certificate
from rtcrelay.rtc.offer_answer import IceCredentials, read_answer, write_offer

from .waiting import until

OFFER = write_offer(IceCredentials("caller", "callerpassword0123456789"), Certificate.generate().fingerprint, ssrc=1)


async def post(url: str, token: str) -> tuple[int, str]:
    headers = {"Content-Type": "application/sdp", "Authorization": f"Bearer {token}"}
    async with aiohttp.ClientSession() as http, http.post(url, data=OFFER, headers=headers) as response:
        return response.status, await response.text()


async def test_keys_and_token_change_while_sessions_live(tmp_path: Path) -> None:
    media, port = free_ports(2)
    keys, token, settings = tmp_path / "keys.toml", tmp_path / "token", tmp_path / "settings.toml"
    write_key_file(keys, generate(1))
    token.write_text("the-first-token-of-all\n")
    token.chmod(0o600)
    settings.write_text('[transceiver]\nrelays = ["127.0.0.1/32"]\n')
    arguments = ["transceiver", "--config", str(settings), "--key-file", str(keys), "--auth-token-file", str(token)]
    arguments += ["--http", f"127.0.0.1:{port}", "--media", f"127.0.0.1:{media}", "--ingress", "127.0.0.1:9"]
    arguments += ["--admin", str(tmp_path / "admin.sock"), "--drain-timeout", "0s"]
    daemon, admin = Daemon("node", arguments, tmp_path), Admin(tmp_path / "admin.sock")
    url = f"http://127.0.0.1:{port}/whip"

    async def words() -> str:
        return daemon.log.read_text()

    try:
        await daemon.start()
        assert daemon.pid is not None
        assert (await post(url, "the-first-token-of-all"))[0] == 201
        write_key_file(keys, generate(2), force=True)
        token.write_text("the-second-token-of-all\n")
        settings.write_text('[transceiver]\nrelays = ["127.5.0.0/16"]\nbackend = "null"\n')
        os.kill(daemon.pid, signal.SIGHUP)
        await until(words, lambda log: "reloaded: keys 2" in log, "the reload")
        assert (await post(url, "the-first-token-of-all"))[0] == 401
        status, answer = await post(url, "the-second-token-of-all")
        assert status == 201
        assert open_ufrag(load_key_file(keys).ring, read_answer(answer).ice.ufrag).key_id == 2
        assert len(await admin.sessions()) == 2
        assert "backend has changed, which takes effect at the next start" in await words()

        token.write_text("short\n")
        os.kill(daemon.pid, signal.SIGHUP)
        await until(words, lambda log: "everything stays as it was: token file" in log, "a refusal")
        assert (await post(url, "the-second-token-of-all"))[0] == 201
        assert "the-second" not in await words()
    finally:
        await daemon.stop()
