"""A call through relays at fixed addresses, between sockets of the test's own."""

from __future__ import annotations

import socket
from pathlib import Path

from rtcrelay import keys
from rtcrelay._dataplane import SPP_HEADER, Route, mint_ufrag
from rtcrelay.client.demo.processes import free_ports

from .relay_process import RelayProcess, binding_request

RTP = b"\x80\x6f" + bytes(50)
SUCCESS = bytes.fromhex("010100002112a442") + bytes(12)


class EstablishedCall:
    """A client, the transceiver at the other end, and where relays between them are."""

    def __init__(self, directory: Path, key_file: str) -> None:
        self.directory, self.key_file = directory, key_file
        self.client = socket.socket(type=socket.SOCK_DGRAM)
        self.transceiver = socket.socket(type=socket.SOCK_DGRAM)
        for sock in (self.client, self.transceiver):
            sock.bind(("127.0.0.1", 0))
            sock.settimeout(5)
        self.public, self.internal = free_ports(2)

    def relay(self, notify: str, *args: str, internal: int | None = None, key_file: str | None = None) -> RelayProcess:
        """One between them; ``notify`` is a name for its notices."""
        transceiver = f"127.0.0.1:{self.transceiver.getsockname()[1]}"
        addresses = ("-l", f"127.0.0.1:{self.public}", "--internal", f"127.0.0.1:{internal or self.internal}")
        options = (*addresses, "--transceivers", transceiver, "--log-format", "json", *args)
        return RelayProcess(self.directory, key_file or self.key_file, *options, notify=notify)

    def establish(self) -> None:
        """A routed check, its answer, and media back: a strong claim."""
        ip, port = self.transceiver.getsockname()
        ring = keys.load_key_file(Path(self.key_file)).ring
        ufrag = mint_ufrag(ring, Route("endpoint", 0, ip=ip, port=port, nonce=1, key_id=3))
        self.client.sendto(binding_request(f"{ufrag}:abcd"), ("127.0.0.1", self.public))
        header = self.transceiver.recv(2048)[:SPP_HEADER]
        for payload in (SUCCESS, RTP):
            self.transceiver.sendto(header + payload, ("127.0.0.1", self.internal))
            assert self.client.recv(2048) == payload

    def close(self) -> None:
        """Ends the client and the transceiver."""
        self.client.close()
        self.transceiver.close()
