"""``python -m rtcrelay`` and the ``rtcrelay`` script."""

from __future__ import annotations

import os
import signal
import sys


def main(args: list[str] | None = None) -> int:
    """Runs one command line (``sys.argv`` without the program by default) and returns its exit status."""
    if args is None and sys.argv[1:2] == ["serve"]:
        # A service that is told to end while it still imports has nothing to clean up, and ends as cleanly as later.
        for signum in (signal.SIGINT, signal.SIGTERM):
            signal.signal(signum, lambda *_: os._exit(0))
    from rtcrelay.cli.app import run

    return run(sys.argv[1:] if args is None else args)


if __name__ == "__main__":
    sys.exit(main())
