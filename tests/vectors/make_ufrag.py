"""Makes ufrag.json: the routing ufrag's test vectors, by another AES and another base32 than rtcrelay's own.

``python tests/vectors/make_ufrag.py`` writes the file. Nothing here is random, and nothing imports rtcrelay.
"""

from __future__ import annotations

import base64
import ipaddress
import json
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

FILE = Path(__file__).with_name("ufrag.json")
ALPHABET = "abcdefghijklmnopqrstuvwxyz234567"
KINDS = {"endpoint": 0, "node": 1, "session": 4, "probe_endpoint": 8, "probe_node": 9}

KEYS = [
    {"id": 0, "secret": "000102030405060708090a0b0c0d0e0f", "state": "active"},
    {"id": 3, "secret": "00112233445566778899aabbccddeeff", "state": "accept"},
    {"id": 5, "secret": "deadbeefdeadbeefdeadbeefdeadbeef", "state": "revoked"},
    {"id": 7, "secret": "ffffffffffffffffffffffffffffffff", "state": "accept"},
]

# name, key id, kind, cluster, ip or node, port, nonce
VALID: list[tuple[str, int, str, int, str | int, int, int]] = [
    ("an endpoint", 0, "endpoint", 7, "10.0.3.7", 7000, 0x123456),
    ("the same endpoint and nonce under another key", 3, "endpoint", 7, "10.0.3.7", 7000, 0x123456),
    ("the same under the highest key id", 7, "endpoint", 7, "10.0.3.7", 7000, 0x123456),
    ("one bit of the nonce changes every character", 0, "endpoint", 7, "10.0.3.7", 7000, 0x123457),
    ("lowest values of an endpoint", 0, "endpoint", 0, "0.0.0.0", 1, 0),
    ("highest values of an endpoint", 7, "endpoint", 65535, "255.255.255.255", 65535, 0xFFFFFF),
    ("loopback", 0, "endpoint", 0, "127.0.0.1", 7000, 0x000001),
    ("highest cluster alone", 0, "endpoint", 65535, "192.168.1.20", 7000, 0x0A0B0C),
    ("a node", 0, "node", 7, 17, 0, 0xABCDEF),
    ("lowest values of a node", 3, "node", 0, 0, 0, 0),
    ("highest values of a node", 3, "node", 65535, 4294967295, 0, 0xFFFFFF),
    ("a session's HTTP owner", 0, "session", 7, "10.0.3.7", 8080, 0x777777),
    ("highest values of a session", 7, "session", 65535, "255.255.255.255", 65535, 0xFFFFFF),
    ("a probe to an endpoint", 0, "probe_endpoint", 7, "10.0.3.7", 7000, 0x123456),
    ("a probe to a node", 3, "probe_node", 7, 17, 0, 0x123456),
    ("highest values of a probe to a node", 7, "probe_node", 65535, 4294967295, 0, 0xFFFFFF),
]

# name, key id, kind number, reserved, cluster, endpoint, port, nonce, check, reason
FORGED: list[tuple[str, int, int, int, int, int, int, int, int, str]] = [
    ("lowest bit of the check is one", 0, 0, 0, 7, 0x0A000307, 7000, 0x123456, 1, "check"),
    ("highest bit of the check is one", 0, 0, 0, 7, 0x0A000307, 7000, 0x123456, 0x80000000, "check"),
    ("all bits of the check are one", 3, 1, 0, 7, 17, 0, 0x123456, 0xFFFFFFFF, "check"),
    ("lowest reserved bit is one", 0, 0, 1, 7, 0x0A000307, 7000, 0x123456, 0, "reserved"),
    ("highest reserved bit is one", 0, 0, 8, 7, 0x0A000307, 7000, 0x123456, 0, "reserved"),
    ("kind 2 is not assigned", 0, 2, 0, 7, 0x0A000307, 7000, 0x123456, 0, "kind"),
    ("kind 5 is not assigned", 0, 5, 0, 7, 0x0A000307, 7000, 0x123456, 0, "kind"),
    ("kind 15 is not assigned", 0, 15, 0, 7, 0x0A000307, 7000, 0x123456, 0, "kind"),
    ("an endpoint without a port", 0, 0, 0, 7, 0x0A000307, 0, 0x123456, 0, "port"),
    ("a session without a port", 0, 4, 0, 7, 0x0A000307, 0, 0x123456, 0, "port"),
    ("a node with a port", 0, 1, 0, 7, 17, 7000, 0x123456, 0, "port"),
    ("a probe to a node with a port", 0, 9, 0, 7, 17, 1, 0x123456, 0, "port"),
    ("a revoked key", 5, 0, 0, 7, 0x0A000307, 7000, 0x123456, 0, "revoked_key"),
]


