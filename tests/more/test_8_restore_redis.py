"""Redis restored for real: beside, then in its place; and what must leave everything as it is."""

from __future__ import annotations

import re

import pytest
from drill_bed import Bed, make_bed
from harness import Run, Turnout


@pytest.fixture(scope="module")
def bed(turnout: Turnout) -> Bed:
    """Return the lab with 1.0.0 in service, and a backup with a few keys that people care for."""
    turnout.ensure("1.0.0")

    def cared_for(bed: Bed) -> None:
        bed.turnout.redis("del after:the:accident since:the:copy precious:list")
        bed.turnout.redis("mset precious:1 one precious:2 two")
        bed.turnout.redis("rpush precious:list a b c")
        bed.turnout.redis("set precious:passing x EX 86400")
        bed.turnout.redis("-n 3 set precious:elsewhere y")

    return make_bed(turnout, before_backup=cared_for)


def beside(turnout: Turnout) -> tuple[Run, str]:
    """Restore beside what is there; return the run, and the name of what it made."""
    run = turnout.playbook("restore_redis")
    assert run.rc == 0, run.tail
    found = re.search(r"-e restored=(\S+);", run.out)
    assert found is not None, run.tail
    return run, found[1]


def precious(turnout: Turnout) -> list[str]:
    """Return what is left of the keys of the fixture."""
    said = turnout.redis("mget precious:1 precious:2 precious:passing") + turnout.redis("lrange precious:list 0 -1")
    return (said + turnout.redis("-n 3 get precious:elsewhere")).split()


def process(turnout: Turnout) -> str:
    """Return what tells one life of the server from another."""
    return re.findall(r"run_id:(\S+)", turnout.redis("info server"))[0]


WHOLE = ["one", "two", "x", "a", "b", "c", "y"]


def test_lost_keys_are_back_and_stay_over_a_restart(bed: Bed) -> None:
    """Beside changes nothing; the cut over brings the keys and keeps the old data; the next start has them too."""
    turnout = bed.turnout
    assert precious(turnout) == WHOLE
    turnout.redis("flushall")
    turnout.redis("set after:the:accident 1")
    alive = process(turnout)
    run, name = beside(turnout)
    assert "jobs that ran after the copy was taken run again" in run.out
    assert process(turnout) == alive
    assert precious(turnout) == []

    run = turnout.playbook("restore_redis", "-e", f"restored={name}", "-e", "confirm=sample")
    assert run.rc == 0, run.tail
    said = re.search(r"it was away for at most ([0-9.]+) s; the old data lies in (\S+);", run.out)
    assert said is not None, run.tail
    print(f"redis: {run.seconds:.1f} s for the cut over, away for at most {said[1]} s")
    assert float(said[1]) < 15
    assert precious(turnout) == WHOLE
    assert turnout.redis("exists after:the:accident").strip() == "0"
    assert turnout.redis("config get appendonly").split()[-1] == "yes"
    assert "appendonlydir" in turnout.ssh("data1", f"ls {said[2]}")
    assert "redis:redis 750" in turnout.ssh("data1", "stat -c '%U:%G %a' /var/lib/redis")
    turnout.ssh("data1", f"rm -rf {said[2]}; systemctl restart redis-server")
    assert precious(turnout) == WHOLE
    assert name not in turnout.ssh("data1", "turnout-drill list")


def test_a_damaged_copy_and_a_wrong_word_change_nothing(bed: Bed) -> None:
    turnout = bed.turnout
    alive, listed = process(turnout), turnout.ssh("data1", "turnout-drill list")
    key = max(key for key in bed.keys("turnout/redis/") if key.endswith("/dump.rdb"))
    with bed.object_changed(key, lambda body: body[:-20] + bytes(20)):
        run = turnout.playbook("restore_redis", "-e", "confirm=sample")
    assert run.rc != 0
    assert "the copy of Redis is damaged: dump.rdb has" in run.tail
    assert "nothing was changed" in run.tail
    run = turnout.playbook("restore_redis", "-e", "confirm=another")
    assert run.rc != 0
    assert "confirm=sample" in run.tail
    run = turnout.playbook("restore_redis", "-e", "target=time", "-e", 'at="2001-01-01 00:00:00+00:00"')
    assert run.rc != 0
    assert "the repository held no whole copy of Redis at 2001-01-01" in run.tail
    run = turnout.playbook("restore_redis", "-e", "restored=never-made", "-e", "confirm=sample")
    assert run.rc != 0
    assert "there is no validated restore never-made" in run.tail
    assert process(turnout) == alive
    assert precious(turnout) == WHOLE
    assert turnout.ssh("data1", "turnout-drill list") == listed


def test_data_that_redis_does_not_start_on_is_taken_out_again(bed: Bed) -> None:
    """What lay beside was spoiled before the cut over: the old data serves again, and the reason is told."""
    turnout = bed.turnout
    turnout.redis("set since:the:copy 1")
    _, name = beside(turnout)
    base = f"/var/lib/turnout-drill/{name}/redis/appendonlydir/*.base.rdb"
    turnout.ssh("data1", f"for f in {base}; do echo spoiled > $f; done")
    run = turnout.playbook("restore_redis", "-e", f"restored={name}", "-e", "confirm=sample")
    assert run.rc != 0
    assert "did not start in its place, the old data was put back" in run.tail
    assert turnout.redis("get since:the:copy").strip() == "1"
    assert precious(turnout) == WHOLE
    turnout.ssh("data1", f"turnout-drill remove {name}")
