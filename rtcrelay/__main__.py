"""``python -m rtcrelay`` and the ``rtcrelay`` script."""

from __future__ import annotations

import sys


def main(args: list[str] | None = None) -> int:
    """Runs one command line (``sys.argv`` without the program by default) and returns its exit status."""
    from rtcrelay.cli.app import run

    return run(sys.argv[1:] if args is None else args)


if __name__ == "__main__":
    sys.exit(main())
