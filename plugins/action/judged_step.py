"""Wait on an edge for the judge's decision about a share, while the edge guards itself; go back when it says so.

It runs once for every edge. The edge's own guard (`turnout.ops.guard`: HAProxy's health checks and 5xx) runs there
meanwhile and goes back by itself, whatever becomes of the judge, of Prometheus or of the controller. Here a second
thread waits for the judge; the way back is one command over the connection that is open already.
"""

from __future__ import annotations

import contextlib
import contextvars
import json
import os
import shlex
import threading
import time
from pathlib import Path

from ansible.errors import AnsibleError
from ansible.plugins.action import ActionBase
from ansible.utils.display import Display
from turnout.judge import meeting
from turnout.judge.steps import percent
from turnout.keeper import process_started

PROGRAM = "/usr/local/sbin/turnout-edge"
POLL_S = 0.05
STILL_S = 120.0  # a judge that has judged nothing for so long hangs; its own reads give up after seconds
GUARD_ENDS_S = 5.0  # how long the guard is waited for once it was told that the step is over
PROBES_S = 10.0  # one module's worth of synthetic requests: nothing that runs on an edge outlives its step by more
COLORS = ("blue", "green")
BACK = ("rollback", "undecided")


class ActionModule(ActionBase):
    """One step of a judged release on one edge."""

    TRANSFERS_FILES = False
    _VALID_ARGS = frozenset(
        {"run", "actor", "folder", "color", "share_bp", "longest_s", "guard", "poll_s", "shows", "probes"}
    )

    def run(self, tmp=None, task_vars=None):
        """Return once the judge has decided; failed where the release went back."""
        result = super().run(tmp, task_vars)
        if self._play_context.check_mode:
            return {**result, "changed": False, "skipped": True, "msg": "no judged steps in check mode"}
        args = self._task.args
        self._folder = Path(args["folder"])
        self._share_bp = int(args["share_bp"])
        self._parent = os.getppid()
        self._edge = str((task_vars or {}).get("inventory_hostname"))
        self._guard_result = None
        meeting.write(self._folder, meeting.STEP, {"share_bp": self._share_bp})
        guard = threading.Thread(
            target=contextvars.copy_context().run, args=(self._run_guard, dict(task_vars or {})), daemon=True
        )
        guard.start()
        self._over = threading.Event()
        if float(args["probes"]["per_s"]) > 0:
            threading.Thread(
                target=contextvars.copy_context().run, args=(self._run_probes, dict(task_vars or {})), daemon=True
            ).start()
        decision = self._wait()
        self._over.set()
        if decision["action"] in BACK:
            outcome = self._go_back(decision)
            guard.join(GUARD_ENDS_S)
        else:
            outcome = self._go_on(decision, guard)
        self._show()
        return {**result, **outcome}

    # The guard on the edge -----------------------------------------------------------------------------------------

    def _run_guard(self, task_vars):
        args = self._task.args
        try:
            self._guard_result = self._execute_module(
                module_name="turnout.ops.guard",
                module_args={
                    "run": args["run"],
                    "actor": args["actor"],
                    "color": args["color"],
                    "hold_s": float(args["longest_s"]),
                    "poll_s": float(args["poll_s"]),
                    "share_bp": self._share_bp,
                    **args["guard"],
                },
                task_vars=task_vars,
            )
        except AnsibleError as error:
            self._guard_result = {"unreachable": True, "msg": str(error)}
        except Exception as error:
            self._guard_result = {"failed": True, "msg": f"{type(error).__name__}: {error}"}

    def _run_probes(self, task_vars):
        """Send synthetic requests through this edge to both colors until the step is over."""
        probes = self._task.args["probes"]
        requests = [
            {**request, "headers": {**(request.get("headers") or {}), "X-Turnout-Color": color}}
            for request in json.loads(probes["requests"])
            for color in COLORS
        ]
        while not self._over.is_set():
            with contextlib.suppress(AnsibleError):
                self._execute_module(
                    module_name="turnout.ops.http",
                    module_args={
                        "base_url": probes["url"],
                        "requests": json.dumps(requests),
                        "validate_certs": probes["validate_certs"],
                        "timeout_s": 5,
                        "for_s": PROBES_S,
                        "per_s": float(probes["per_s"]) * len(COLORS),
                    },
                    task_vars=task_vars,
                )

    def _guard_fault(self):
        """Return what the end of the guard before its time means. Only a candidate that fails is a bad release."""
        found = self._guard_result or {"msg": "its guard did not end"}
        why = str(found.get("msg") or found.get("message") or "its guard ended without a word")
        return {"action": "rollback" if found.get("bad") else "undecided", "why": why}

    def _tell_the_others(self, fault):
        """Let every other edge go back too; return the fault as this edge's decision."""
        if meeting.read(self._folder, meeting.GUARD) is None:
            meeting.write(self._folder, meeting.GUARD, {"edge": self._edge, **fault})
        return fault

    # Waiting -------------------------------------------------------------------------------------------------------

    def _wait(self):
        """Return the decision of the judge, of an edge's guard, or about a judge that is gone."""
        while True:
            self._show()
            if self._guard_result is not None:
                return self._tell_the_others(self._guard_fault())
            guard = meeting.read(self._folder, meeting.GUARD)
            if guard is not None:
                return {"action": guard["action"], "why": f"{guard['edge']}: {guard['why']}"}
            decision = meeting.read(self._folder, meeting.DECISION)
            if decision is not None and (decision["action"] in BACK or decision["share_bp"] == self._share_bp):
                return decision
            gone = self._judge_gone()
            if gone:
                return {"action": "undecided", "why": gone, "share_bp": self._share_bp}
            time.sleep(POLL_S)

    def _judge_gone(self):
        """Return what is wrong with the judge's process, None while it judges."""
        if os.getppid() != self._parent:
            return "the playbook is gone"
        process = meeting.read(self._folder, meeting.PID) or {"pid": 0, "started": -1}
        if process_started(int(process["pid"])) != process["started"]:
            return f"the judge is gone; see {self._folder / meeting.LOG}"
        still_s = time.time() - (self._folder / meeting.JUDGEMENTS).stat().st_mtime
        if still_s > STILL_S:
            return f"the judge has judged nothing for {still_s:.0f} s; see {self._folder / meeting.LOG}"
        return None

    def _show(self):
        """Show what the judge tells people; one edge's task shows it, once."""
        if not self._task.args["shows"]:
            return
        mark = self._folder / "judge.shown"
        try:
            start = int(mark.read_text()) if mark.exists() else 0
            text = (self._folder / meeting.LINES).read_bytes()[start:]
        except (OSError, ValueError):
            return
        whole = text[: text.rfind(b"\n") + 1]
        if not whole:
            return
        for line in whole.decode("utf-8", "replace").splitlines():
            Display().display(f"{'':9}{line}")
        mark.write_text(str(start + len(whole)))

    # What is done --------------------------------------------------------------------------------------------------

    def _ask(self, *words):
        """Run turnout-edge on this edge; return its answer. An edge that cannot be reached is an answer too."""
        command = " ".join(shlex.quote(word) for word in (PROGRAM, "--quiet", *words))
        try:
            done = self._low_level_execute_command(command, sudoable=True)
        except AnsibleError as error:
            return {"ok": False, "error": {"observed": f"it could not be reached: {error}"}}
        try:
            return json.loads(done["stdout"])
        except ValueError:
            said = (done["stderr"] or done["stdout"]).strip()[-300:]
            return {"ok": False, "error": {"observed": f"no answer (exit {done['rc']}): {said}"}}

    def _named(self):
        return ("--run", str(self._task.args["run"]), "--actor", str(self._task.args["actor"]))

    def _go_on(self, decision, guard):
        """Tell the guard that the step is over, on the record, and see it end without a fault."""
        detail = json.dumps({key: decision[key] for key in ("action", "share_bp", "why")})
        said = self._ask("journal", "--event", "note", "--action", "verdict", f"--json={detail}", *self._named())
        guard.join(GUARD_ENDS_S + 2 * float(self._task.args["poll_s"]))
        result = self._guard_result or {"failed": True}
        if not said.get("ok"):
            why = (said.get("error") or {}).get("observed", "no answer")
            return self._go_back(self._tell_the_others({"action": "undecided", "why": why}))
        if result.get("failed") or result.get("unreachable"):
            return self._go_back(self._tell_the_others(self._guard_fault()))
        return {
            "changed": False,
            "decision": decision,
            "message": f"{decision['action']} at {percent(self._share_bp)}: {decision['why']}",
        }

    def _go_back(self, decision):
        """Take this edge's users off the candidate, in quarantine where it is bad, and fail with the reason."""
        began = time.monotonic()
        fault = decision["action"] == "rollback"
        words = [f"--quarantine={decision['why'] or fault}"] if fault else []
        back = self._ask("rollback", "--put-back", *words, *self._named())
        took_s = time.monotonic() - began
        said = back.get("message") or (back.get("error") or {}).get("observed") or "no answer"
        again = "\nto mend: see why it could not be judged, then deploy again; without the judge: -e canary=off"
        if fault:
            again = "\nto mend: release a version without the fault; " + (
                "this one is quarantined, and deploying it again needs -e 'again=\"the reason\"'"
                if back.get("quarantined")
                else "THIS ONE IS NOT IN QUARANTINE on this edge"
            )
        return {
            "failed": True,
            "changed": bool(back.get("changed")),
            "decision": decision,
            "msg": f"observed: {decision['action']} at {percent(self._share_bp)}: {decision['why']}\n"
            f"this edge went back in {took_s:.2f} s: {said}\n"
            f"expected: a release within its objectives; evidence: {self._folder / meeting.JUDGEMENTS}{again}",
        }
