"""Action plugin: see when a scheduler's entries are due, wait for a gap to hand it over in, tell what fell into one."""

from __future__ import annotations

import json
import time

from ansible.plugins.action import ActionBase
from turnout import due
from turnout.keys import Wrong

READ_S = 3  # seconds that a host has to read what a library shows
POLL_S = 2.0


class ActionModule(ActionBase):
    """It never fails: whether entries are known or not, the handover goes on, and what is not known is told."""

    TRANSFERS_FILES = False
    _VALID_ARGS = frozenset({"state", "service", "scheduler", "color", "ca_file", "since"})

    def run(self, tmp=None, task_vars=None):
        """Return `due` (entries with their times), `now`, `shown`, `waited_s`, and `told` for a person."""
        result = super().run(tmp, task_vars)
        self._vars = task_vars
        args = self._task.args
        scheduler = args["scheduler"] or {}
        self._declared, self._zone = list(scheduler.get("due") or ()), str(scheduler.get("zone") or "UTC")
        try:
            found = self._missed(args["since"]) if args["state"] == "missed" else self._look(args, scheduler)
        except (Wrong, ValueError, TypeError, KeyError) as error:  # a rollback's service file has been read by nobody
            found = {"told": f"the schedule is not known: service.scheduler cannot be read ({error})"}
        return {**result, "changed": False, "due": [], "told": "", **found}

    def _look(self, args, scheduler):
        wait_s = float(scheduler.get("wait_s", 120)) if args["state"] == "gap" else 0.0
        gap_s, began, waited = float(scheduler.get("gap_s", 15)), time.monotonic(), False
        while True:
            seen = self._seen(args, scheduler)
            waited_s = time.monotonic() - began
            if args["state"] != "gap":
                return {"now": seen["now"], "shown": seen["entries"], "told": seen["problem"]}
            begin_s, end_s = seen["now"] - due.LATE_S, seen["now"] + gap_s
            soon = due.within(self._declared, self._zone, seen["entries"], begin_s, end_s)
            untold = due.untold(seen["entries"], seen["now"])
            if not soon and not untold:
                told = f"waited {waited_s:.0f} s for a gap of {gap_s:g} s in the schedule" if waited else ""
                return {
                    "now": seen["now"],
                    "waited_s": waited_s,
                    "told": "; ".join(filter(None, (told, seen["problem"]))),
                }
            if waited_s + POLL_S > wait_s:
                words = [due.told(soon)] if soon else []
                words += [f"{name}, whose next time is not told" for name in untold]
                told = f"no gap of {gap_s:g} s within {wait_s:g} s, so the scheduler changes color now; due meanwhile: "
                told += f"{'; '.join(words)}; a scheduler that does not catch up loses these"
                return {"now": seen["now"], "waited_s": waited_s, "due": soon, "told": told}
            time.sleep(POLL_S)
            waited = True

    def _seen(self, args, scheduler):
        """Return the host's clock, the entries that its library shows, and why they are not known."""
        arguments = {name: args.get(name) for name in ("service", "color", "ca_file")}
        arguments |= {"shown_by": scheduler.get("shown_by"), "redis_from": scheduler.get("redis_from") or "REDIS_URL"}
        probe = {"id": "due", "kind": "due", "limit_s": READ_S, "arguments": arguments}
        said = self._execute_module(
            module_name="turnout.ops.probe", module_args={"probes": json.dumps([probe])}, task_vars=self._vars
        )
        answer = (said.get("answers") or {}).get("due") or {
            "problem": {"text": said.get("msg", "the host gave no answer")}
        }
        if answer.get("ok"):
            return {"problem": "", **answer["data"]}
        problem = f"the schedule is not known ({answer['problem']['text']}), so nothing was waited for"
        return {"now": time.time(), "entries": [], "problem": problem}

    def _missed(self, since):
        if "now" not in since:
            return {"told": since.get("told", "")}
        now = time.time()
        missed = due.within(self._declared, self._zone, since.get("shown") or [], float(since["now"]), now)
        words = [f"due while no scheduler ran: {due.told(missed)}"] if missed else []
        if untold := due.untold(since.get("shown") or [], float(since["now"])):
            words.append(f"and perhaps {', '.join(untold)}, whose next time was not told")
        told = (
            "; ".join([*words, "enqueue these by hand, unless the scheduler catches up"])
            if words
            else since.get("told", "")
        )
        return {"due": missed, "told": told}
