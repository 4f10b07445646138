"""pretalx on the lab: a Django application with Celery that others wrote, deployed by docs/applications/django.md.

The project around it counts: a page puts a task into Celery's queue and a row beside it, and the task counts in that
row. So every job is seen that went in, and how often it was done.
"""

from __future__ import annotations

import re
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from foreign_bed import Team, own_hosts, run
from harness import refused
from test_9_django import PACKAGES, PROJECT, ROOT

# On a route with work of the database each; the last one is a job.
MIX = "get:/orga/login/=2,get:/api/events/=4,get:/jobs/=2,get:/jobs/add=2"
RATE = 15.0
HISTORY_S = 10  # of the release in service, before another is judged beside it
VISIBLE_S = 60  # until Celery gives away again what a killed worker had fetched and not begun
PAGE = (ROOT / "docs/applications/django.md").read_text()
FILES = {
    ".gitignore": "/lib/\n",
    "conference/settings.py": PROJECT["conference/settings.py"]
    + f"""
        INSTALLED_APPS = [*INSTALLED_APPS, "conference"]
        MIDDLEWARE = ["conference.told.told", *MIDDLEWARE]
        CELERY_BROKER_TRANSPORT_OPTIONS = {{"visibility_timeout": {VISIBLE_S}}}
        """,
    "conference/told.py": """
        import os

        def told(get_response):
            def respond(request):
                response = get_response(request)
                response["X-Release"] = os.environ["TURNOUT_RELEASE"]
                response["X-Turnout-Color"] = os.environ["TURNOUT_COLOR"]
                return response
            return respond
        """,
    # The page's way back for rehearsals.
    **dict.fromkeys(("conference/management/__init__.py", "conference/management/commands/__init__.py"), ""),
    "conference/management/commands/migrate_back.py": re.findall(
        r"^(    from django.core.management import BaseCommand.*?)^\n(?=\S)", PAGE, re.MULTILINE | re.DOTALL
    )[0],
    "conference/models.py": """
        from django.db import models

        class Job(models.Model):
            taken_by = models.CharField(max_length=40, default="")
            done = models.PositiveIntegerField(default=0)
        """,
    "conference/tasks.py": """
        import os, time
        from celery import shared_task
        from django.db.models import F
        from conference.models import Job

        @shared_task
        def work(job):
            Job.objects.filter(pk=job).update(taken_by=os.environ["TURNOUT_RELEASE"])
            time.sleep(0.3)
            Job.objects.filter(pk=job).update(done=F("done") + 1)
        """,
    "conference/urls.py": """
        import os
        from django.http import HttpResponse
        from django.urls import include, path
        from conference.models import Job
        from conference.tasks import work

        def add(request):
            job = Job.objects.create()
            work.delay(job.pk)
            return HttpResponse(str(job.pk))

        def jobs(request):
            newest = Job.objects.order_by("-pk")[:int(os.environ.get("JOBS_SHOWN", "10"))]
            return HttpResponse(" ".join(str(job.pk) for job in newest))

        def healthz(request):
            return HttpResponse("ok")

        urlpatterns = [
            path("healthz", healthz), path("jobs/", jobs), path("jobs/add", add), path("", include("pretalx.urls")),
        ]
        """,
    "conference/migrations/__init__.py": "",
    "conference/migrations/0001_jobs.py": """
        from django.db import migrations, models

        class Migration(migrations.Migration):
            initial = True
            dependencies = []
            operations = [
                migrations.CreateModel("Job", [
                    ("id", models.AutoField(primary_key=True, serialize=False)),
                    ("taken_by", models.CharField(max_length=40, default="")),
                    ("done", models.PositiveIntegerField(default=0)),
                ]),
            ]
        """,
}


def adds(field: str, after: str) -> str:
    """Return the text of a migration that adds a field."""
    return f"""
        from django.db import migrations, models

        class Migration(migrations.Migration):
            dependencies = [("conference", "{after}")]
            operations = [migrations.AddField("job", "{field}", models.CharField(max_length=40, null=True))]
        """


