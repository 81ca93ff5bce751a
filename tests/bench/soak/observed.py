"""``python -m tests.bench.soak.observed serve …``: a service as it is, and a thread that counts what it keeps.

From outside only memory, descriptors and threads can be seen. The thread writes one JSON line every few seconds to
the file ``PID.jsonl`` in the directory that an environment variable names.
"""

from __future__ import annotations

import asyncio
import ctypes
import gc
import json
import os
import sys
import threading
import time
from collections import Counter
from pathlib import Path

from rtcrelay.__main__ import main

VARIABLE = "SOAK_DIRECTORY"
OBSERVE_SECONDS = 5.0
IDLE = "idle"
"""A file of this name beside the others says that nobody is there. Then the garbage is collected before each look: what
libraries leave in circles would be there or not by chance, as a process without work collects nothing."""
MOST_COMMON = 150
"""Types of objects that are written, so that a leak can be named."""


class _Mallinfo(ctypes.Structure):
    """mallinfo2(3), of all arenas: what C libraries (OpenSSL, libsrtp), Rust and Python have allocated."""

    _fields_ = [(name, ctypes.c_size_t) for name in (
        "arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks", "uordblks", "fordblks", "keepcost",
    )]  # fmt: skip


def _allocated_bytes() -> int:
    """In use, whatever the kernel counts: freed memory that the allocator keeps is not in it."""
    mallinfo2 = ctypes.CDLL(None).mallinfo2
    mallinfo2.restype = _Mallinfo
    info = mallinfo2()
    return int(info.uordblks + info.hblkhd)


def observe() -> dict[str, object]:
    """What this process keeps now."""
    kinds = Counter(map(type, gc.get_objects()))
    named: Counter[str] = Counter()
    for kind, count in kinds.items():
        named[f"{kind.__module__}.{kind.__qualname__}"] += count
    return {
        "at": time.monotonic(),
        "tasks": sum(count for kind, count in kinds.items() if issubclass(kind, asyncio.Task)),
        "objects": sum(kinds.values()),
        "blocks": sys.getallocatedblocks(),
        "allocated_bytes": _allocated_bytes(),
        "types": dict(named.most_common(MOST_COMMON)),
    }


def _observe_for_ever(path: Path) -> None:
    with path.open("a", buffering=1) as file:  # kept open, or it would be one descriptor more at times
        while True:
            time.sleep(OBSERVE_SECONDS)
            if path.with_name(IDLE).exists():
                gc.collect()
            file.write(json.dumps(observe()) + "\n")


if __name__ == "__main__":
    file = Path(os.environ[VARIABLE]) / f"{os.getpid()}.jsonl"
    threading.Thread(target=_observe_for_ever, args=(file,), daemon=True).start()
    sys.exit(main())
