"""What a build of the sample service holds, sound or with faults."""

import json
import re
from pathlib import Path

import build
import pytest
from build import BuildError
from sample.config import Faults, load_release


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    vendor = tmp_path / "vendor-cache"
    (vendor / "yoyo").mkdir(parents=True)
    (vendor / "yoyo" / "__init__.py").touch()
    (vendor / "RECORD").touch()
    monkeypatch.setattr(build, "vendored", lambda: vendor)


def migrations(out: Path) -> list[str]:
    return sorted(path.name for path in (out / "migrations").iterdir() if ".rollback" not in path.name)


@pytest.mark.parametrize(
    ("version", "highest"), [("1.0.0", 1), ("1.0.9", 1), ("1.1.0", 2), ("1.1.0-rc.1", 2), ("2.0.0", 2)]
)
def test_a_version_has_the_migrations_of_its_time(tmp_path: Path, version: str, highest: int) -> None:
    made = build.build(version, [], tmp_path / "out")
    assert made["schema"] == {"min": highest, "max": highest}
    assert len(migrations(tmp_path / "out")) == highest


def test_a_build_is_whole_and_says_what_it_is(tmp_path: Path) -> None:
    out = tmp_path / "out"
    made = build.build("1.1.0", [], out)
    for program in ("api", "worker", "scheduler", "migrate"):
        assert (out / "bin" / program).stat().st_mode & 0o111
    assert (out / "vendor" / "yoyo" / "__init__.py").exists()
    assert not (out / "vendor" / "RECORD").exists()
    assert "SECRET_KEY" in made["environment"]
    release = load_release(out)
    assert (release.version, release.reads_priority, release.reads_notes) == ("1.1.0", True, True)
    assert release.faults == Faults()


def test_two_builds_of_one_version_are_alike(tmp_path: Path) -> None:
    trees = []
    for name in ("a", "b"):
        build.build("1.1.0", ["5xx=0.5"], tmp_path / name)
        files = sorted(path for path in (tmp_path / name).rglob("*") if path.is_file())
        trees.append([(str(path.relative_to(tmp_path / name)), path.read_bytes()) for path in files])
    assert trees[0] == trees[1]


def test_every_migration_has_a_kind_and_a_way_back(tmp_path: Path) -> None:
    out = tmp_path / "out"
    build.build("9.9.9", ["failing-migration", "slow-migration=3", "incompatible-migration"], out)
    for name in migrations(out):
        path = out / "migrations" / name
        assert re.match(r"\d{4}_", name)
        assert re.search(r"^-- turnout: kind=(expand|contract)$", path.read_text(), re.MULTILINE)
        assert path.with_suffix(".rollback.sql").read_text().strip()


@pytest.mark.parametrize(
    ("fault", "setting", "value"),
    [
        ("5xx=0.2", "http_5xx_rate", 0.2),
        ("latency=300", "latency_ms", 300.0),
        ("crash-at-start", "crash_at_start", True),
        ("never-healthy", "never_healthy", True),
        ("unhealthy-on=app2", "unhealthy_on", "app2"),
        ("failing-jobs", "failing_jobs_rate", 1.0),
        ("failing-jobs=0.05", "failing_jobs_rate", 0.05),
        ("slow-jobs=2000", "slow_jobs_ms", 2000.0),
        ("bad-smoke", "bad_smoke", True),
        ("secret-in-output", "secret_in_output", True),
        ("worker-ends=30", "worker_ends_after_s", 30.0),
        ("worker-eats=50", "worker_eats_mb_per_s", 50.0),
        ("worker-idle", "worker_idle", True),
    ],
)
def test_a_fault_is_baked_into_the_release(tmp_path: Path, fault: str, setting: str, value: object) -> None:
    build.build("1.2.0", [fault], tmp_path / "out")
    assert getattr(load_release(tmp_path / "out").faults, setting) == value


def test_a_failing_migration_comes_after_all_others(tmp_path: Path) -> None:
    made = build.build("1.2.0", ["failing-migration"], tmp_path / "out")
    assert migrations(tmp_path / "out")[-1] == "0003_failing.sql"
    assert made["schema"] == {"min": 3, "max": 3}


def test_an_incompatible_migration_is_a_contract_and_its_release_does_without_the_column(tmp_path: Path) -> None:
    build.build("1.2.0", ["incompatible-migration"], tmp_path / "out")
    text = (tmp_path / "out" / "migrations" / "0003_incompatible.sql").read_text()
    assert "kind=contract" in text
    assert not load_release(tmp_path / "out").reads_notes


def test_a_slow_migration_takes_the_time_that_was_asked_for(tmp_path: Path) -> None:
    build.build("1.2.0", ["slow-migration=7.5"], tmp_path / "out")
    assert "pg_sleep(7.5)" in (tmp_path / "out" / "migrations" / "0003_slow.sql").read_text()


def test_an_armed_release_names_the_key_that_wakes_it(tmp_path: Path) -> None:
    build.build("1.2.0", ["5xx=1"], tmp_path / "out", armed=True)
    assert load_release(tmp_path / "out").faults.armed_by_key == "sample:armed:1.2.0"


@pytest.mark.parametrize(
    "fault",
    [
        "5xx",
        "5xx=",
        "5xx=2",
        "5xx=often",
        "latency=-1",
        "latency=inf",
        "never-healthy=yes",
        "unhealthy-on",
        "unhealthy-on=",
        "failing-jobs=",
        "failing-migration=1",
        "slow-migration",
        "slow-migration=0",
        "no-such-fault",
        "",
    ],
)
def test_a_wrong_fault_is_named_and_nothing_is_written(tmp_path: Path, fault: str) -> None:
    with pytest.raises(BuildError, match=re.escape(f"--fault {fault}")):
        build.build("1.2.0", [fault], tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("version", ["1", "1.2", "v1.2.3", "1.2.x", "", "1.2.3 "])
def test_a_wrong_version_is_named(tmp_path: Path, version: str) -> None:
    with pytest.raises(BuildError, match="--version"):
        build.build(version, [], tmp_path / "out")


def test_a_folder_that_is_no_build_is_left_alone(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "precious").touch()
    with pytest.raises(BuildError, match="choose another"):
        build.build("1.0.0", [], out)
    assert (out / "precious").exists()


def test_the_command_line_prints_what_the_manifest_must_say(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert build.main(["--version", "1.1.0", "--out", str(tmp_path / "out")]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["version"] == "1.1.0"
    assert build.main(["--version", "x", "--out", str(tmp_path / "out2")]) == 2
    assert "expected MAJOR.MINOR.PATCH" in capsys.readouterr().err
