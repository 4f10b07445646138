"""docs/acceptance.md: its table is the declaration, its example is right and is asked of the API that it is of."""

from __future__ import annotations

import json
import re
from pathlib import Path

import jsonschema
import yaml
from shop import declaration
from test_acceptance_declared import lay, openapi
from turnout.acceptance.declared import WRITING, Acceptance
from turnout.acceptance.load import load
from turnout.key_docs import begin, schema, table

PAGE = Path(__file__).resolve().parents[3] / "docs" / "acceptance.md"


def test_the_table_of_keys_is_the_declaration() -> None:
    wanted = f"{begin('acceptance')}\n{table(Acceptance)}\n"
    assert wanted in PAGE.read_text(), "run: turnout schema acceptance --into docs/acceptance.md"


def test_the_examples_are_read_with_a_document_of_their_operations(tmp_path: Path) -> None:
    first, *packs = re.findall(r"```yaml\n(.*?)```", PAGE.read_text(), re.DOTALL)
    questions = load(lay(tmp_path, first, openapi()))
    assert questions is not None
    assert [one.name for one in questions.document.operations] == list(questions.declared.routes)
    named = {}
    for example in packs:
        pack = "failure-modes" if "failure_modes" in example else example.partition(":")[0]
        whole = {**yaml.safe_load(first), **yaml.safe_load(example), "packs": [pack]}
        found = load(lay(tmp_path, whole, openapi()))
        assert found is not None
        named[pack] = found
    assert tuple(named) == WRITING


def test_editors_take_what_is_right_and_not_what_is_wrong() -> None:
    made = schema(Acceptance, "")
    json.dumps(made)
    validator = jsonschema.Draft202012Validator(made)
    assert list(validator.iter_errors(yaml.safe_load(yaml.safe_dump(declaration())))) == []
    assert list(validator.iter_errors({"packs": ["contrakt"]}))
    assert list(validator.iter_errors({**declaration(), "object": []}))
