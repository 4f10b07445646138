"""Start the judge of this run on the controller, before any share moves, and tell it when it is over."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from pathlib import Path

from ansible.plugins.action import ActionBase
from turnout.errors import TurnoutError
from turnout.judge import meeting, story
from turnout.judge.report import share_line
from turnout.keeper import process_started

READY_LIMIT_S = 180  # far above what the judge itself waits for; only a judge that hangs meets it


class ActionModule(ActionBase):
    """`state: begun` starts `python -m turnout.judge.process` and waits until it sees everything; `moving`; `ended`."""

    TRANSFERS_FILES = False
    _requires_connection = False
    _VALID_ARGS = frozenset(
        {"state", "run", "folder", "service", "stable", "candidate", "since_s", "release", "differs", "share_bp"}
    )

    def run(self, tmp=None, task_vars=None):
        """Return the judge's notes, or fail with what it cannot see."""
        result = super().run(tmp, task_vars)
        if self._play_context.check_mode:
            return {**result, "changed": False, "skipped": True, "msg": "no judge in check mode"}
        folder = Path(self._task.args["folder"])
        if self._task.args.get("state") == "ended":
            meeting.write(folder, meeting.END, {})
            return {**result, "changed": False, "share": self._share(folder)}
        if self._task.args.get("state") == "moving":
            meeting.write(folder, meeting.STEP, {"share_bp": int(self._task.args["share_bp"]), "moving": True})
            return {**result, "changed": False}
        return {**result, **self._begin(folder)}

    @staticmethod
    def _share(folder):
        """Return what the requests said of the candidate's share, in one line; no reason to fail a release."""
        with contextlib.suppress(OSError, TurnoutError):
            return share_line(story.read(folder, {}).judgements)
        return "-"

    def _begin(self, folder):
        args = self._task.args
        judge = args["service"]["judge"]
        parent = os.getppid()
        meeting.tell(
            folder,
            meeting.Told(
                run=args["run"],
                prometheus=judge["prometheus"],
                slos=judge["slos"],
                stable=args["stable"],
                candidate=args["candidate"],
                shares_bp=tuple(int(step["share_bp"]) for step in args["service"]["steps"]),
                patience_s=float(judge["patience_s"]),
                bake_s=float(judge["bake_s"]),
                probes_per_s=float(judge["probes_per_s"]),
                since_s=float(args.get("since_s") or 0.0),
                parent_pid=parent,
                parent_started=process_started(parent),
                release=str(args.get("release") or ""),
                differs=", ".join(map(str, args.get("differs") or ())),
            ),
        )
        with (folder / meeting.LOG).open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "turnout.judge.process", str(folder)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                close_fds=True,
            )
        return self._wait(folder, process)

    def _wait(self, folder, process):
        deadline = time.monotonic() + READY_LIMIT_S
        while True:
            ended = process.poll() is not None
            said = meeting.read(folder, meeting.READY)
            if said is not None:
                break
            if ended or time.monotonic() > deadline:
                process.kill()
                text = (folder / meeting.LOG).read_text(encoding="utf-8", errors="replace")[-500:]
                return {
                    "failed": True,
                    "msg": f"observed: the judge {'ended' if ended else 'was not ready'} before the release began: "
                    f"{text.strip().splitlines()[-1] if text.strip() else 'it said nothing'}\n"
                    f"expected: a judge that reads Prometheus; to mend: see {folder / meeting.LOG}, "
                    "or release without it: -e canary=off",
                }
            time.sleep(0.05)
        if said.get("error"):
            return {
                "failed": True,
                "msg": f"{said['error']}\nNo traffic has moved. To release without the judge: -e canary=off",
            }
        meeting.write(folder, meeting.PID, {"pid": process.pid, "started": process_started(process.pid)})
        return {"changed": False, "notes": said["notes"], "judge_pid": process.pid}
