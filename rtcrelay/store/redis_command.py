"""What a command to Redis is made of."""

from __future__ import annotations

from typing import TypeAlias

Command: TypeAlias = tuple[str | bytes | int | float, ...]
"""A command of Redis and its arguments."""
