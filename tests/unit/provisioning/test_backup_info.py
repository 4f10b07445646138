"""What pgBackRest tells of a repository that it cannot read."""

from __future__ import annotations

import pytest
from ansible_collections.turnout.ops.plugins.modules import pgbackrest


def test_a_message_that_quotes_an_encrypted_file_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    said = b'[{"repo": [{"key": 2, "status": {"code": 99, "message": "outside of section at line 1: Salted__\xf4x"}}]}]'
    monkeypatch.setattr(pgbackrest, "must", lambda *_: said)
    assert pgbackrest.info("shop")["repo"][0]["status"]["code"] == 99
