"""``rtcrelay keys rotate`` and ``revoke`` with servers that run."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from store.server import running

from rtcrelay import keys
from rtcrelay._dataplane import Route, mint_ufrag

from .conftest import Cli
from .relay_process import RelayProcess, binding_request


@pytest.fixture
def relay(tmp_path: Path, key_file: str) -> Iterator[RelayProcess]:
    with RelayProcess(tmp_path, key_file, "--transceivers", "127.0.0.0/8") as relay:
        yield relay


def states(key_file: str) -> dict[int, str]:
    return {key.id: key.state for key in keys.load_key_file(Path(key_file)).keys}


def test_a_rotation_adds_waits_for_the_servers_and_promotes(relay: RelayProcess, key_file: str, cli: Cli) -> None:
    args = ("--key-file", key_file, "-A", str(relay.admin))
    done = cli("keys", "rotate", *args, "--json")
    assert done.status == 0
    row = json.loads(done.out)
    assert (row["kind"], row["step"], row["done"], row["id"]) == ("key_rotation", "add", True, 4)
    assert states(key_file) == {3: "active", 4: "accept"}

    done = cli("keys", "rotate", *args)
    assert done.status == 1
    assert f"relay ({relay.admin}) lacks it" in done.out
    assert done.err.startswith(
        f"rtcrelay: error: key 4 is not safe to mint with: relay ({relay.admin}) does not have key 4\nhint: "
    )
    assert states(key_file) == {3: "active", 4: "accept"}

    assert relay.ask("/v1/reload", "POST")[0] == 200
    done = cli("keys", "rotate", *args, "--json")
    assert done.status == 0
    row = json.loads(done.out)
    assert (row["step"], row["done"], row["id"], row["demoted_id"], row["obstacles"]) == ("promote", True, 4, 3, [])
    assert row["servers"] == [{"server": f"relay ({relay.admin})", "accepts": True, "problem": None}]
    assert states(key_file) == {3: "accept", 4: "active"}


def test_one_command_with_wait_and_reload_does_both_steps(relay: RelayProcess, key_file: str, cli: Cli) -> None:
    done = cli("keys", "rotate", "--key-file", key_file, "-A", str(relay.admin), "--wait", "--reload")
    assert done.status == 0, done.err
    assert states(key_file) == {3: "accept", 4: "active"}
    assert [key["state"] for key in relay.ask("/v1/stats")[1]["keys"]] == ["accept", "active"]


def test_waiting_for_a_server_that_does_not_reload_ends_with_75(relay: RelayProcess, key_file: str, cli: Cli) -> None:
    done = cli("keys", "rotate", "--key-file", key_file, "-A", str(relay.admin), "--wait", "--timeout", "50ms")
    assert done.status == 75
    assert f"key 4 is not everywhere yet: relay ({relay.admin}) does not have key 4" in done.err
    assert states(key_file) == {3: "active", 4: "accept"}


def test_without_a_server_to_ask_only_force_promotes(key_file: str, cli: Cli, tmp_path: Path) -> None:
    args = ("keys", "rotate", "--key-file", key_file, "-A", str(tmp_path / "none.sock"))
    assert cli(*args).status == 0
    done = cli(*args)
    assert done.status == 1
    assert "none.sock cannot say: cannot reach the admin socket" in done.err
    assert cli(*args, "--force").status == 0
    assert states(key_file)[4] == "active"


def test_a_dry_run_changes_nothing(key_file: str, cli: Cli) -> None:
    before = Path(key_file).read_bytes()
    done = cli("keys", "rotate", "--key-file", key_file, "--dry-run", "--json")
    assert (done.status, json.loads(done.out)["done"]) == (0, False)
    assert Path(key_file).read_bytes() == before


def test_a_revocation_says_what_ends_and_is_refused_while_it_would(
    relay: RelayProcess, key_file: str, cli: Cli
) -> None:
    with socket.socket(type=socket.SOCK_DGRAM) as transceiver, socket.socket(type=socket.SOCK_DGRAM) as client:
        transceiver.bind(("127.0.0.1", 0))
        transceiver.settimeout(10)
        ring = keys.load_key_file(Path(key_file)).ring
        route = Route("endpoint", 0, ip="127.0.0.1", port=transceiver.getsockname()[1], nonce=1, key_id=3)
        client.sendto(binding_request(f"{mint_ufrag(ring, route)}:abcd"), relay.public())
        transceiver.recv(2048)
        args = ("--key-file", key_file, "-A", str(relay.admin))
        assert cli("keys", "rotate", *args, "--reload").status == 0
        assert cli("keys", "rotate", *args).status == 0

        done = cli("keys", "revoke", "3", *args, "--json", "--max-session-duration", "1s", "--yes")
        assert done.status == 1
        row = json.loads(done.out)
        assert (row["done"], row["flows"], row["sessions"], row["servers_asked"]) == (False, 1, 0, 1)
        assert row["obstacles"][0] == (f"relay ({relay.admin}) still mints with key 3: it has not read the new file")
        assert "key 3 is still in use" in done.err
        relay.ask("/v1/reload", "POST")
        done = cli("keys", "revoke", "3", *args)
        assert done.status == 1
        assert "sessions of key 3 may go on until " in done.err

        done = cli("keys", "revoke", "3", *args, "--force", "--yes", "--reload", "--json")
        assert done.status == 0, done.err
        assert json.loads(done.out)["done"]
        assert states(key_file)[3] == "revoked"
        assert [key["state"] for key in relay.ask("/v1/stats")[1]["keys"]] == ["revoked", "active"]


def test_a_key_that_mints_is_revoked_and_an_unknown_one_that_is_gone_are_refused(key_file: str, cli: Cli) -> None:
    done = cli("keys", "revoke", "3", "--key-file", key_file, "--force", "--yes")
    assert done.status == 1
    assert "key 3 is the active one" in done.err
    done = cli("keys", "revoke", "5", "--key-file", key_file)
    assert done.status == 1
    assert f"key 5 is not there: {key_file} accepts 3" in done.err


def test_a_candidate_is_taken_back_without_further_ado(key_file: str, cli: Cli) -> None:
    assert cli("keys", "rotate", "--key-file", key_file).status == 0
    assert cli("keys", "revoke", "4", "--key-file", key_file, "--yes").status == 0
    assert states(key_file) == {3: "active", 4: "revoked"}
    assert cli("keys", "rotate", "--key-file", key_file).status == 0
    assert states(key_file)[5] == "accept", "the revoked one's id rests"


def test_a_revocation_is_asked_about_and_refused_where_nobody_is(key_file: str, cli: Cli) -> None:
    cli("keys", "rotate", "--key-file", key_file)
    done = cli("keys", "revoke", "4", "--key-file", key_file)
    assert (done.status, done.out) == (2, "")
    assert states(key_file)[4] == "accept"


def test_the_list_shows_on_request_which_live_servers_hold_a_key(relay: RelayProcess, key_file: str, cli: Cli) -> None:
    args = ("keys", "list", "--key-file", key_file, "-A", str(relay.admin))
    cli("keys", "rotate", "--key-file", key_file)
    done = cli(*args)
    header, *lines = done.out.splitlines()
    assert header.split()[-1] == "SERVERS"
    assert [line.split()[-3:] for line in lines] == [["1", "of", "1"], ["0", "of", "1"]]
    rows = json.loads(cli(*args, "--json").out)
    assert [row["servers"] for row in rows] == [[f"relay ({relay.admin})"], []]


def test_servers_of_other_hosts_are_known_by_their_heartbeats(tmp_path: Path, key_file: str, cli: Cli) -> None:
    args = ("--key-file", key_file, "--json")
    with running("valkey") as redis, pytest.MonkeyPatch.context() as patch:
        patch.setenv("RTCRELAY_REDIS", redis.url)
        with RelayProcess(tmp_path, key_file, "--redis", redis.url) as relay:
            name = "relay " + relay.ask("/v1/stats")[1]["listeners"][0]["internal"] + " (heartbeat)"
            while not (found := json.loads(cli("keys", "list", "--live", *args).out)[0]["servers"]):
                pass
            assert found == [name]
            assert cli("keys", "rotate", *args).status == 0
            done = cli("keys", "rotate", *args)
            assert done.status == 1
            assert f"{name} does not have key 4" in done.err
            rows = json.loads(cli("keys", "list", "-A", str(relay.admin), *args).out)
            assert rows[0]["servers"] == [f"relay ({relay.admin})"], "the same process is one server"
        patch.setenv("RTCRELAY_REDIS", "redis://127.0.0.1:1")
        done = cli("keys", "rotate", *args)
        assert done.status == 1
        assert "whoever shows in Redis that it lives cannot say: redis://127.0.0.1:1 does not serve" in done.err


def test_no_command_shows_a_secret(relay: RelayProcess, key_file: str, cli: Cli) -> None:
    args = ("--key-file", key_file, "-A", str(relay.admin))
    shown = ""
    for command in (
        ("rotate", "--reload"),
        ("rotate",),
        ("list", "--live"),
        ("list", "--json"),
        ("revoke", "3", "--dry-run", "--json", "--force"),
        ("revoke", "3", "--yes", "--force"),
    ):
        done = cli("keys", *command, *args)
        assert done.status == 0
        shown += done.out + done.err
    for key in keys.load_key_file(Path(key_file)).keys:
        assert key.secret.hex() not in shown
