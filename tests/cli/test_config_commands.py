"""``rtcrelay config``: origins, everything that is wrong at once, a file to begin with, and its schema."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from rtcrelay.config.options import PROGRAMS
from rtcrelay.config.schema import config_schema
from rtcrelay.config.template import config_template

from .conftest import Cli


@pytest.fixture
def file(tmp_path: Path, key_file: str) -> Path:
    path = tmp_path / "site.toml"
    path.write_text(f'key_file = "{key_file}"\n[relay]\nworkers = 2\npeers = ["10.0.0.0/24", "10.0.1.0/24"]\n')
    return path


def test_show_says_where_each_value_comes_from(cli: Cli, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RTCRELAY_CLUSTER", "7")
    rows = json.loads(cli("config", "show", "relay", "--config", str(file), "--json").out)
    found = {row["name"]: (row["value"], row["origin"]) for row in rows}
    assert set(found) == {setting.name for setting in PROGRAMS["relay"]}
    assert found["workers"] == (2, f"{file}: relay.workers")
    assert found["cluster"] == (7, "RTCRELAY_CLUSTER")
    assert found["peers"] == (["10.0.0.0/24", "10.0.1.0/24"], f"{file}: relay.peers")
    assert found["max_flows"] == (262144, "default")
    assert found["redis"] == (None, "default")
    assert found["spp_insecure_public"] == (False, "default")
    changed = cli("config", "show", "--config", str(file), "--changed", "-H").out
    assert {line.split()[1] for line in changed.splitlines()} == {"workers", "peers", "key_file", "cluster"}
    assert {line.split()[0] for line in changed.splitlines()} == {"relay"}, "the file has no other service's table"


def test_show_hides_a_password(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RTCRELAY_REDIS", "redis://u:hush@10.0.0.9/2")
    done = cli("config", "show", "relay", "--json")
    assert "redis://10.0.0.9/2" in done.out
    assert "hush" not in done.out


def test_a_sound_file_is_0_and_says_what_would_run(cli: Cli, file: Path) -> None:
    done = cli("config", "check", "--config", str(file))
    assert (done.status, done.err) == (0, "")
    assert done.out.startswith(
        "relay: configuration is sound: 0.0.0.0:3478 to 127.0.0.1:3479; cluster 0; keys 3 active"
    )
    (row,) = json.loads(cli("config", "check", "--config", str(file), "--json").out)
    assert (row["kind"], row["program"], row["ok"], row["hint"]) == ("config_check", "relay", True, None)


def test_everything_that_is_wrong_is_told_at_once_with_what_was_meant(cli: Cli, tmp_path: Path) -> None:
    path = tmp_path / "wrong.toml"
    path.write_text(
        'clustre = 1\n[relay]\nlisen = 1\nworkers = 99\nidle_timeout = "5"\n'
        "[transceiver]\nmax_sessions = 0\nlog_format = 1\n"
    )
    done = cli("config", "check", "--config", str(path))
    assert (done.status, done.out) == (78, "")
    assert done.err.splitlines() == [
        f"rtcrelay: error: {path}: unknown key clustre",
        "hint: did you mean cluster?",
        f"rtcrelay: error: {path}: unknown key relay.lisen",
        "hint: did you mean relay.listen?",
        f"rtcrelay: error: {path}: unknown key transceiver.log_format",
        "hint: log_format is shared by all services: write it above the tables",
        f"rtcrelay: error: {path}: relay.workers: '99' is not a whole number from 1 to 64",
        f"rtcrelay: error: {path}: relay.idle_timeout: '5' is not a duration, expected for example 250ms, 60s or 1h30m",
        f"rtcrelay: error: {path}: transceiver.max_sessions: '0' is not a whole number from 1 to 100000",
    ]


def test_rules_between_settings_keys_and_secrets_are_checked_too(cli: Cli, file: Path, key_file: str) -> None:
    content = file.read_text()
    file.write_text(content + 'transceivers = ["10.0.0.0/8"]\n')
    done = cli("config", "check", "--config", str(file))
    assert done.status == 78
    assert "overlaps" in done.err
    file.write_text(content)
    Path(key_file).chmod(0o644)
    done = cli("config", "check", "--config", str(file))
    assert done.status == 78
    assert "others may read or change it" in done.err
    done = cli("config", "check", "transceiver", "--config", str(file), "--json")
    assert done.status == 78
    assert [row["ok"] for row in json.loads(done.out)] == [False]


@pytest.mark.parametrize(
    ("content", "message"), [(None, "cannot read configuration file"), ("[relay", "is not valid TOML")]
)
def test_a_file_that_cannot_be_read_is_78(cli: Cli, tmp_path: Path, content: str | None, message: str) -> None:
    path = tmp_path / "c.toml"
    if content is not None:
        path.write_text(content)
    done = cli("config", "check", "--config", str(path))
    assert (done.status, done.out) == (78, "")
    assert message in done.err
    assert len(done.err.splitlines()) == 1


def test_a_file_given_as_a_service_is_told_how_to_name_it(cli: Cli) -> None:
    done = cli("config", "check", "relay.toml")
    assert done.status == 2
    assert done.err == (
        "rtcrelay: error: expected relay, transceiver, signaling, parrot, not 'relay.toml'\n"
        "hint: --config relay.toml names the file\n"
    )
    done = cli("config", "check", "realy")
    known = "relay, transceiver, signaling, parrot"
    assert done.err == f"rtcrelay: error: SERVICE: 'realy' is not one of {known}, did you mean relay?\n"


@pytest.mark.parametrize("programs", [["relay"], ["transceiver"], ["signaling"], ["relay", "transceiver"]])
def test_a_file_to_begin_with_changes_nothing_and_names_every_setting(
    cli: Cli, tmp_path: Path, key_file: str, programs: list[str]
) -> None:
    path = tmp_path / "begin.toml"
    done = cli("config", "init", *programs, "--out", str(path))
    assert (done.status, done.out, done.err) == (0, "", f"wrote {path}\n")
    text = path.read_text()
    assert tomllib.loads(text) == {program: {} for program in programs}
    for program in programs:
        for setting in PROGRAMS[program]:
            assert setting.table or f"\n# {setting.name} =" in text
    assert json.loads(cli("config", "show", "--changed", "--config", str(path), "--json").out) == []
    again = cli("config", "init", "--out", str(path))
    assert (again.status, path.read_text()) == (1, text)
    assert "exists already" in again.err


def with_defaults(text: str) -> dict[str, Any]:
    """A template with every default written out."""
    lines = [line.removeprefix("# ") for line in text.splitlines() if " = " in line and "(default" not in line]
    heads = [line for line in text.splitlines() if line.startswith("[")]
    assert len(heads) == 1
    shared: list[str] = []
    own: list[str] = []
    known = {setting.name for setting in PROGRAMS[heads[0].strip("[]")] if setting.shared}
    for line in lines:
        if line.partition(" = ")[0].isidentifier():
            (shared if line.partition(" = ")[0] in known else own).append(line)
    return tomllib.loads("\n".join([*shared, *heads, *own]))


@pytest.mark.parametrize("program", list(PROGRAMS))
def test_the_schema_takes_the_template_with_its_defaults(program: str) -> None:
    content = with_defaults(config_template([program]))
    assert content[program]
    jsonschema.Draft202012Validator(config_schema()).validate(content)


@pytest.mark.parametrize(
    ("content", "is_right"),
    [
        ('[relay]\nlisten = "0.0.0.0:3478"', True),
        ('[relay]\nlisten = ["0.0.0.0:3478"]\nspp_insecure_public = true', True),
        ('cluster = 7\n[nodes]\n17 = "[fd00::7]:7000"', True),
        ('[clusters]\n7 = ["10.7.0.1:3479", "10.7.0.2:3479"]\n8 = "[fd00::8]:3479"', True),
        ('[relay]\nidle_timeout = "30m10s"', True),
        ('[relay]\nidle_timeout = "90"', False),
        ("[relay]\nworkers = 65", False),
        ("[relay]\nlisen = 1", False),
        ("rely = 1", False),
        ('log_format = "xml"', False),
    ],
)
def test_the_schema_takes_and_refuses_what_the_program_does(
    cli: Cli, tmp_path: Path, key_file: str, content: str, is_right: bool
) -> None:
    path = tmp_path / "c.toml"
    path.write_text(f'key_file = "{key_file}"\n{content}\n')
    document: Mapping[str, Any] = tomllib.loads(path.read_text())
    assert jsonschema.Draft202012Validator(config_schema()).is_valid(document) == is_right
    assert (cli("config", "check", "relay", "--config", str(path)).status == 0) == is_right


def test_the_schema_is_a_schema(cli: Cli) -> None:
    done = cli("config", "schema")
    jsonschema.Draft202012Validator.check_schema(json.loads(done.out))
