"""The plan of a judged release."""

from __future__ import annotations

from pathlib import Path

import pytest
from turnout.errors import TurnoutError
from turnout.judge.declared import check_declared
from turnout.judge.plan import FASTEST_WINDOW_S, plan
from turnout.service import load
from turnout.slo.rules import BURNS

GOOD = {"shares_bp": (500, 2500, 10_000), "patience_s": 600.0, "bake_s": 300.0, "where": "service.yml"}


def test_a_plan_knows_its_next_share():
    made = plan(**GOOD)
    assert [made.next_share_bp(s) for s in (0, 500, 2500, 10_000)] == [500, 2500, 10_000, None]


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"shares_bp": (2500, 500, 10_000)}, "service.yml: steps[1].share_bp: 500 after 2500 does not grow"),
        ({"shares_bp": (500, 500, 10_000)}, "service.yml: steps[1].share_bp"),
        ({"shares_bp": (500,)}, "service.yml: steps: end at 500"),
        ({"shares_bp": ()}, "service.yml: steps: end at nothing"),
        ({"shares_bp": (0, 10_000)}, "service.yml: steps: hold a share outside"),
        ({"bake_s": 299.0}, "service.yml: bake_s: 299 s is shorter than the fastest alert window"),
        ({"patience_s": 0.0}, "service.yml: patience_s"),
        ({"bake_s": float("nan")}, "bake_s"),
    ],
)
def test_a_plan_that_makes_no_sense_is_an_error_that_names_file_field_and_remedy(change, field):
    with pytest.raises(TurnoutError) as caught:
        plan(**(GOOD | change))
    assert field in caught.value.observed
    assert caught.value.remedy


def test_all_faults_are_reported_at_once():
    with pytest.raises(TurnoutError) as caught:
        plan(shares_bp=(500, 400), patience_s=-1.0, bake_s=1.0, where="service.yml")
    assert len(caught.value.observed.splitlines()) == 4


def test_the_fastest_window_is_the_alerts():
    minutes = [int(burn.short.removesuffix("m")) for burn in BURNS if burn.short.endswith("m")]
    assert min(minutes) * 60 == FASTEST_WINDOW_S


def test_where_other_alerts_watch_the_bake_time_is_held_to_their_shortest_window():
    assert plan(**(GOOD | {"bake_s": 10.0, "fastest_window_s": 10.0})).bake_s == 10.0
    with pytest.raises(TurnoutError, match="shorter than the fastest alert window, 10 s"):
        plan(**(GOOD | {"bake_s": 9.0, "fastest_window_s": 10.0}))


def declared(tmp_path, **judge):
    service = {
        "name": "shop",
        "releases": {"source": "/srv/releases", "allowed_signers": "/etc/signers"},
        "api": {"command": "bin/api", "ports": {"blue": 8001, "green": 8002}},
        "judge": {"prometheus": "http://10.0.0.41:9090", **judge},
    }
    return load(service, base_dir=tmp_path)


def test_what_a_service_declares_is_checked_with_its_slos(tmp_path):
    with pytest.raises(TurnoutError) as caught:
        check_declared(declared(tmp_path, bake_s=60))
    assert caught.value.code == "plan-invalid"
    assert "service.judge: bake_s: 60 s" in caught.value.observed
    with pytest.raises(TurnoutError) as caught:
        check_declared(declared(tmp_path))
    assert caught.value.code == "slo-missing"
    lab = Path(__file__).resolve().parents[3] / "inventories" / "lab" / "slos"
    made, slos = check_declared(declared(tmp_path, slos=str(lab)))
    assert made.shares_bp == (500, 2500, 10_000)
    assert "api-availability" in slos
