"""The published vectors of the routing ufrag: an independent AES and base32 made them, and the crate agrees."""

from __future__ import annotations

import base64
import importlib.util
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from rtcrelay._dataplane import KeyRing, Route, UfragError, mint_ufrag, open_ufrag

FILE = Path(__file__).parents[1] / "vectors" / "ufrag.json"
VECTORS: dict[str, Any] = json.loads(FILE.read_text())
SECRETS = {key["id"]: bytes.fromhex(key["secret"]) for key in VECTORS["keys"]}
RING = KeyRing([(key["id"], bytes.fromhex(key["secret"]), key["state"]) for key in VECTORS["keys"]])
KIND_NUMBERS = {"endpoint": 0, "node": 1, "session": 4, "probe_endpoint": 8, "probe_node": 9}

valid = pytest.mark.parametrize("vector", VECTORS["valid"], ids=lambda vector: vector["name"])
invalid = pytest.mark.parametrize("vector", VECTORS["invalid"], ids=lambda vector: vector["name"])


def generator() -> ModuleType:
    """The script that made the file."""
    spec = importlib.util.spec_from_file_location("make_ufrag", FILE.with_name("make_ufrag.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def decrypt(ufrag: str, secret: bytes) -> bytes:
    """The block of a ufrag, by the standard library's base32 and cryptography's AES."""
    sealed = base64.b32decode(ufrag[1:].upper() + "======")
    decryptor = Cipher(algorithms.AES128(secret), modes.ECB()).decryptor()
    return decryptor.update(sealed) + decryptor.finalize()


def test_the_file_is_what_the_generator_makes() -> None:
    assert FILE.read_text() == generator().render()


def test_there_are_vectors_for_every_kind_every_accepted_key_and_every_reason() -> None:
    assert len(VECTORS["valid"]) + len(VECTORS["invalid"]) >= 20
    assert {vector["kind"] for vector in VECTORS["valid"]} == set(KIND_NUMBERS)
    accepted = {key["id"] for key in VECTORS["keys"] if key["state"] != "revoked"}
    assert {vector["key_id"] for vector in VECTORS["valid"]} == accepted
    reasons = (
        "length alphabet version spare_bits unknown_key revoked_key check reserved kind port"  # as the README lists
    )
    assert {vector["reason"] for vector in VECTORS["invalid"]} == set(reasons.split())


@valid
def test_an_independent_aes_reads_every_field_of_a_valid_ufrag(vector: dict[str, Any]) -> None:
    block = decrypt(vector["ufrag"], SECRETS[vector["key_id"]])
    assert block.hex() == vector["plaintext"]
    assert block[0] == KIND_NUMBERS[vector["kind"]] << 4
    assert int.from_bytes(block[1:3], "big") == vector["cluster"]
    if vector["node"] is None:
        assert ".".join(map(str, block[3:7])) == vector["ip"]
    else:
        assert int.from_bytes(block[3:7], "big") == vector["node"]
    assert int.from_bytes(block[7:9], "big") == vector["port"]
    assert int.from_bytes(block[9:12], "big") == vector["nonce"]
    assert block[12:] == bytes(4)


@valid
def test_rtcrelay_opens_a_valid_ufrag_and_mints_it_again(vector: dict[str, Any]) -> None:
    route = Route(
        vector["kind"],
        vector["cluster"],
        ip=vector["ip"],
        node=vector["node"],
        port=vector["port"],
        nonce=vector["nonce"],
        key_id=vector["key_id"],
    )
    assert open_ufrag(RING, vector["ufrag"]) == route
    assert open_ufrag(RING, vector["ufrag"].encode()) == route
    assert mint_ufrag(RING, route) == vector["ufrag"]


@invalid
def test_rtcrelay_refuses_an_invalid_ufrag_for_the_reason_given(vector: dict[str, Any]) -> None:
    with pytest.raises(UfragError) as caught:
        open_ufrag(RING, vector["ufrag"])
    assert caught.value.args[0] == vector["reason"]
    with pytest.raises(UfragError) as caught:
        open_ufrag(RING, vector["ufrag"].encode())
    assert caught.value.args[0] == vector["reason"]


@pytest.mark.parametrize(
    "vector", [v for v in VECTORS["invalid"] if "plaintext" in v], ids=lambda vector: vector["name"]
)
def test_an_independent_aes_finds_the_fault_of_a_forged_ufrag(vector: dict[str, Any]) -> None:
    key_id = "abcdefgh".index(vector["ufrag"][0])
    assert decrypt(vector["ufrag"], SECRETS[key_id]).hex() == vector["plaintext"]
