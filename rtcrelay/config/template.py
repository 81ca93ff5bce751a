"""A configuration file to begin with: every setting, explained, commented out, with its default."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence

from rtcrelay.config.options import PROGRAMS, Setting
from rtcrelay.config.show import toml_word

_WIDTH = 110


def config_template(programs: Sequence[str]) -> str:
    """The text of a file for some services."""
    lines = [
        "# Configuration of rtcrelay. Options and RTCRELAY_… variables come before what is written here.",
        f"# What stands here is the default. Check the file with: rtcrelay config check {' '.join(programs)}",
    ]
    shared = {s.name: s for program in programs for s in PROGRAMS[program] if s.shared}
    for setting in shared.values():
        if not setting.table:
            lines += _setting(setting)
    for program in programs:
        lines += ["", "", f"[{program}]"]
        for setting in PROGRAMS[program]:
            if not setting.shared:
                lines += _setting(setting)
    if "clusters" in shared:
        lines += [
            "",
            "",
            *_comment(shared["clusters"].help),
            "# [clusters]",
            '# 7 = ["10.7.0.1:3479", "10.7.0.2:3479"]',
        ]
    if "nodes" in shared:
        lines += ["", "", *_comment(shared["nodes"].help), "# [nodes]", '# 17 = "[fd00::7]:7000"']
    return "\n".join(lines) + "\n"


def _setting(setting: Setting) -> Iterator[str]:
    yield ""
    yield from _comment(setting.help)
    if setting.default is not None:
        words = setting.default.split() if setting.many else [setting.default]
        value = f"[{', '.join(map(toml_word, words))}]" if setting.many else toml_word(words[0])
        yield f"# {setting.name} = {value}"
    else:
        default = f" (default: {setting.default_help})" if setting.default_help else ""
        yield f"# {setting.name} ={' []' if setting.many else ''}{default}"


def _comment(text: str) -> list[str]:
    return [f"# {line}" for line in textwrap.wrap(text, _WIDTH, break_on_hyphens=False, break_long_words=False)]
