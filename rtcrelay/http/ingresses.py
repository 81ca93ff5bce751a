"""Which ingresses is the client told? Signaling in front writes them into a header, the transceiver reads it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from rtcrelay.config.text import Address, address, format_address

INGRESS_HEADER: Final = "X-Rtcrelay-Ingress"
"""Addresses of ingresses, the best first, separated by commas. A transceiver tells only those that it is configured
with, so a client who writes the header itself gets nothing that it could not have had."""
MOST_INGRESSES: Final = 8
"""Chosen: every candidate costs a client checks, and two or three serve it."""
_MAX_CHARACTERS: Final = 512


def write_ingresses(ingresses: Iterable[Address]) -> str:
    """The header's value."""
    return ", ".join(format_address(ingress) for ingress in ingresses)


def read_ingresses(value: str) -> tuple[Address, ...]:
    """The addresses in a header's value, each once; what is none is left out."""
    parse = address(concrete=True)
    found: dict[Address, None] = {}
    for word in value[:_MAX_CHARACTERS].split(",")[:MOST_INGRESSES]:
        try:
            found[parse(word.strip())] = None
        except ValueError:
            continue
    return tuple(found)