# What the releases change; each is a file's whole text.
NOTE = {
    "conference/models.py": FILES["conference/models.py"]
    + """
            note = models.CharField(max_length=40, null=True)
        """,
    "conference/migrations/0002_note.py": adds("note", "0001_jobs"),
}
NO_ANSWER = {
    "conference/urls.py": FILES["conference/urls.py"].replace(
        'return HttpResponse("ok")', "__import__('time').sleep(3600)"
    )
}
# Once it is ready it serves for a while, and dies with what it holds.
DIES = {
    "conference/celery.py": PROJECT["conference/celery.py"]
    + """
        import threading
        from celery.signals import worker_ready
        worker_ready.connect(lambda **_: threading.Timer(4, os._exit, [1]).start(), weak=False)
        """
}
ALREADY = {"conference/migrations/0003_place.py": adds("place", "0002_note")}


class Conference(Team):
    """pretalx's team."""

    def __init__(self, machines: Any, place: Path) -> None:
        super().__init__(machines, place, "conference")
        self.folder = place / "conference"
        self.begin("django")
        (text,) = re.findall(r"^```yaml\n(name: .*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
        settings = yaml.safe_load(text) | {"name": "conference"}
        settings["environment"] += ["PRETALX_DATA_DIR", "HTTPS_ONLY"]
        self.lay({"turnout-release.yml": yaml.safe_dump(settings)})
        self.lay({**PROJECT, **FILES})
        # The hosts' Python, which the page wants, is Debian 13's.
        hosts = machines.ssh("app1", "python3 -c 'import sys; print(*sys.version_info[:2], sep=\".\")'").strip()
        assert f"{sys.version_info[0]}.{sys.version_info[1]}" == hosts, f"run these tests by Python {hosts}"
        run([sys.executable, "-m", "venv", place / "venv"])
        run([place / "venv/bin/pip", "install", "-q", "--target", self.folder / "lib", *PACKAGES])
        collects = {"PYTHONPATH": "lib", "SECRET_KEY": "build", "PRETALX_DATA_DIR": str(place / "data")}
        run(
            [place / "venv/bin/python", "manage.py", "collectstatic", "--noinput"], cwd=self.folder,
            env={**self.env, **collects},
        )  # fmt: skip
        # What only this team knows of its application.
        self.change_service(
            directories=[{"path": "/var/lib/conference/data", "hosts": "each"}],
            environment={"PRETALX_DATA_DIR": "/var/lib/conference/data", "HTTPS_ONLY": "no"},
            migrate={
                "down": "/usr/bin/python3 manage.py migrate_back",
                "environment": {"PRETALX_DATA_DIR": "/tmp/pretalx"},  # noqa: S108 - a /tmp of its own
            },
            smoke=[{"path": "/healthz", "status": 200}, {"path": "/api/events/", "status": 200}],
        )
        looked_at = {
            "queues": [{"name": "celery", "layout": "celery", "held_s": VISIBLE_S}],
            "environment": {"extra": ["JOBS_SHOWN"]},
        }
        self.edit("checklist.yml", lambda content: content["checklist"].update(looked_at))
        self.drill_check("jobs_done_once", "SELECT id, done FROM conference_job WHERE done > 1")

    def lay(self, files: dict[str, str]) -> None:
        """Write files of the project."""
        for name, text in files.items():
            path = self.folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(textwrap.dedent(text).lstrip())

    def release(self, version: str, *changes: dict[str, str]) -> None:
        """Publish a version of the project with these changes, and take the changes back."""
        whole = {**PROJECT, **FILES}
        changed = {name: text for change in changes for name, text in change.items()}
        self.lay(changed)
        self.publish(self.folder, version)
        for name in changed:
            (self.folder / name).unlink()
            self.lay({name: whole[name]} if name in whole else {})

    def lost(self, of: str = "") -> list[str]:
        """Return the jobs that were not done exactly once, but for those that died with a worker of release `of`."""
        query = "SELECT id, taken_by, done FROM conference_job WHERE done <> 1 ORDER BY id"
        deadline = time.monotonic() + 3 * VISIBLE_S
        while True:
            found = self.sql(query).splitlines()
            open_ = [line for line in found if not of or line.split("|")[1:] != [of, "0"]]
            if not open_ or time.monotonic() > deadline:
                total = self.sql("SELECT count(*) FROM conference_job")
                print(f"{total} jobs, not done exactly once: {found}", file=sys.stderr)
                return open_
            time.sleep(2)


@pytest.fixture(scope="module")
def conference(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Conference]:
    """Return pretalx's team with hosts that are set up, and 1.0.0 in service."""
    place = tmp_path_factory.mktemp("conference")
    with own_hosts("django", place, nth=2) as machines:
        team = Conference(machines, place)
        team.release("1.0.0")
        team.first_release("1.0.0")
        yield team


def test_it_is_rehearsed_released_under_load_and_taken_back_by_hand(conference: Conference) -> None:
    team = conference
    team.release("1.1.0", NOTE)
    assert "up took" in team.playbook("migration_check", "-e", "release=1.1.0").out
    with team.load(RATE, MIX, host="localhost") as load:
        time.sleep(HISTORY_S)
        run = team.deploy("1.1.0")
        assert "api-availability" in run.out
        assert team.stable()["release"] == "1.1.0"
        team.playbook("rollback")
        assert team.stable()["release"] == "1.0.0"
        time.sleep(2)
    report = load.report
    assert report["failed"] == 0, (report["failures"], report["samples"])
    assert set(report["releases"]) == {"1.0.0", "1.1.0"}
    assert team.lost() == []


@pytest.mark.parametrize(
    ("version", "fault", "told"),
    [
        ("1.2.1", NO_ANSWER, "health"),
        ("1.2.2", DIES, "worker-jobs"),
        ("1.2.3", ALREADY, "already exists"),
    ],
    ids=["api", "worker", "migration"],
)
def test_a_broken_release_goes_back_by_itself_and_costs_no_request(
    conference: Conference, version: str, fault: dict[str, str], told: str
) -> None:
    team = conference
    team.release(version, NOTE, fault)
    before = team.stable()
    if fault is ALREADY:  # somebody was there by hand
        team.sql("ALTER TABLE conference_job ADD place text")
    with team.load(RATE, MIX, host="localhost") as load:
        time.sleep(HISTORY_S)
        run = team.deploy(version, good=False)
        if fault is ALREADY:  # the application's own traceback is shown, behind its first error
            assert told in run.out.rpartition("First cause")[2].splitlines()[1], run.tail
        else:
            refused(run, told)
        assert team.stable() == before
        time.sleep(2)
    report = load.report
    assert report["failed"] == 0, (report["failures"], report["samples"])
    if fault is not DIES:  # which may answer users, well, until its worker is seen to die
        assert set(report["releases"]) == {before["release"]}
    assert team.lost(version) == []


def test_a_bad_variable_goes_back_by_itself_and_fails_its_own_requests_alone(conference: Conference) -> None:
    team = conference
    before = team.stable()
    team.change_service(environment={"JOBS_SHOWN": "ten"})
    try:
        with team.load(RATE, MIX, host="localhost") as load:
            time.sleep(HISTORY_S)
            run = team.deploy(before["release"], good=False)
            refused(run, "went back")
            assert "differs in: environment.JOBS_SHOWN" in run.out
            assert team.stable() == before
            time.sleep(2)
    finally:
        team.change_service(environment={"JOBS_SHOWN": None})
    report = load.report
    assert set(report["failures"]) == {"status-500"}
    assert {one["kind"] for one in report["samples"]} == {"get:/jobs/"}
    color = team.machines.edge("edge1")["stable"]
    assert report["colors"][color]["failed"] == 0, report["samples"]
    assert team.lost() == []


def test_a_drill_starts_it_on_restored_data(conference: Conference) -> None:
    team = conference
    assert team.lost() == []
    team.drill()
