"""The command `turnout init`, as tests call it."""

from __future__ import annotations

from pathlib import Path

from click.testing import CliRunner, Result
from turnout.cli import cli


def init(folder: Path, *words: str) -> Result:
    """Call the command as the face does, without a terminal."""
    return CliRunner().invoke(cli, ["init", str(folder), *words])


def made(folder: Path, *words: str) -> Path:
    """Return a folder that the command has filled."""
    done = init(folder, *words)
    assert done.exit_code == 0, done.output + str(done.exception)
    return folder
