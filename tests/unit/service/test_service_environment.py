"""Environment files: systemd must read back exactly what was meant."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from service_examples import full, small
from systemd_rules import parse
from turnout.service import load
from turnout.service.environment import env_text, environment, migrate_env_text, render, value_fault

BASE = Path("/inventory")
names = st.from_regex(r"[A-Z_][A-Z0-9_]{0,8}", fullmatch=True)
values = st.text().filter(lambda text: value_fault(text) is None)
tricky = st.text(alphabet="\"'\\`$ #;=\tanu{}", max_size=12)


@settings(max_examples=500)
@given(st.dictionaries(names, values | tricky, max_size=6))
def test_systemd_reads_back_every_value(variables):
    assert parse(render(variables)) == variables


@pytest.mark.parametrize("value", ["a\nb", "a\rb", "a\0b", "\ud800", "\ufdd0", "\uffff", "\U0001ffff", "\ufeff"])
def test_what_the_file_cannot_carry_is_refused_without_showing_it(value):
    assert value_fault(value) is not None
    with pytest.raises(ValueError, match="KEY") as caught:
        render({"KEY": f"hunter2{value}"})
    assert "hunter2" not in str(caught.value)


def test_every_process_is_told_what_it_is():
    service = load(full(), base_dir=BASE)
    api = environment(service, "green", "1.1.0", "api")
    assert api["PORT"] == "8002"
    assert (api["TURNOUT_COLOR"], api["TURNOUT_RELEASE"], api["TURNOUT_SERVICE"]) == ("green", "1.1.0", "shop")
    worker = environment(service, "green", "1.1.0", "worker-jobs")
    assert worker["METRICS_PORT"] == "9111"
    assert "PORT" not in worker


def test_only_the_migrator_gets_the_migrators_environment():
    service = load(full(), base_dir=BASE)
    assert "MIGRATE_URL" not in parse(env_text(service, "blue", "1.1.0"))
    assert "MIGRATE_URL" in parse(migrate_env_text(service, "blue", "1.1.0"))
    assert "DATABASE_URL" in parse(migrate_env_text(service, "blue", "1.1.0"))


def test_a_service_without_variables_has_a_file_all_the_same():
    service = load(small(), base_dir=BASE)
    assert set(parse(env_text(service, "blue", "1"))) == {"TURNOUT_COLOR", "TURNOUT_RELEASE", "TURNOUT_SERVICE"}
