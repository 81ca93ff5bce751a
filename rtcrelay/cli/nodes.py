"""``rtcrelay nodes``: the relays and transceivers of a site by their heartbeats. Importing adds the commands."""

from __future__ import annotations

from rtcrelay.cli import node_list, node_orders
from rtcrelay.cli.node_options import app

__all__ = ["app", "node_list", "node_orders"]
