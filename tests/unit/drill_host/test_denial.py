"""Whether a repository is read-only for these credentials: a clear denial alone says so."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from turnout_drill import engine as engines
from turnout_drill import prerequisites
from turnout_drill.denial import is_denial
from turnout_drill.engine import Engine, Refusals
from turnout_drill.place import Place
from turnout_drill.shell import ProgramError

S3 = """ERROR: [039]: HTTP request failed with 403 (Forbidden):
       *** Path/Query ***:
       PUT /backups/pgbackrest/archive/sample/turnout-probe-1
       *** Response Headers ***:
       server: SeaweedFS 8000GB 4.48
       *** Response Content ***:
       <?xml version="1.0" encoding="UTF-8"?>
       <Error><Code>{code}</Code><Message>-</Message><Key>pgbackrest/archive/sample/turnout-probe-1</Key></Error>"""
# As pgBackRest 2.55 said them: on SeaweedFS, on a folder, over TLS, and where nobody answered.
DENIALS = [
    S3.format(code="AccessDenied"),
    "ERROR: [041]: unable to open file '/r/archive/sample/turnout-probe-1' for write: [13] Permission denied",
    "ERROR: [047]: unable to create path '/r/turnout': [13] Permission denied",
    "ERROR: [060]: unable to remove '/r/archive/sample/turnout-canary': [13] Permission denied",
    "ERROR: [041]: unable to open file '/r/archive/sample/p1' for write: [30] Read-only file system",
    "ERROR: [041]: raised from remote-0 tls protocol on 'store1': unable to open file '/r/archive/sample/p1' for write:"
    " [13] Permission denied",
]
UNCLEAR = [
    S3.format(code="SignatureDoesNotMatch"),
    S3.format(code="InvalidAccessKeyId"),
    S3.format(code="RequestTimeTooSkewed"),
    S3.format(code="SlowDown").replace("403 (Forbidden)", "503 (Service Unavailable)"),
    S3.format(code="AccessDenied").replace("403 (Forbidden)", "500 (Internal Server Error)"),
    "ERROR: [049]: timeout connecting to '192.0.2.7:8333'\n  [HostConnectError] on retry at 2001ms: timeout",
    "ERROR: [041]: unable to open file '/etc/pgbackrest/pgbackrest.conf' for read: [13] Permission denied",
    "ERROR: [049]: unable to connect to 'store1:8432': [13] Permission denied",
    "ERROR: [064]: unable to write '/r/archive/sample/p1.pgbackrest.tmp': [28] No space left on device",
    "ERROR: [105]: raised from remote-0 tls protocol on 'data1': access denied",
    "ASSERT: [025]: option 'compress-level-network' is not valid for the current command",
    "ERROR: [031]: option 'repo1-path' not valid for command 'repo-put'",
    "",
]


@pytest.mark.parametrize("said", DENIALS)
def test_a_storage_that_says_no_is_understood(said: str) -> None:
    assert is_denial(said)


@pytest.mark.parametrize("said", UNCLEAR)
def test_what_says_nothing_of_permission_is_no_denial(said: str) -> None:
    assert not is_denial(said)


class Storage:
    """A repository that answers as it is told, by what is asked for: {"put archive": error or None for success}."""

    def __init__(self, **answers: str | None) -> None:
        self.answers = answers
        self.held = {
            "archive/sample": {"turnout-canary", "archive.info"}, "backup/sample": {"turnout-canary", "backup.info"},
        }  # fmt: skip
        self.asked: list[str] = []

    def __call__(self, *words: str, **_: Any) -> bytes:
        words = tuple(word for word in words if not word.startswith("--"))
        what, path = words
        folder, _, name = path.rpartition("/")
        if what == "repo-ls":
            return ("{" + ",".join(f'"{one}":{{}}' for one in self.held[path]) + "}").encode()
        kind = f"{what.removeprefix('repo-')}_{path.split('/')[0]}"
        self.asked.append(kind)
        # What was written by a probe may be removed again; what is asked is the canary.
        said = self.answers.get(kind, DENIALS[0]) if kind.startswith("put") or name == "turnout-canary" else None
        if said is not None:
            raise ProgramError("pgbackrest ended with code 39: short", said)
        (self.held[folder].add if what == "repo-put" else self.held[folder].discard)(name)
        return b""


@pytest.fixture
def engine(tmp_path: Path) -> Engine:
    return Engine(Place(str(tmp_path), "t"), {"stanza": "sample", "repository": 1})


def refusals(engine: Engine, monkeypatch: pytest.MonkeyPatch, storage: Storage) -> Refusals:
    monkeypatch.setattr(engine, "call", storage)
    return engine.refusals()


def test_a_reader_is_denied_everything_that_is_asked(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    storage = Storage()
    assert refusals(engine, monkeypatch, storage) == Refusals((), ())
    assert storage.asked == ["put_archive", "rm_archive", "put_backup", "rm_backup"]


@pytest.mark.parametrize("where", ["put_archive", "rm_archive", "put_backup", "rm_backup"])
def test_one_thing_that_is_allowed_is_enough(engine: Engine, monkeypatch: pytest.MonkeyPatch, where: str) -> None:
    found = refusals(engine, monkeypatch, Storage(**{where: None}))
    assert len(found.allowed) == 1
    what, _, area = where.partition("_")
    assert found.allowed[0].startswith(f"{ {'put': 'write', 'rm': 'delete'}[what] } {area}/sample/turnout-")
    for keep in (False, True):
        monkeypatch.setattr(engine, "call", Storage(**{where: None}))
        assert "credentials here can write" in prerequisites._credentials(engine, keep=keep)[0]


@pytest.mark.parametrize("where", ["put_archive", "rm_archive", "put_backup", "rm_backup"])
@pytest.mark.parametrize("said", UNCLEAR)
def test_a_time_out_or_another_error_is_no_pass(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, where: str, said: str
) -> None:
    found = refusals(engine, monkeypatch, Storage(**{where: said}))
    assert found.allowed == ()
    assert len(found.unclear) == 1
    faults = prerequisites._credentials(engine, keep=False)
    assert "is not known" in faults[0]
    # On a bad day nobody is stopped by it.
    assert prerequisites._credentials(engine, keep=True) == []


ASSERTED = "ASSERT: [025]: option 'compress-level-network' is not valid for the current command"


@pytest.mark.parametrize(
    ("said_to_writing", "known"),
    [(DENIALS[1], True), (DENIALS[4], True), (DENIALS[5], True), (DENIALS[0], False), (UNCLEAR[5], False)],
)
def test_on_a_repository_host_a_folder_that_cannot_be_written_denies_deletion_too(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, said_to_writing: str, known: bool
) -> None:
    """pgBackRest 2.55 cannot ask a repository host for a deletion. A file system's denial is enough, S3's is not."""
    answers = {"put_archive": said_to_writing, "put_backup": said_to_writing}
    found = refusals(engine, monkeypatch, Storage(**answers, rm_archive=ASSERTED, rm_backup=ASSERTED))
    assert found.allowed == ()
    assert (len([said for said in found.unclear if said.startswith("deleting")]) == 0) is known


def test_nothing_to_delete_is_not_known_and_says_how_to_mend_it(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = Storage()
    storage.held["backup/sample"].discard("turnout-canary")
    found = refusals(engine, monkeypatch, storage)
    assert found.unclear == (
        "deleting backup/sample/turnout-canary: it is not there; ansible-playbook turnout.ops.backup lays it",
    )  # fmt: skip


def test_writers_credentials_leave_the_repository_as_it_was(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    storage = Storage(put_archive=None, rm_archive=None, put_backup=None, rm_backup=None)
    before = {folder: set(names) for folder, names in storage.held.items()}
    found = refusals(engine, monkeypatch, storage)
    assert len(found.allowed) == 4
    assert found.unclear == ()
    assert storage.held == before


def test_a_time_out_of_the_program_itself_is_no_denial(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    def slow(*_: object, **__: object) -> bytes:
        raise ProgramError("pgbackrest: timed out after 60 seconds")

    monkeypatch.setattr(engine, "call", slow)
    assert len(engine.refusals().unclear) == 4


def test_all_of_what_a_program_said_is_judged_not_its_end() -> None:
    """A cause is cut to a line; whether it is a denial must not depend on the length of a path."""
    with pytest.raises(ProgramError) as error:
        engines.run(["sh", "-c", f"echo 'failed with 403 <Code>AccessDenied</Code>{'x' * 2000}' >&2; exit 39"])
    assert len(str(error.value)) < 800
    assert is_denial(error.value.said)
