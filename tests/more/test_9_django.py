"""A Django application that others wrote, from PyPI, by docs/applications/django.md alone: pretalx, with Celery.

Not on the lab: its release is built as the page says, and what `turnout init --like django` wrote starts it here.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tests" / "unit"))
from ports import free_port

BIN = Path(sys.executable).parent

PACKAGES = (
    "pretalx==2025.2.2",
    "gunicorn==27.0.1",
    "dj-database-url==3.1.2",
    "psycopg[binary]==3.3.9",
    "celery[redis]==5.5.3",
)
LIMIT_S = 900
# What a team writes: a project of its own around the application, as the page has it.
PROJECT = {
    "manage.py": """
        import os, sys
        os.environ.setdefault("DJANGO_SETTINGS_MODULE", "conference.settings")
        from django.core.management import execute_from_command_line
        execute_from_command_line(sys.argv)
        """,
    "conference/__init__.py": "",
    "conference/settings.py": """
        import os
        os.environ["PRETALX_CELERY_BROKER"] = os.environ["PRETALX_CELERY_BACKEND"] = os.environ.get("REDIS_URL", "")
        from pretalx.settings import *
        import dj_database_url
        SECRET_KEY = os.environ["SECRET_KEY"]
        DATABASES = {"default": dj_database_url.config()}
        ALLOWED_HOSTS = ["localhost"]
        SECURE_SSL_REDIRECT = os.environ.get("HTTPS_ONLY") != "no"
        SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
        ROOT_URLCONF = "conference.urls"
        """,
    "conference/urls.py": """
        from django.http import HttpResponse
        from django.urls import include, path
        urlpatterns = [path("healthz", lambda request: HttpResponse("ok")), path("", include("pretalx.urls"))]
        """,
    "conference/wsgi.py": """
        import os
        os.environ.setdefault("DJANGO_SETTINGS_MODULE", "conference.settings")
        from django.core.wsgi import get_wsgi_application
        application = get_wsgi_application()
        """,
    "conference/celery.py": """
        import os
        os.environ.setdefault("DJANGO_SETTINGS_MODULE", "conference.settings")
        from pretalx.celery_app import app
        """,
}


def run(*words: str | Path, **more: Any) -> str:
    """Run a command to its end, which must be good; return what it printed."""
    done = subprocess.run(
        [str(word) for word in words], capture_output=True, text=True, check=False, timeout=LIMIT_S, **more
    )
    assert done.returncode == 0, (words, done.stdout[-2000:], done.stderr[-2000:])
    return done.stdout


class Released:
    """The application's release and its service file."""

    def __init__(self, place: Path) -> None:
        self.folder, self.place = place / "conference", place
        words = ("--service", "conference", "--edge", "edge1=10.0.0.11", "--api", "edge1", "--worker", "edge1")
        run(BIN / "turnout", "init", place / "ops", "--like", "django", *words)
        written = (place / "ops/inventories/production/group_vars/all/service.yml").read_text()
        self.service: dict[str, Any] = yaml.safe_load(written)["service"]
        for name, text in PROJECT.items():
            path = self.folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(textwrap.dedent(text).lstrip())
        page = (ROOT / "docs/applications/django.md").read_text()
        settings = re.findall(r"^```yaml\n(name: .*?)^```$", page, re.MULTILINE | re.DOTALL)[0]
        (self.folder / "turnout-release.yml").write_text(settings.replace("name: shop", "name: conference"))
        run(sys.executable, "-m", "venv", place / "venv")
        run(place / "venv/bin/pip", "install", "-q", "--target", self.folder / "lib", *PACKAGES)
        own = {"PYTHONPATH", "XDG_RUNTIME_DIR"} & set(self.service["environment"])
        self.env = {
            **os.environ, **{name: self.service["environment"][name] for name in own}, "SECRET_KEY": "build",
            "DATABASE_URL": f"sqlite:///{place}/x.sqlite3", "PRETALX_DATA_DIR": str(place / "data"),
            "TURNOUT_COLOR": "blue", "STATE_DIRECTORY": str(place),
        }  # fmt: skip

    def words(self, command: str, **more: str) -> list[str]:
        """Return a command of the service file as systemd would start it here."""
        for name, value in {**self.env, **more}.items():
            command = command.replace(f"${{{name}}}", value)
        return shlex.split(command.replace("/usr/bin/python3", str(self.place / "venv/bin/python")).replace("%%", "%"))

    def manage(self, *words: str) -> str:
        """Run a command of manage.py as the service file calls it."""
        return run(*self.words(self.service["migrate"]["command"]), *words, cwd=self.folder, env=self.env)


@pytest.fixture(scope="module")
def released(tmp_path_factory: pytest.TempPathFactory) -> Released:
    """Return pretalx with all that it needs in lib/, as the page says."""
    return Released(tmp_path_factory.mktemp("django"))


def test_its_release_lists_the_migrations_that_django_would_apply(released: Released) -> None:
    names = {f"GIT_{who}_{what}": "a@example.org" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    for words in (("init", "-q"), ("add", "manage.py", "conference"), ("commit", "-qm", "1.0.0")):
        run("git", "-C", released.folder, *words, env={**os.environ, **names})
    key, out = released.place / "release.key", released.place / "dist"
    signers = released.place / "allowed_signers"
    run(
        BIN / "turnout", "release", "keygen", "--key", key, "--principal", "ci@example.org",
        "--allowed-signers", signers,
    )  # fmt: skip
    run(BIN / "turnout", "release", "build", released.folder, "--version", "1.0.0", "--key", key, "--out", out)
    manifest = yaml.safe_load((out / "conference-1.0.0.release.yml").read_text())
    planned = re.findall(r"^\[[X ]\]\s+(\S+)", released.manage("showmigrations", "--plan", "--no-color"), re.MULTILINE)
    listed = {one["id"] for one in manifest["migrations"]}
    assert len(planned) > 200
    assert set(planned) - listed == set()
    # What the service file sets, or the checklist refuses the release.
    assert manifest["environment"] == sorted(released.service["environment"])


@contextmanager
def api(released: Released, port: int) -> Iterator[subprocess.Popen[bytes]]:
    """Run the API as the service file has it."""
    words = released.words(released.service["api"]["command"], PORT=str(port))
    process = subprocess.Popen(words, cwd=released.folder, env=released.env)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def test_the_api_answers_the_question_about_its_health_and_ends_by_its_signal(released: Released) -> None:
    port = free_port()
    health = released.service["api"]["health"]
    released.manage("collectstatic", "--noinput")

    def status(headers: dict[str, str]) -> int:
        url = f"http://127.0.0.1:{port}{health['path']}"
        headers = {"Host": health["host"], **headers}
        return requests.get(url, headers=headers, timeout=60, allow_redirects=False).status_code

    with api(released, port) as process:
        deadline = time.monotonic() + LIMIT_S
        while process.poll() is None and time.monotonic() < deadline:
            try:
                assert status(health["headers"]) == 200
                break
            except requests.ConnectionError:
                time.sleep(0.5)
        assert process.poll() is None
        assert status({}) == 301  # SECURE_SSL_REDIRECT, of what the edge does not say is HTTPS
        process.terminate()
        assert process.wait(timeout=60) == 0


def test_celery_finds_the_application_by_the_commands_of_worker_and_scheduler(released: Released) -> None:
    for process in ("worker", "scheduler"):
        words = released.words(released.service[process]["command"])
        at = words.index("-A") + 2
        assert "pretalx" in run(*words[:at], "report", cwd=released.folder, env=released.env)
