"""The JSON Schema of the service file and the table of its keys in the docs: both come from the declaration."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner
from jsonschema import Draft202012Validator
from service_examples import full, small
from turnout.cli import cli
from turnout.errors import TurnoutError
from turnout.faults import FaultsError
from turnout.key_docs import begin, rows, schema, table
from turnout.service import load
from turnout.service.model import Service

PROJECT = Path(__file__).parents[3]
FILES = [
    *sorted(PROJECT.glob("inventories/*/group_vars/all/service.yml")),
    PROJECT / "examples/tiny_service/service.yml",
]
SCHEMA = schema(Service, "service")
PAGE = PROJECT / "docs/bring-your-own-service.md"


def accepts(service: Any) -> bool:
    return bool(Draft202012Validator(SCHEMA).is_valid({"service": service}))


def changed(path: str, value: Any) -> dict[str, Any]:
    result = full()
    *parents, last = path.split(".")
    place = result
    for parent in parents:
        place = place.setdefault(parent, {})
    place[last] = value
    return result


def test_it_is_a_json_schema() -> None:
    Draft202012Validator.check_schema(SCHEMA)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.parts[-4])
def test_the_repositorys_service_files_are_right_as_they_are_written(path: Path) -> None:
    assert len(FILES) >= 2
    found = [
        str(error.json_path) for error in Draft202012Validator(SCHEMA).iter_errors(yaml.safe_load(path.read_text()))
    ]
    assert found == []


@pytest.mark.parametrize("service", [full(), small(), changed("workers", None), changed("api.drain_s", "{{ drain }}")])
def test_what_the_loader_takes_is_right(service: dict[str, Any]) -> None:
    assert accepts(service)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("name", "Shop"),
        ("name", 5),
        ("nmae", "shop"),
        ("api.comand", "bin/api"),
        ("api.command", ""),
        ("api.ports.blue", 80),
        ("api.ports.blue", "8001"),
        ("api.ports.blue", True),
        ("api.ports.red", 8003),
        ("api.health.status", 99),
        ("api.health.timeout_s", 61),
        ("api.stop_signal", "TERM"),
        ("api.drain_s", 1.5),
        ("worker", "text"),
        ("worker.instances", 0),
        ("scheduler.command", None),
        ("migrate", {"up": "bin/up"}),
        ("environment.1st", "x"),
        ("environment.LIST", ["x"]),
        ("environment.NONE", None),
        ("releases.s3.endpoint", "store1:8333"),
        ("releases.keep", "5"),
        ("bucket.header", "not a header"),
        ("guard.max_5xx_ratio", 1.5),
        ("judge.prometheus", "10.0.0.41:9090"),
        ("packages", "libpq5"),
        ("packages", [5]),
        ("smoke", [{}]),
        ("smoke", [{"path": "/", "method": "GETT"}]),
        ("steps", [{"share_bp": 20000}]),
        ("warm_s", "1h"),
        ("watch.rollback_on_page", "yes"),
    ],
)
def test_what_the_loader_refuses_by_its_shape_is_wrong(path: str, value: Any) -> None:
    service = changed(path, value)
    with pytest.raises(FaultsError):
        load(service, base_dir=Path("/inventory"))
    assert not accepts(service)


def test_the_command_prints_it_and_the_table() -> None:
    assert '"$schema"' in CliRunner().invoke(cli, ["schema", "service"], catch_exceptions=False).output
    assert CliRunner().invoke(cli, ["schema", "service", "--table"]).output == table(Service) + "\n"


def test_the_docs_have_the_table_that_the_command_writes(tmp_path: Path) -> None:
    assert f"{begin('service')}\n{table(Service)}\n" in PAGE.read_text(), f"run: turnout schema service --into {PAGE}"
    page = tmp_path / "page.md"
    page.write_text(PAGE.read_text().replace(table(Service), "old"))
    assert CliRunner().invoke(cli, ["schema", "service", "--into", str(page)], catch_exceptions=False).exit_code == 0
    assert page.read_text() == PAGE.read_text()


@pytest.mark.parametrize("text", [None, "no place for it"])
def test_a_page_without_a_place_for_the_table_is_refused_and_kept(tmp_path: Path, text: str | None) -> None:
    page = tmp_path / "page.md"
    if text is not None:
        page.write_text(text)
    with pytest.raises(TurnoutError) as caught:
        CliRunner().invoke(cli, ["schema", "service", "--into", str(page)], catch_exceptions=False)
    assert caught.value.code == "docs-table"
    assert not page.exists() or page.read_text() == text


def test_every_key_has_a_meaning_and_the_forgotten_ones_are_there() -> None:
    found = {path: means for path, _, means in rows(Service)}
    assert [path for path, means in found.items() if not means] == []
    assert {
        "workers.NAME.instances",
        "workers.NAME.metrics_port",
        "migrate.down",
        "migrate.timeout_s",
        "warm_s",
    } <= set(found)


def test_what_a_rollback_imports_does_not_wait_for_pydantic() -> None:
    actions = "way_back", "scheduler_home", "keeper"
    plugins = [*(PROJECT / "plugins/filter").glob("*.py"), *(PROJECT / "plugins/callback").glob("*.py")]
    files = [*plugins, *(PROJECT / f"plugins/action/{name}.py" for name in actions)]
    assert len(files) > len(actions)
    program = f"""
import runpy, sys
for file in {[str(file) for file in files]!r}:
    runpy.run_path(file)
sys.exit("pydantic_core" in sys.modules or "turnout.service.model" not in sys.modules)
"""
    subprocess.run([sys.executable, "-c", program], check=True)


def test_what_managed_hosts_run_knows_nothing_of_pydantic_and_the_declarations() -> None:
    files = [
        path
        for folder in ("plugins/module_utils", "roles")
        for path in (PROJECT / folder).rglob("*")
        if path.is_file() and (path.suffix == ".py" or (path.parent.name == "files" and not path.suffix))
    ]
    assert len(files) > 50
    assert [path for path in files if re.search(r"pydantic|from turnout\.|import turnout\b", path.read_text())] == []
