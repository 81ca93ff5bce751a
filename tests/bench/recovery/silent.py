"""A transceiver that never announces its sessions, as other servers are: ``python -m tests.bench.recovery.silent``.

Takes the arguments of ``rtcrelay``. A call whose client alone speaks then waits for that client's next check, unless
somebody remembers its route.
"""

from __future__ import annotations

import sys

from rtcrelay.__main__ import main
from rtcrelay.transceiver import link

link.ANNOUNCE_SECONDS = 1e9  # type: ignore[misc]  # a constant to everybody else

if __name__ == "__main__":
    sys.exit(main())
