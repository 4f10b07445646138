"""Ask a release its packs in a cage on a drill host, from the controller; the cage ends with this action."""

from __future__ import annotations

import hashlib
import json
import time
from datetime import UTC, datetime
from pathlib import Path

from ansible.plugins.action import ActionBase
from ansible.utils.display import Display
from turnout import beside_ansible
from turnout.acceptance.engine import VARIABLES, Asking, ask, host_header
from turnout.acceptance.record import Release, record
from turnout.acceptance.tunnel import Tunnel
from turnout.controller_action import plain
from turnout.errors import TurnoutError

FIRST_S = 90  # until somebody must have come to ask: the way of ssh takes seconds
MARGIN_S = 180  # the cage's own bound beyond what asking may take


class ActionModule(ActionBase):
    """Have the drill host restore and start the candidate, ask, and return the entry for the ledger."""

    TRANSFERS_FILES = False
    _supports_check_mode = False
    _supports_async = False
    _VALID_ARGS = frozenset({
        "plan", "release", "sha256", "manifest", "packs_folder", "packs", "document", "seconds", "keep_s", "folder",
        "host",
    })  # fmt: skip

    def run(self, tmp=None, task_vars=None):
        """Return the record, what a person is told, and the file of the evidence."""
        result = super().run(tmp, task_vars)
        args = plain(self._task.args)
        folder, keep_s = Path(args["folder"]), float(args.get("keep_s") or 0)
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        limit_s = float(args["seconds"])
        try:
            beside_ansible.see_connection("acceptance-connection", self._connection, self._play_context.password)
            plan = json.loads(args["plan"])
            plan["questions"] = {
                "uid": beside_ansible.uid(self), "first_s": FIRST_S, "limit_s": limit_s + keep_s + MARGIN_S,
            }  # fmt: skip
            outcome, said, lost = None, [], ""
            begun = self._drill("begun", {"plan": json.dumps(plan)}, task_vars)
            measured = begun.get("measured")
            if begun.get("asking"):
                outcome, said, lost = self._asked(args, begun["asking"], folder, keep_s)
                ended = self._drill("ended", {"ids": [plan["id"]]}, task_vars)
                measured, lost = ended.get("measured"), lost or self._lost(ended)
            elif measured is None:
                lost = self._lost(begun)
            else:
                self._drill("entered", {"ids": [plan["id"]]}, task_vars)
        except TurnoutError as error:
            return {**result, "failed": True, "msg": str(error), **error.as_dict()}
        release = Release(str(args["release"]), str(args["sha256"]))
        entry = record(release, measured, outcome, now=datetime.now(UTC), lost=lost)
        evidence = folder / "acceptance.json"
        text = json.dumps({"format": 1, "record": entry, "outcome": outcome, "cage": measured}, indent=2) + "\n"
        evidence.write_text(text, encoding="utf-8")
        entry["evidence_sha256"] = hashlib.sha256(text.encode()).hexdigest()
        return {**result, "changed": True, "record": entry, "said": said, "evidence": str(evidence)}

    def _asked(self, args, paths, folder, keep_s):
        """Return outcome, words and what went wrong, of the candidate that may be asked now."""
        host = beside_ansible.host_of(self._connection)
        tunnel = Tunnel(host, folder / "ssh.log", paths["api"], paths["held"])
        try:
            tunnel.open(lambda *more: beside_ansible.words(self._connection, *more))
            asking = Asking(
                Path(args["packs_folder"]), tunnel.url, args.get("packs") or [], args.get("document") or "",
                Path(args["manifest"]), headers=host_header(args.get("host")),
            )  # fmt: skip
            outcome, said, lost = ask(asking, folder, float(args["seconds"]))
            if not tunnel.alive():
                lost = lost or f"the way to the cage on {host} was lost: {folder / 'ssh.log'}"
            if keep_s and outcome is not None and outcome["findings"]:
                self._keep(said, folder, keep_s)
        except TurnoutError as error:
            return None, [], " ".join(str(error).split())
        finally:
            tunnel.close()
        return outcome, said, lost

    def _keep(self, said, folder, keep_s):
        """Let the cage stay, for the commands that repeat what was found."""
        display = Display()
        for line in (*said, f"the cage stays for {keep_s:g} s; before a command: . {folder / VARIABLES}"):
            display.display(line)
        time.sleep(keep_s)

    def _drill(self, state, options, task_vars):
        return self._execute_module("turnout.ops.drill", module_args={"state": state, **options}, task_vars=task_vars)

    @staticmethod
    def _lost(answer):
        """Return why the drill host gave no record, or nothing where it did."""
        if answer.get("measured"):
            return ""
        said = answer.get("msg") or "no answer"
        return f"the drill host was lost: {said}" if answer.get("unreachable") else str(said)
