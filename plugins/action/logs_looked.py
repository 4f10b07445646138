"""Say what must not be in a service's logs, and put together what hosts found, on the controller."""

from __future__ import annotations

import json
import secrets
from pathlib import Path
from typing import ClassVar

from ansible_collections.turnout.ops.plugins.module_utils.log_scan import digest, words
from turnout import log_findings
from turnout.controller_action import ControllerAction
from turnout.service import load, read_json


class ActionModule(ControllerAction):
    """Make the question for the hosts; with `told`, the report."""

    spec: ClassVar = {
        "service": {"type": "str", "required": True, "no_log": True},
        "inventory_dir": {"type": "path", "required": True},
        "told": {"type": "dict"},
        "hours": {"type": "float", "default": 24.0},
        "format": {"type": "str", "choices": ["table", "json"], "default": "table"},
    }

    def perform(self, params):
        """Return the question, or what was found. Raises TurnoutError for a service file with faults."""
        if params["told"] is None:
            return self._question(load(read_json(params["service"]), base_dir=Path(params["inventory_dir"])))
        seen = log_findings.collect({host: one or {} for host, one in params["told"].items()})
        as_json = params["format"] == "json"
        report = json.dumps(seen, indent=2, sort_keys=True) if as_json else log_findings.render(seen, params["hours"])
        error = log_findings.failure(seen)
        result = {"report": report, "seen": seen}
        return result if error is None else {**result, "failed": True, "msg": str(error), **error.as_dict()}

    @staticmethod
    def _question(service):
        salt = secrets.token_hex(32)
        hidden = [
            {"name": name, "words": [digest(word, salt) for word in words(value)]}
            for name, value in log_findings.secrets(service)
        ]
        logs = service.logs
        question = {
            "salt": salt, "secrets": [one for one in hidden if one["words"]], "patterns": dict(logs.patterns),
            "ignore": list(logs.ignore), "files": list(logs.files),
        }  # fmt: skip
        return {"question": json.dumps(question)}