def block_of(kind: int, reserved: int, cluster: int, endpoint: int, port: int, nonce: int, check: int) -> bytes:
    """The 16 bytes before encryption."""
    fields = ((kind, 1), (reserved, 1), (cluster, 4), (endpoint, 8), (port, 4), (nonce, 6), (check, 8))
    return bytes.fromhex("".join(f"{value:0{digits}x}" for value, digits in fields))


def spell(key_id: int, secret: bytes, block: bytes) -> str:
    """Encrypts a block and writes the 27 characters; version 0."""
    encryptor = Cipher(algorithms.AES128(secret), modes.ECB()).encryptor()
    sealed = encryptor.update(block) + encryptor.finalize()
    return ALPHABET[key_id] + base64.b32encode(sealed).decode().lower().rstrip("=")


def vectors() -> dict[str, Any]:
    """The content of ufrag.json."""
    secrets = {key["id"]: bytes.fromhex(str(key["secret"])) for key in KEYS}
    valid, invalid = [], []
    for name, key_id, kind, cluster, where, port, nonce in VALID:
        endpoint = int(ipaddress.IPv4Address(where))
        block = block_of(KINDS[kind], 0, cluster, endpoint, port, nonce, 0)
        valid.append(
            {
                "name": name,
                "ufrag": spell(key_id, secrets[key_id], block),
                "key_id": key_id,
                "kind": kind,
                "cluster": cluster,
                "ip": where if isinstance(where, str) else None,
                "node": where if isinstance(where, int) else None,
                "port": port,
                "nonce": nonce,
                "plaintext": block.hex(),
            }
        )
    for name, key_id, number, reserved, cluster, endpoint, port, nonce, check, reason in FORGED:
        block = block_of(number, reserved, cluster, endpoint, port, nonce, check)
        ufrag = spell(key_id, secrets[key_id], block)
        invalid.append({"name": name, "ufrag": ufrag, "reason": reason, "plaintext": block.hex()})
    invalid += [{"name": name, "ufrag": ufrag, "reason": reason} for name, ufrag, reason in _misspelt(valid)]
    return {"version": 0, "keys": KEYS, "valid": valid, "invalid": invalid}


def _misspelt(valid: list[dict[str, Any]]) -> list[tuple[str, str, str]]:
    good = str(valid[0]["ufrag"])
    last = ALPHABET.index(good[-1])
    wrong_secret = spell(0, bytes(16), block_of(0, 0, 7, 0x0A000307, 7000, 0x123456, 0))
    return [
        ("empty", "", "length"),
        ("one character less", good[:-1], "length"),
        ("one character more", good + "a", "length"),
        ("a browser's own ufrag", "F7gI", "length"),
        ("upper case", good.upper(), "alphabet"),
        ("a digit that base32 does not have", good[:5] + "0" + good[6:], "alphabet"),
        ("an ice-char that base32 does not have", good[:5] + "+" + good[6:], "alphabet"),
        ("padding", good[:-1] + "=", "alphabet"),
        ("two bytes of UTF-8 in place of two characters", good[:-2] + "é", "alphabet"),
        ("version 1", ALPHABET[0b01000] + good[1:], "version"),
        ("version 3", ALPHABET[0b11000] + good[1:], "version"),
        ("lower spare bit is one", good[:-1] + ALPHABET[last | 1], "spare_bits"),
        ("upper spare bit is one", good[:-1] + ALPHABET[last | 2], "spare_bits"),
        ("a key id that the ring does not have", ALPHABET[1] + good[1:], "unknown_key"),
        ("another key's id", ALPHABET[3] + good[1:], "check"),
        ("the right key id and another secret", wrong_secret, "check"),
        ("a changed character in the middle", good[:13] + ("a" if good[13] != "a" else "b") + good[14:], "check"),
    ]


def render() -> str:
    """The bytes of ufrag.json as text."""
    return json.dumps(vectors(), indent=2, ensure_ascii=True) + "\n"


if __name__ == "__main__":
    FILE.write_text(render())
