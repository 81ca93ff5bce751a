"""How long does ``rtcrelay flows list --json`` take for 100,000 flows of a real relay?

``python tests/cli/bench_flows.py [FLOWS]`` prints seconds; nothing here is a test.
"""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from cli.relay_process import RelayProcess
from rtcrelay import keys
from rtcrelay._dataplane import SppHeader, pack_spp


def fill(relay: RelayProcess, transceiver: socket.socket, flows: int) -> None:
    """Has a transceiver announce so many sessions."""
    host, _, port = relay.ask("/v1/stats")[1]["listeners"][0]["internal"].rpartition(":")
    proxy = (host, int(port))
    for number in range(flows):
        client = (f"198.51.{number // 50_000}.1", 10_000 + number % 50_000)
        transceiver.sendto(pack_spp(SppHeader(client, proxy)), proxy)
        if number % 500 == 0:
            time.sleep(0.002)


def main() -> None:
    """Prints the table."""
    flows = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    with tempfile.TemporaryDirectory() as directory, socket.socket(type=socket.SOCK_DGRAM) as transceiver:
        path = Path(directory, "keys.toml")
        keys.write_key_file(path, keys.generate())
        transceiver.bind(("127.0.0.1", 0))
        allowed = f"127.0.0.1:{transceiver.getsockname()[1]}"
        with RelayProcess(Path(directory), str(path), "--transceivers", allowed, "--idle-timeout", "1h") as relay:
            fill(relay, transceiver, flows)
            for args in (["--json"], ["-o", "jsonl"], ["--json", "--src", "198.51.0.0/16"], ["-o", "plain"]):
                begun = time.perf_counter()
                command = [sys.executable, "-m", "rtcrelay", "flows", "list", "-A", str(relay.admin), *args]
                out = subprocess.run(command, check=True, capture_output=True).stdout
                taken = time.perf_counter() - begun
                count = len(json.loads(out)) if "--json" in args else out.count(b"\n")
                print(f"flows list {' '.join(args):32}{count:>8} flows{taken:7.2f} s")


if __name__ == "__main__":
    main()
