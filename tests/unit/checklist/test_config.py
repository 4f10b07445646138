"""The variable `checklist`: every mistake at once, no secret in a message, all of it optional."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from checklist_bed import SERVICE, read
from turnout.checklist.catalog import CATALOG, NAMES
from turnout.faults import FaultsError
from turnout.forge.open import open_forge

ROOT = Path(__file__).parents[3]


def test_without_it_everything_that_needs_no_configuration_is_looked_at() -> None:
    config = read(None)
    assert config.postgres.url == SERVICE["environment"]["DATABASE_URL"]
    assert config.redis.url == SERVICE["environment"]["REDIS_URL"]
    assert config.forge is None
    assert config.limit_of("disk") == 10


def test_a_service_without_a_database_has_none_to_look_at() -> None:
    config = read(None, {**SERVICE, "environment": {"KEY": "x"}})
    assert config.postgres.url is None
    assert config.redis.url is None


@pytest.mark.parametrize(
    ("value", "where"),
    [
        ({"hosts": {"disk_free_percent": 200}}, "checklist.hosts.disk_free_percent"),
        ({"host": {}}, "checklist.host"),
        ({"limits": {"disks": 3}}, "checklist.limits.disks"),
        ({"postgres": {"url_from": "DB"}}, "checklist.postgres.url_from"),
        ({"queues": [{"name": "jobs", "layout": "kafka"}]}, "checklist.queues[0].layout"),
        ({"queues": [{"name": "jobs", "layout": "celery", "min_workers": 1}]}, "checklist.queues[0].min_workers"),
        ({"queues": [{"name": "jobs", "layout": "rq", "prefix": "shop:"}]}, "checklist.queues[0].prefix"),
        ({"queues": [{"name": "j", "layout": "list", "keys": ["k"], "max_lost": 0}]}, "checklist.queues[0].max_lost"),
        ({"queues": [{"name": "jobs", "layout": "list"}]}, "checklist.queues[0].keys"),
        ({"queues": [{"name": "j", "layout": "prometheus", "queries": {}}]}, "checklist.queues[0].queries.depth"),
        ({"outgoing": [{"name": "push"}]}, "checklist.outgoing[0]"),
        ({"outgoing": [{"name": "push", "url": "ftp://x"}]}, "checklist.outgoing[0].url"),
        ({"certificates": [{"address": "a:443", "file": "/x"}]}, "checklist.certificates[0]"),
        ({"s3": {}}, "checklist.s3.bucket"),
        ({"forge": {"kind": "gitlab", "url": "https://x", "repository": "a/b"}}, "checklist.forge.kind"),
        ({"forge": {"kind": "gitea", "repository": "a/b"}}, "checklist.forge.url"),
        ({"forge": {"kind": "github", "repository": "shop"}}, "checklist.forge.repository"),
        ({"redis": {"evictions": "no"}}, "checklist.redis.evictions"),
        ({"waivers": [{"check": "disk"}]}, "checklist.waivers[0].reason"),
        ({"freeze": [{"zone": "Europe/Berlin"}]}, "checklist.freeze[0].from"),
        ({"waivers": {"check": "disk"}}, "checklist.waivers"),
    ],
)
def test_a_mistake_is_named_by_its_place(value: dict[str, Any], where: str) -> None:
    with pytest.raises(FaultsError) as caught:
        read(value)
    assert where in [fault.path for fault in caught.value.faults]


def test_all_mistakes_are_told_at_once_and_no_secret_is() -> None:
    value = {
        "hosts": {"clock_skew_s": "two"},
        "s3": {"bucket": "b", "secret_key": ["hunter2"]},
        "forge": {
            "kind": "gitea",
            "url": "https://user:hunter2@git.example.com",
            "repository": "a/b",
            "token": 42424242,
        },
    }
    with pytest.raises(FaultsError) as caught:
        read(value)
    text = str(caught.value)
    assert len(caught.value.faults) == 4
    assert "hunter2" not in text
    assert "42424242" not in text


def test_no_secret_is_in_a_repr() -> None:
    config = read(
        {
            "s3": {"bucket": "b", "access_key": "hunter1", "secret_key": "hunter2"},
            "forge": {"kind": "github", "repository": "a/b", "token": "hunter3"},
            "outgoing": [{"name": "push", "url": "https://push", "headers": {"Authorization": "hunter4"}}],
        }
    )
    assert "hunter" not in repr(config)
    assert "s3cret" not in repr(config)
    assert config.forge is not None
    assert "hunter" not in repr(open_forge("github", "https://x", "a/b", config.forge.token, limit_s=1))


def test_names_of_checks_are_plain_and_each_stands_once() -> None:
    assert len(set(NAMES)) == len(CATALOG)
    assert all(re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", name) for name in NAMES)


def test_the_lab_s_own_checklist_can_be_read() -> None:
    text = (ROOT / "inventories/lab/group_vars/all/checklist.yml").read_text()
    value = yaml.safe_load(re.sub(r"\"(https?://)?\{\{[^}]*\}\}", r'"\1x', text).replace('"x"', '"xx"'))["checklist"]
    value["s3"]["endpoint"] = "https://x"
    assert read(value).queues[0].layout == "list"


def test_redis_is_looked_at_by_a_user_for_that_where_one_is_given() -> None:
    config = read({"redis": {"user": "checklist", "password": "p@ss/word"}})
    assert config.redis.url == SERVICE["environment"]["REDIS_URL"]
    assert config.redis.look_url == "redis://checklist:p%40ss%2Fword@10.0.0.3:6379/0"
    assert "p%40ss" not in repr(config)
    assert read({}).redis.look_url == SERVICE["environment"]["REDIS_URL"]
