"""The commands of a README, in their order: what tests run instead of a copy of them."""

from __future__ import annotations

import re
from pathlib import Path

_BLOCK = re.compile(r"^```sh\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(readme: Path) -> list[str]:
    """Each fenced block of shell commands."""
    return _BLOCK.findall(readme.read_text())


def block(readme: Path, containing: str) -> str:
    """The one block that contains a text."""
    (found,) = [commands for commands in blocks(readme) if containing in commands]
    return found
