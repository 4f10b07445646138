"""Which restore point `before=VERSION` takes: the one before that release's migrations, or none at all."""

from __future__ import annotations

import random

import pytest
from turnout_drill import points
from turnout_drill.errors import BrokenOff

A, B = "0a1b2c3d4e5f", "ffffffffffff"


def record(release: str, at: str, pending: int | None = None, *, told: bool = True) -> dict[str, object]:
    """Return a record as a deploy leaves it; not `told`: as those did that knew no releases."""
    name = f"before-{release}-2026{at}T030000-laptop.example-17"
    whose = {"release": release} if told else {}
    known = {} if pending is None else {"pending": pending}
    return {"name": name, "lsn": f"0/{at}", "at": f"2026-{at[:2]}-{at[2:]}T03:00:00.000Z", **whose, **known}


def chosen(release: str, *records: dict[str, object]) -> str:
    found = [points.read(one) for one in records]
    random.shuffle(found)
    return points.before_release(found, release).at[5:10]


@pytest.mark.parametrize("told", [True, False])
def test_another_release_whose_name_begins_so_is_not_taken(told: bool) -> None:
    mine = record(f"1.4.2-{A}", "0110", told=told)
    others = [
        record(f"{version}-{A}", f"01{day}", told=told)
        for day, version in enumerate(["1.4.20", "1.4.2-rc1", f"1.4.2-{B}", "1.4.2-hotfix-1", "1.4", "1.4.2.1"], 11)
    ]
    assert chosen("1.4.2", mine, *others) == "01-10"
    assert chosen(f"1.4.2-{A}", mine, *others) == "01-10"
    with pytest.raises(BrokenOff, match=r"knows no restore point of a deploy of release '1\.4\.3'"):
        chosen("1.4.3", mine, *others)


def test_a_second_deploy_of_the_release_is_not_before_its_migrations() -> None:
    first, second = record(f"1.4.2-{A}", "0110", 2), record(f"1.4.2-{A}", "0120", 0)
    assert chosen("1.4.2", first, second, record(f"1.4.2-{A}", "0130", 0)) == "01-10"


def test_the_only_point_of_a_deploy_that_died_in_its_migrations_is_taken() -> None:
    assert chosen("1.4.2", record(f"1.4.2-{A}", "0110")) == "01-10"


@pytest.mark.parametrize(
    "doubtful",
    [
        [(A, "0110", None), (A, "0120", None)],
        [(A, "0110", None), (A, "0120", 2)],
        [(A, "0110", 2), (A, "0120", None)],
        [(A, "0110", 1), (A, "0120", 1)],
        [(A, "0110", 2), (B, "0120", 2)],
        [(A, "0110", 0)],
        [(A, "0110", 0), (A, "0120", 0)],
    ],
)
def test_where_there_is_doubt_the_candidates_are_told_with_their_times(
    doubtful: list[tuple[str, str, int | None]],
) -> None:
    records = [record(f"1.4.2-{artifact}", at, pending) for artifact, at, pending in doubtful]
    with pytest.raises(BrokenOff) as refused:
        chosen("1.4.2", *records)
    said = refused.value.cause
    for one in records:
        assert f"{one['name']} of {one['at']}" in said
    assert "-e target=point -e point=before-1.4.2-" in said
    assert refused.value.check is None


def test_a_name_that_was_cut_is_looked_at_too() -> None:
    version = "2026.11.29-with-a-very-long-name-of-a-branch-that-somebody-made"
    name = f"before-{version}-{A}"[:50] + "-0123456789ab"
    assert points.may_be_of(name, version)
    assert not points.may_be_of("before-1.4.1-x", "1.4.2")
