"""How do the expositions of several processes become one? Each family once, with the series of all of them.

Prometheus wants the lines of a family together (exposition formats 0.0.4 and OpenMetrics 1.0). The series must already
differ by a label.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

_HELP: Final = "# HELP "
_END: Final = "# EOF\n"
"""How OpenMetrics ends."""


def merge_expositions(texts: Iterable[str]) -> str:
    """One exposition; all texts must be of the same format, as `prometheus_client` writes them."""
    families: dict[str, tuple[list[str], list[str]]] = {}
    end = ""
    for text in texts:
        if text.endswith(_END):
            text, end = text.removesuffix(_END), _END
        for part in ("\n" + text).split("\n" + _HELP)[1:]:
            lines = [line for line in f"{_HELP}{part}".split("\n") if line]
            head = [line for line in lines if line.startswith("# ")]
            series = [line for line in lines if not line.startswith("# ")]
            families.setdefault(head[0].split(" ", 3)[2], (head, []))[1].extend(series)
    return "".join(f"{line}\n" for head, series in families.values() for line in (*head, *series)) + end
