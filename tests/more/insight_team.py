"""Superset, from PyPI, as a team has it: a package of its own around the application, and the service file.

Superset asks for a pandas without wheels for Python 3.13: `insight/requirements.txt` is the whole list, with a newer
pandas and numpy, and the package gives numpy two names back that Superset uses. A page puts a task into Celery's queue
and a row beside it, and the task counts in that row. So every job is seen that went in, and how often it was done.
"""

from __future__ import annotations

import re
import subprocess
import sys
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
REQUIREMENTS = Path(__file__).parent / "insight/requirements.txt"
PAGE = (ROOT / "docs/applications/python.md").read_text()
LIMIT_S = 900
VISIBLE_S = 60  # until Celery gives away again what a killed worker had fetched and not begun
VERSIONS = "lib/superset/migrations/versions"
HEAD = "4b2a8c9d3e1f"  # Superset's own last revision
FILES = {
    "superset_config.py": f"""
        import os
        import tempfile

        SECRET_KEY = os.environ["SECRET_KEY"]
        DATA_DIR = os.path.join(tempfile.gettempdir(), "superset")
        SQLALCHEMY_DATABASE_URI = os.environ["DATABASE_URL"]
        TALISMAN_ENABLED = False


        class CELERY_CONFIG:
            broker_url = result_backend = os.environ["REDIS_URL"]
            imports = ("superset.sql_lab", "insight.tasks")
            task_ignore_result = True
            broker_transport_options = {{"visibility_timeout": {VISIBLE_S}}}
        """,
    "insight/__init__.py": """
        import numpy

        numpy.product, numpy.NaN = numpy.prod, numpy.nan
        """,
    "insight/web.py": """
        import os
        import time

        from sqlalchemy import text
        from superset.app import create_app
        from superset.extensions import db

        app = create_app()


        @app.route("/healthz")
        def healthz():
            return "ok"


        @app.route("/slow")
        def slow():
            time.sleep(3)
            return "ok"


        @app.route("/jobs/")
        def jobs():
            shown = int(os.environ.get("JOBS_SHOWN", "10"))
            rows = db.session.execute(text("SELECT id FROM insight_job ORDER BY id DESC LIMIT :n"), {"n": shown})
            return " ".join(str(row.id) for row in rows)


        @app.route("/jobs/add")
        @app.route("/jobs/add/<float:seconds>")
        def add(seconds=0.3):
            from insight.tasks import work

            job = db.session.execute(text("INSERT INTO insight_job DEFAULT VALUES RETURNING id")).scalar()
            db.session.commit()
            work.delay(job, seconds)
            return str(job)


        @app.after_request
        def told(response):
            response.headers["X-Release"] = os.environ["TURNOUT_RELEASE"]
            response.headers["X-Turnout-Color"] = os.environ["TURNOUT_COLOR"]
            return response
        """,
    "insight/tasks.py": """
        import os
        import time

        from sqlalchemy import text
        from superset.extensions import celery_app, db


        def change(query, **values):
            with db.engine.begin() as connection:
                connection.execute(text(query), values)


        @celery_app.task(name="insight.work")
        def work(job, seconds):
            change("UPDATE insight_job SET taken_by = :by WHERE id = :id", by=os.environ["TURNOUT_RELEASE"], id=job)
            time.sleep(seconds)
            change("UPDATE insight_job SET done = done + 1 WHERE id = :id", id=job)
        """,
    "insight/worker.py": """
        from superset.tasks.celery_app import app
        """,
    f"{VERSIONS}/insight_1_jobs.py": f"""
        import sqlalchemy as sa
        from alembic import op

        revision = "insight_1"
        down_revision = "{HEAD}"


        def upgrade():
            op.create_table(
                "insight_job",
                sa.Column("id", sa.Integer(), primary_key=True),
                sa.Column("taken_by", sa.Text(), server_default="", nullable=False),
                sa.Column("done", sa.Integer(), server_default="0", nullable=False),
            )


        def downgrade():
            op.drop_table("insight_job")
        """,
}
# What the team says to `turnout init --like python`, and what it then changes in the service file.
OPTIONS = (
    "--api-command",
    "/usr/bin/python3 -m gunicorn insight.web:app --bind 0.0.0.0:${PORT} --workers 2 --graceful-timeout 30 --preload",
    "--worker-command",
    "/usr/bin/python3 -m celery -A insight.worker worker --hostname ${TURNOUT_COLOR}@%%h --concurrency 2",
    "--scheduler-command",
    "/usr/bin/python3 -m celery -A insight.worker beat --schedule ${STATE_DIRECTORY}/celerybeat-schedule",
)
FLASK = "/usr/bin/python3 -m flask --app insight.web:app db"
CHANGES: dict[str, Any] = {
    "api": {"health": {"deadline_s": 120}},
    "migrate": {"command": FLASK, "down": f"{FLASK} downgrade", "timeout_s": 600},
}


def adds(field: str, number: int) -> dict[str, str]:
    """Return the team's revision of that number, file and text, which adds a column to the jobs."""
    text = f"""
        import sqlalchemy as sa
        from alembic import op

        revision = "insight_{number}"
        down_revision = "insight_{number - 1}"


        def upgrade():
            op.add_column("insight_job", sa.Column("{field}", sa.Text(), nullable=True))


        def downgrade():
            op.drop_column("insight_job", "{field}")
        """
    return {f"{VERSIONS}/insight_{number}_{field}.py": text}


def run(*words: str | Path, **more: Any) -> str:
    """Run a command to its end, which must be good; return what it printed."""
    done = subprocess.run(
        [str(word) for word in words], capture_output=True, text=True, check=False, **{"timeout": LIMIT_S, **more}
    )
    assert done.returncode == 0, (words, done.stdout[-2000:], done.stderr[-3000:])
    out: str = done.stdout
    return out


def lay(folder: Path, files: Mapping[str, str]) -> None:
    """Write files of the project."""
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text).lstrip())


def project(folder: Path, venv: Path) -> None:
    """Lay the project with all that it needs in lib/, as the page says; the interpreter in `venv` is the hosts'."""
    run(sys.executable, "-m", "venv", venv)
    lib = folder / "lib"
    run(venv / "bin/pip", "install", "-q", "--no-compile", "--no-deps", "--target", lib, "-r", REQUIREMENTS)
    (settings,) = re.findall(r"^```yaml\n(name: .*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    asks = yaml.safe_load(settings) | {"name": "insight", "migrations": "lib/superset/migrations"}
    lay(folder, FILES | {".gitignore": "/lib/\n", "turnout-release.yml": yaml.safe_dump(asks)})
    (ignored,) = re.findall(r"^- `\.turnoutignore`: `([^`]+)`", PAGE, re.MULTILINE)
    (folder / ".turnoutignore").write_text(ignored + "\n")
    (compiles,) = re.findall(r"^    python3 (-m compileall [^#\n]+?) +#", PAGE, re.MULTILINE)
    compiles = compiles.replace(" shop", " insight")
    run(venv / "bin/python", *compiles.split(), cwd=folder)
