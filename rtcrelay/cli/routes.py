"""``rtcrelay routes``: the route cache. Importing the commands adds them to the group."""

from __future__ import annotations

from rtcrelay.cli import route_change, route_list, route_stats, route_watch
from rtcrelay.cli.route_options import app

__all__ = ["app", "route_change", "route_list", "route_stats", "route_watch"]
