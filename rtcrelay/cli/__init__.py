"""The command line: parse, call, render. No logic lives here, and only the group that is named gets imported."""
