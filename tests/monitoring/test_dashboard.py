"""The dashboard without Grafana: it is what its source makes, and asks for nothing that does not exist."""

from __future__ import annotations

import json
import runpy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .test_metric_list import FAMILIES
from .test_rules import names_in, recorded

GRAFANA = Path(__file__).parents[2] / "deploy" / "grafana"
DASHBOARD = json.loads((GRAFANA / "rtcrelay.json").read_text())
UNITS = {"Bps", "bps", "bytes", "cps", "ops", "percentunit", "pps", "reqps", "s", "short"}
"""Of Grafana's packages/grafana-data/src/valueFormats/categories.ts."""


def panels() -> Iterator[dict[str, Any]]:
    return (panel for panel in DASHBOARD["panels"] if panel["type"] != "row")


def queries() -> Iterator[tuple[str, str]]:
    """(panel, query) with the variables as Grafana fills them in at first."""
    for panel in panels():
        for target in panel["targets"]:
            query = target["expr"].replace("$__rate_interval", "1m").replace("$job", ".*").replace("$instance", ".*")
            assert "$" not in query
            yield panel["title"], query


def test_the_file_is_what_its_source_makes() -> None:
    made = runpy.run_path(str(GRAFANA / "generate.py"))["dashboard"]()
    assert made == DASHBOARD, "run: python deploy/grafana/generate.py"


def test_every_query_asks_for_what_exists() -> None:
    for title, query in queries():
        names = names_in(query)
        assert names or "ALERTS" in query, title
        assert names - recorded() <= set(FAMILIES), title


def test_every_panel_has_a_unit_a_description_and_the_chosen_data_source() -> None:
    for panel in panels():
        assert panel["fieldConfig"]["defaults"]["unit"] in UNITS, panel["title"]
        assert panel["description"].endswith("."), panel["title"]
        for part in (panel, *panel["targets"]):
            assert part["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
    assert [variable["name"] for variable in DASHBOARD["templating"]["list"]] == ["datasource", "job", "instance"]


def test_panels_have_ids_of_their_own_and_do_not_overlap() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        columns, rows = range(place["x"], place["x"] + place["w"]), range(place["y"], place["y"] + place["h"])
        cells = {(x, y) for x in columns for y in rows}
        assert not cells & taken, panel["title"]
        taken |= cells
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(ids) == len(set(ids))
