"""``rtcrelay flows``: the paths of running relays. Importing the commands adds them to the group."""

from __future__ import annotations

from rtcrelay.cli import flow_kill, flow_list, flow_top, flow_watch
from rtcrelay.cli.flow_options import app

__all__ = ["app", "flow_kill", "flow_list", "flow_top", "flow_watch"]
