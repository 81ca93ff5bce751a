"""``rtcrelay ufrag``: what it prints, and its statuses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from rtcrelay import keys
from rtcrelay._dataplane import Route, open_ufrag

from .conftest import Cli

VECTORS: dict[str, Any] = json.loads((Path(__file__).parents[1] / "vectors" / "ufrag.json").read_text())


@pytest.fixture
def vector_keys(tmp_path: Path) -> str:
    """The key file of the published vectors."""
    path = tmp_path / "vectors.toml"
    entries = (f'[[keys]]\nid = {k["id"]}\nsecret = "{k["secret"]}"\nstate = "{k["state"]}"\n' for k in VECTORS["keys"])
    keys.write_key_file(path, "".join(entries))
    return str(path)


def test_encode_prints_the_ufrag_only(cli: Cli, key_file: str) -> None:
    done = cli("ufrag", "encode", "--cluster", "7", "--endpoint", "10.0.3.7:7000", "--key-file", key_file)
    assert (done.status, done.err) == (0, "")
    route = open_ufrag(keys.load_key_file(Path(key_file)).ring, done.out.rstrip("\n"))
    assert route == Route("endpoint", 7, ip="10.0.3.7", port=7000, nonce=route.nonce, key_id=3)


@pytest.mark.parametrize("vector", VECTORS["valid"], ids=lambda vector: vector["name"])
def test_encode_and_decode_agree_with_the_published_vectors(cli: Cli, vector_keys: str, vector: dict[str, Any]) -> None:
    place = vector["node"] if vector["ip"] is None else f"{vector['ip']}:{vector['port']}"
    kind = vector["kind"].removeprefix("probe_")
    args = ["--key-file", vector_keys, "--key-id", str(vector["key_id"]), "--cluster", str(vector["cluster"])]
    probe = ["--probe"] if vector["kind"].startswith("probe") else []
    if vector["ip"] != "0.0.0.0":  # legal in the format, refused by the command line
        made = cli("ufrag", "encode", f"--{kind}", str(place), "--nonce", f"{vector['nonce']:06x}", *probe, *args)
        assert (made.status, made.out) == (0, vector["ufrag"] + "\n")
    read = json.loads(cli("ufrag", "decode", vector["ufrag"], "--key-file", vector_keys, "--json").out)[0]
    assert read["verdict"] == "ok"
    assert read["route"] == vector["kind"]
    assert (read["cluster"], read["key_id"], read["node"]) == (vector["cluster"], vector["key_id"], vector["node"])
    assert read["endpoint"] == (None if vector["ip"] is None else place)
    assert read["nonce"] == f"{vector['nonce']:06x}"


@pytest.mark.parametrize("vector", VECTORS["invalid"], ids=lambda vector: vector["name"])
def test_decode_tells_foreign_from_forged_by_its_status(cli: Cli, vector_keys: str, vector: dict[str, Any]) -> None:
    # An empty argument and one with a colon are words of the command line, not ufrags.
    done = cli("ufrag", "decode", vector["ufrag"], "--key-file", vector_keys, "-o", "jsonl")
    foreign = vector["reason"] in ("length", "alphabet", "version", "spare_bits")
    assert done.status == (65 if foreign else 1)
    assert json.loads(done.out)["verdict"] == vector["reason"]
    assert done.err.startswith(f"rtcrelay: error: {vector['ufrag']!r}: ")


def test_count_makes_as_many_different_ufrags(cli: Cli, key_file: str) -> None:
    done = cli("ufrag", "encode", "--node", "17", "--count", "50", "--key-file", key_file)
    assert len(set(done.out.split())) == 50


def test_decode_takes_the_server_half_of_a_username(cli: Cli, key_file: str) -> None:
    ufrag = cli("ufrag", "encode", "--node", "17", "--key-file", key_file).out.strip()
    done = cli("ufrag", "decode", f"{ufrag}:F7gI", "--key-file", key_file)
    assert done.status == 0
    assert done.out.splitlines() == [
        "FIELD    VALUE",
        f"ufrag    {ufrag}",
        "verdict  ok",
        "version  0",
        "key      3",
        "route    node",
        "cluster  0",
        "target   17",
        f"nonce    {done.out.split()[-1]}",
    ]


def test_decode_reads_lines_and_keeps_going_after_a_bad_one(process: Cli, key_file: str) -> None:
    ufrag = process("ufrag", "encode", "--node", "17", "--key-file", key_file).out.strip()
    for args in ((), ("-",)):
        done = process(
            "ufrag", "decode", *args, "-o", "jsonl", stdin=f"{ufrag}:a\n\n  {ufrag}\nx\n", RTCRELAY_KEY_FILE=key_file
        )
        assert [json.loads(line)["verdict"] for line in done.out.splitlines()] == ["ok", "ok", "length"]
        assert done.status == 65
        assert done.err == "rtcrelay: error: 'x': a routing ufrag has 27 characters\n"


def test_decode_of_an_endless_line_takes_bounded_memory(process: Cli, key_file: str) -> None:
    done = process("ufrag", "decode", "--json", "--key-file", key_file, stdin="a" * 3_000_000 + "\nb\n")
    rows = json.loads(done.out)
    assert [row["verdict"] for row in rows] == ["length", "length"]
    assert rows[0]["ufrag"] == "a" * 64


def test_rows_can_be_sorted_limited_and_printed_without_header(cli: Cli, key_file: str) -> None:
    made = [cli("ufrag", "encode", "--node", str(n), "--key-file", key_file).out.strip() for n in (5, 17, 9)]
    done = cli("ufrag", "decode", *made, "--key-file", key_file, "--sort-by", "-node", "-n", "2", "-H")
    assert [line.split()[4] for line in done.out.splitlines()] == ["17", "9"]
    assert done.err == "2 of 3 rows shown\n"


def test_a_row_in_a_pipe_is_never_cut(process: Cli, key_file: str) -> None:
    done = process(
        "ufrag", "encode", "--endpoint", "255.255.255.255:65535", "--key-file", key_file, "-o", "table", COLUMNS="80"
    )
    assert "255.255.255.255:65535" in done.out
    assert "…" not in done.out
    assert max(map(len, done.out.splitlines())) <= 80


@pytest.mark.parametrize(
    ("args", "status", "message"),
    [
        ("encode", 2, "expected exactly one of --endpoint, --node and --session"),
        ("encode --node 1 --endpoint 10.0.0.1:1", 2, "expected exactly one of --endpoint, --node and --session"),
        ("encode --session 10.0.0.1:1 --probe", 2, "--probe goes with --endpoint or --node, not with --session"),
        ("encode --node -1", 2, "--node: '-1' is not a whole number from 0 to 4294967295"),
        ("encode --endpoint 10.0.0.1", 2, "--endpoint: '10.0.0.1' has no port, expected IP:PORT or [IP6]:PORT"),
        ("encode --endpoint 10.0.0.1:0", 2, "--endpoint: '10.0.0.1:0' has port 0, expected 1 to 65535"),
        ("encode --endpoint [::1]:1", 2, "--endpoint: '[::1]:1' is IPv6, which does not fit into a ufrag"),
        ("encode --node 1 --nonce 12345", 2, "--nonce: '12345' is not 6 hexadecimal digits"),
        ("encode --node 1 --nonce 123456 --count 2", 2, "--nonce and --count exclude each other: a nonce is used once"),
        ("encode --node 1 --cluster 65536", 78, "--cluster: '65536' is not a whole number from 0 to 65535"),
        ("encode --node 1 --key-id 5", 2, "--key-id: the key ring has no key with the id it names"),
        ("encode --node 1 -o yaml", 2, "-o: 'yaml' is not one of table, plain, json, jsonl"),
        ("encode --node 1 -o plain --json", 2, "--json and -o plain exclude each other"),
        ("encode --node 1 -o json --sort-by colour", 2, "--sort-by: no field 'colour', expected one of kind, v, ufrag"),
    ],
)
def test_what_cannot_be_is_one_line(cli: Cli, key_file: str, args: str, status: int, message: str) -> None:
    done = cli("ufrag", *args.split(), "--key-file", key_file)
    assert (done.status, done.out) == (status, "")
    assert done.err.startswith(f"rtcrelay: error: {message}")


def test_without_a_key_file_the_status_says_configuration(cli: Cli) -> None:
    done = cli("ufrag", "decode", "x")
    assert done.status == 78
    assert done.err == (
        "rtcrelay: error: no key file is configured\n"
        "hint: make one with 'rtcrelay keys generate -o keys.toml', then name it: --key-file keys.toml\n"
    )


def test_minting_needs_an_active_key(cli: Cli, tmp_path: Path) -> None:
    path = tmp_path / "accept.toml"
    keys.write_key_file(path, keys.generate(3).replace("active", "accept"))
    done = cli("ufrag", "encode", "--node", "1", "--key-file", str(path))
    assert (done.status, done.out) == (78, "")
    assert done.err == (
        f"rtcrelay: error: key file {path} has no active key, so no ufrag can be minted\n"
        'hint: one key needs state = "active"\n'
    )
    assert cli("serve", "transceiver", "--check", "--key-file", str(path)).status == 78
    assert cli("serve", "relay", "--check", "--key-file", str(path)).status == 0, "a relay only reads"
    assert cli("ufrag", "encode", "--node", "1", "--key-file", str(path), "--key-id", "3").status == 0
