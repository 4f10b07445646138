"""Ask what only reads of a candidate through this edge, from the controller."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

from ansible.plugins.action import ActionBase
from turnout import beside_ansible
from turnout.acceptance.engine import OUTCOME, Asking, ask, host_header
from turnout.acceptance.tunnel import Tunnel
from turnout.controller_action import plain
from turnout.errors import TurnoutError

COLOR = "X-Turnout-Color"
GRACE_S = 20  # beyond what asking may take: to load the packs' tools, and to write down what was found


class ActionModule(ActionBase):
    """Ask; what is not known is told, and stops nothing: the cage is where that counts."""

    TRANSFERS_FILES = False
    _supports_check_mode = False
    _supports_async = False
    _VALID_ARGS = frozenset({
        "address", "verify", "color", "host", "packs_folder", "packs", "document", "seconds", "folder",
    })  # fmt: skip

    def run(self, tmp=None, task_vars=None):
        """Return the findings, what a person is told, and the file of the outcome."""
        result = super().run(tmp, task_vars)
        args = plain(self._task.args)
        folder, seconds = Path(args["folder"]), float(args["seconds"])
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        try:
            outcome, said, why = self._asked(args, folder, seconds)
            if outcome is None:
                raise TurnoutError(
                    "acceptance-reading",
                    observed=why,
                    expected=f"a candidate that is asked through this edge within {seconds + GRACE_S:g} s",
                    remedy="what is named here; or service.acceptance.reading: false",
                )
        except TurnoutError as error:
            return {**result, "failed": True, "msg": str(error), **error.as_dict()}
        findings = [f"{one['operation']}, {one['field']}: {one['what']}" for one in outcome["findings"]]
        told = said if findings else said[-1:]
        return {**result, "changed": False, "findings": findings, "said": told, "evidence": str(folder / OUTCOME)}

    def _asked(self, args, folder, seconds):
        """Return outcome, words and why there is no outcome."""
        connection = self._connection
        beside_ansible.see_connection("acceptance-connection", connection, self._play_context.password)
        parts = urlsplit(args["address"])
        to = f"{parts.hostname}:{parts.port or {'http': 80, 'https': 443}[parts.scheme]}"
        tunnel = Tunnel(beside_ansible.host_of(connection), folder / "ssh.log", to, scheme=parts.scheme)
        try:
            tunnel.open(lambda *more: beside_ansible.words(connection, *more))
            asking = Asking(
                Path(args["packs_folder"]), tunnel.url, args.get("packs") or [], args.get("document") or "",
                reading=True, headers={COLOR: str(args["color"]), **host_header(args.get("host"))}, seconds=seconds,
                verify=bool(args.get("verify", True)),
            )  # fmt: skip
            return ask(asking, folder, seconds, GRACE_S)
        finally:
            tunnel.close()
