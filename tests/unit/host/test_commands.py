"""A person's command gets the isolation of the API's unit, word for word, and shows no secret."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from turnout_host import commands
from turnout_host.commands import CommandError, command_argv, exit_code, isolation, program_of, shown_words

UNIT = """# /etc/systemd/system/shop-api@.service
[Unit]
Description=shop api (%i)
User=nobody

[Service]
Type=exec
ExecStart=/bin/false
ExecCondition=+/bin/true
User=shop
WorkingDirectory=/opt/shop/%i
EnvironmentFile=/etc/shop/%i.env
Environment=HOME=/var/lib/shop
RuntimeDirectory=shop
KillMode=mixed
Restart=always
RestartSec=1
CapabilityBoundingSet=
; a comment
ReadWritePaths=%S/shop \\
  %t/shop
[Install]
WantedBy=multi-user.target

# /etc/systemd/system/shop-api@blue.service.d/turnout.conf
[Service]
EnvironmentFile=
EnvironmentFile=/etc/shop/blue.env
Environment="RATE=5%%"
ExecStart=
ExecStart=/opt/shop/blue/bin/api
X-Turnout-Drain=30
"""
NAMES = {"i": "blue", "S": "/var/lib", "t": "/run", "%": "%"}
NAMES_OF_END = ("SERVICE_RESULT", "EXIT_CODE", "EXIT_STATUS")
RECORD: dict[str, object] = {
    "service": "shop", "color": "blue", "id": "20261130-093612-a1b2", "timeout_s": 60, "terminal": None,
}  # fmt: skip


def test_what_a_process_sees_and_may_is_taken_and_its_life_is_not() -> None:
    assert isolation(UNIT, NAMES) == [
        ("User", "shop"),
        ("WorkingDirectory", "/opt/shop/blue"),
        ("Environment", "HOME=/var/lib/shop"),
        ("CapabilityBoundingSet", ""),
        ("ReadWritePaths", "/var/lib/shop    /run/shop"),
        ("EnvironmentFile", "/etc/shop/blue.env"),
        ("Environment", '"RATE=5%"'),
    ]


def test_a_specifier_that_is_not_known_is_not_guessed() -> None:
    with pytest.raises(CommandError) as refused:
        isolation("[Service]\nReadWritePaths=%h/secret\n", NAMES)
    assert refused.value.fields["code"] == "run-specifier"


def test_a_word_is_handed_over_as_it_stands() -> None:
    argv = command_argv(RECORD, ["/opt/shop/blue/bin/manage", "$HOME", "a b", "%i"], [("User", "shop")])
    assert argv[argv.index("--") + 1 :] == ["/opt/shop/blue/bin/manage", "$$HOME", "a b", "%i"]
    for one in (
        "--pipe", "--wait", "--unit=shop-run@blue-20261130-093612-a1b2.service", "--property=User=shop",
        "--property=RuntimeMaxSec=60", "--property=BindsTo=shop-run-watch@blue-20261130-093612-a1b2.service",
    ):  # fmt: skip
        assert one in argv


def program(path: Path, mode: int = 0o755) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("")
    path.chmod(mode)


def test_a_program_is_found_in_the_release_by_its_path_and_by_its_name(tmp_path: Path) -> None:
    program(tmp_path / "opt/shop/blue/bin/manage")
    program(tmp_path / "usr/bin/psql")
    properties = [("WorkingDirectory", "/opt/shop/blue")]
    search = "relative:/usr/local/bin:/usr/bin"
    assert program_of("bin/manage", properties, search, str(tmp_path)) == "/opt/shop/blue/bin/manage"
    assert program_of("psql", properties, search, str(tmp_path)) == "/usr/bin/psql"
    assert program_of("/usr/bin/psql", properties, search, str(tmp_path)) == "/usr/bin/psql"


def test_a_program_of_an_image_is_looked_for_in_it(tmp_path: Path) -> None:
    rootfs = tmp_path / "opt/shop/releases/1/rootfs"
    program(rootfs / "app/bin/manage")
    (rootfs / "usr/bin").mkdir(parents=True)
    (rootfs / "usr/bin/python").symlink_to("/opt/python/bin/python3")  # a place of the image
    properties = [("RootDirectory", "/opt/shop/releases/1/rootfs"), ("WorkingDirectory", "/app")]
    assert program_of("bin/manage", properties, "/usr/bin", str(tmp_path)) == "/app/bin/manage"
    assert program_of("python", properties, "/usr/bin", str(tmp_path)) == "/usr/bin/python"
    with pytest.raises(CommandError, match="there is no /usr/bin/psql"):
        program_of("psql", properties, "/usr/bin", str(tmp_path))


@pytest.mark.parametrize("word", ["bin/nothing", "nothing", "bin/data", "bin", "/opt/shop/blue"])
def test_what_is_no_program_is_refused(tmp_path: Path, word: str) -> None:
    program(tmp_path / "opt/shop/releases/1/bin/data", 0o644)
    (tmp_path / "opt/shop/blue").symlink_to("releases/1")
    with pytest.raises(CommandError) as refused:
        program_of(word, [("WorkingDirectory", "/opt/shop/blue")], "/usr/bin", str(tmp_path))
    assert refused.value.fields["code"] == "run-program"


def test_no_secret_is_shown() -> None:
    words = [
        "bin/manage", "--password", "hunter22", "--db-token=abc", "API_KEY=abc", "postgres://u:abc@db/x", "--user",
        "ann", "topsecret", "--password-file", "-v",
    ]  # fmt: skip
    assert shown_words(words, [("topsecret", "SECRET_KEY")]) == [
        "bin/manage", "--password", "[hidden]", "--db-token=[hidden]", "API_KEY=[hidden]", "postgres://u:[hidden]@db/x",
        "--user", "ann", "[SECRET_KEY]", "--password-file", "-v",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("code", "status", "rc"),
    [("exited", "0", 0), ("exited", "7", 7), ("killed", "TERM", 143), ("dumped", "SEGV", 139), ("", "", 1)],
)
def test_the_exit_code_is_the_commands(code: str, status: str, rc: int) -> None:
    assert exit_code(code, status) == rc


@pytest.mark.parametrize(("timeout_s", "rc", "result"), [(0, 124, "timeout"), (999, 137, "signal")])
def test_its_own_limit_is_told_from_a_stop_that_took_too_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, timeout_s: int, rc: int, result: str
) -> None:
    folder = tmp_path / "kept"
    folder.mkdir()
    monkeypatch.setattr(commands, "folder_of", lambda *_: str(folder))
    begun = {**RECORD, "timeout_s": timeout_s, "begun_at": commands.time.time()}
    commands.write(str(folder), "record.json", begun)
    commands.ended("shop", str(RECORD["id"]), dict(zip(NAMES_OF_END, ("timeout", "killed", "KILL"), strict=True)))
    found = json.loads((folder / "ended.json").read_text())
    assert (found["rc"], found["result"]) == (rc, result)


def test_of_many_commands_the_last_are_kept(tmp_path: Path) -> None:
    for number in range(commands.KEPT + 3):
        Path(commands.folder_of("shop", f"20261130-0936{number:02}-a1b2", str(tmp_path))).mkdir(parents=True)
    commands.forget_old("shop", str(tmp_path))
    home = Path(commands.folder_of("shop", "x", str(tmp_path))).parent
    assert len(list(home.iterdir())) == commands.KEPT
    assert not (home / "20261130-093600-a1b2").exists()


def test_words_of_a_service_file_have_their_variables_replaced() -> None:
    argv = command_argv(RECORD, ["/bin/warm", "${PORT}", "$$x"], [], literal=False)
    assert argv[argv.index("--") + 1 :] == ["/bin/warm", "${PORT}", "$$x"]
