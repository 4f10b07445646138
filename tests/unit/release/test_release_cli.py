"""The command line: what a team types, and what it reads."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from turnout.errors import TurnoutError
from turnout.faults import FaultsError
from turnout.release.cli import release
from turnout.release.manifest import parse

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def run(*arguments: Any) -> Result:
    result = CliRunner().invoke(release, [str(argument) for argument in arguments])
    if isinstance(result.exception, TurnoutError):
        raise result.exception
    return result


def lines(*arguments: Any) -> list[str]:
    result = run(*arguments)
    assert result.exit_code == 0, result.output
    return result.output.splitlines()


def value(*arguments: Any) -> Any:
    return json.loads(lines(*arguments, "--json")[-1])


def test_the_whole_way_from_a_key_to_a_verified_release(source, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    key, allowed, out, store = tmp_path / "key", tmp_path / "inventory/allowed", tmp_path / "dist", tmp_path / "store"
    lines("keygen", "--key", key, "--principal", "ci@example.com", "--allowed-signers", allowed)
    options = ["--name", "shop", "--commit", COMMIT, "--migrations", "migrations", "--env-key", "A", "--env-key", "B"]
    for version in ("1.0.0", "1.1.0"):
        built = value("build", source, "--version", version, "--key", key, "--out", out, *options)
        assert value("publish", built["manifest"], "--to", store, "--allowed-signers", allowed)["written"]
    assert value("publish", built["manifest"], "--to", store)["written"] == []
    assert lines("list", "shop", "--from", store) == ["1.1.0", "1.0.0"]
    verified = value("verify", "--from", store, "shop", "1.1.0", "--allowed-signers", allowed)
    assert verified["signer"]["principal"] == "ci@example.com"
    assert verified["manifest"]["environment"] == ["A", "B"]
    assert lines("verify", built["manifest"], "--allowed-signers", allowed)[-1] == (
        "verified  signature, size and checksum"
    )


def test_a_second_signer_is_added_on_a_line_of_its_own(tmp_path):
    allowed = tmp_path / "allowed"
    allowed.write_text("first line without an end")
    for name in ("a", "b"):
        lines("keygen", "--key", tmp_path / name, "--principal", f"{name}@example.com", "--allowed-signers", allowed)
    assert [line.split()[0] for line in allowed.read_text().splitlines()] == ["first", "a@example.com", "b@example.com"]


def test_the_options_file_stands_for_the_command_line(source, keys, tmp_path):
    (source / "turnout-release.yml").write_text(
        f"name: shop\nversion: '1.10'\ncommit: {COMMIT}\nenvironment: [ONE]\nenvironment_file: env.keys\n"
        f"migrations: migrations\nschema: {{max: 7}}\nkey: {keys.key}\nout: dist\n"
    )
    (source / "env.keys").write_text("# keys\nTWO\n\n")
    lines("build", source)
    manifest = parse((source / "dist/shop-1.10.release.yml").read_bytes())
    assert manifest.environment == ("ONE", "TWO")
    assert (manifest.schema.min, manifest.schema.max) == (2, 7)
    assert (source / "dist/shop-1.10.release.yml.sig").exists()


def test_an_option_on_the_command_line_wins(source, keys, tmp_path):
    (source / "turnout-release.yml").write_text(f"name: shop\nversion: '1.0'\ncommit: {COMMIT}\nkey: {keys.key}\n")
    built = value("build", source, "--version", "2.0", "--out", tmp_path / "dist")
    assert built["release_id"].startswith("2.0-")


@pytest.mark.parametrize(
    "content",
    ["nmae: shop", "name: 5", "schema: {min: one}", "environment: ONE", "- list", "version: 1.10", "a: [", "{"],
)
def test_a_wrong_options_file_is_told(source, content):
    (source / "turnout-release.yml").write_text(content)
    with pytest.raises(TurnoutError) as caught:
        run("build", source, "--no-sign")
    assert caught.value.code == "options-invalid"


@pytest.mark.parametrize("missing", ["name", "version", "key"])
def test_what_is_missing_is_told_with_both_ways_to_give_it(source, keys, tmp_path, missing):
    given = {"name": "shop", "version": "1", "key": keys.key, "commit": COMMIT, "out": tmp_path / "dist"}
    arguments = [part for key, value in given.items() if key != missing for part in (f"--{key}", value)]
    with pytest.raises(TurnoutError) as caught:
        run("build", source, *arguments)
    assert (caught.value.code, caught.value.remedy) == ("option-missing", f"add --{missing}, or write it into the file")


def test_an_unsigned_build_says_so(source, tmp_path):
    output = lines("build", source, "--name", "shop", "--version", "1", "--commit", COMMIT, "--no-sign",
                   "--out", tmp_path / "dist")  # fmt: skip
    assert output[-1] == "signature none: it cannot be published"


def test_an_empty_store_is_told_by_the_exit_code(tmp_path):
    (tmp_path / "store").mkdir()
    assert run("list", "shop", "--from", tmp_path / "store").exit_code == 1
    assert value("list", "shop", "--from", tmp_path / "store")["versions"] == []


def test_an_http_store_cannot_be_listed():
    with pytest.raises(TurnoutError) as caught:
        run("list", "shop", "--from", "http://127.0.0.1:1")
    assert caught.value.code == "store-unlisted"


@pytest.mark.parametrize("target", [(), ("a", "b", "c"), ("a", "b")])
def test_a_verify_that_names_no_release_is_a_usage_error(tmp_path, target):
    assert run("verify", *target, "--allowed-signers", tmp_path).exit_code == 2


@pytest.mark.parametrize("command", ["keygen", "build", "publish", "verify", "list"])
def test_every_command_explains_itself_with_an_example(command):
    output = "\n".join(lines(command, "--help"))
    assert "Example" in output
    assert f"turnout release {command}" in output


def test_at_the_shell_an_error_has_its_remedy_and_exit_code_two(tmp_path):
    program = Path(sys.executable).parent / "turnout"
    result = subprocess.run(
        [program, "release", "list", "shop", "--from", tmp_path / "none"], capture_output=True, text=True, check=False
    )
    assert result.returncode == 2
    assert result.stderr.startswith("error[store-missing]: there is no folder")
    assert "to mend:" in result.stderr
    assert not result.stdout


def test_a_release_over_https_s3_at_the_command_line(s3, bucket, built, monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", s3.admin[0])
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", s3.admin[1])
    address = ["--endpoint", s3.https, "--ca-file", s3.ca_file, "--region", "lab"]
    lines("publish", built.manifest_path, "--to", f"s3://{bucket}", *address)
    assert lines("list", "shop", "--from", f"s3://{bucket}", *address) == ["1.1.0"]


def test_environment_values_by_mistake_are_not_shown(source, tmp_path):
    with pytest.raises(FaultsError) as caught:
        run("build", source, "--name", "shop", "--version", "1", "--commit", COMMIT, "--no-sign",
            "--env-key", "PASSWORD=hunter2", "--out", tmp_path / "dist")  # fmt: skip
    assert "hunter2" not in str(caught.value)


def refusal(*arguments: Any) -> TurnoutError:
    with pytest.raises(TurnoutError) as caught:
        run(*arguments)
    return caught.value


def test_a_key_in_a_folder_that_cannot_be_made_is_told():
    assert refusal("keygen", "--key", "/proc/x/key", "--principal", "a@example.com").code == "key-not-made"


def test_an_empty_address_publishes_nowhere(built, tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    assert refusal("publish", built.manifest_path, "--to", "").code == "store-address"
    assert not list(Path().iterdir())


def test_what_is_no_manifest_is_told_before_its_signature_is_missed(built, tmp_path):
    for target in (built.manifest_path.parent, built.artifact_path):
        error = refusal("publish", target, "--to", tmp_path / "store")
        assert error.code == "release-unknown"
        assert str(built.manifest_path) in error.remedy
    empty = tmp_path / "empty"
    empty.mkdir()
    assert "NAME-VERSION.release.yml" in refusal("publish", empty, "--to", tmp_path / "store").remedy


def test_a_folder_in_the_place_of_the_signature_is_told(built, keys):
    built.signature_path.unlink()
    built.signature_path.mkdir()
    error = refusal("verify", built.manifest_path, "--allowed-signers", keys.allowed)
    assert str(built.signature_path) in error.observed


@pytest.mark.parametrize("content", ["garbage", "a@b ssh-ed25519 AAAA", '{"a": 1}'])
def test_a_broken_file_of_signers_is_blamed_and_not_the_signature(built, tmp_path, content):
    signers = tmp_path / "signers"
    signers.write_text(f"# mine\n{content}\n")
    error = refusal("publish", built.manifest_path, "--to", tmp_path / "store", "--allowed-signers", signers)
    assert error.code == "signers-malformed"
    assert f"{signers}:2" in error.observed
    assert "turnout release keygen" in error.remedy


def test_a_broken_signature_is_blamed_and_not_the_file_of_signers(built, keys, tmp_path):
    built.signature_path.write_text("garbage")
    error = refusal("publish", built.manifest_path, "--to", tmp_path / "store", "--allowed-signers", keys.allowed)
    assert error.code == "signature-malformed"


def test_outside_of_a_repository_the_remedy_makes_one(source, keys, tmp_path, monkeypatch):
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    command = ["build", source, "--name", "shop", "--version", "1.0.0", "--key", keys.key, "--out", tmp_path / "out"]
    error = refusal(*command)
    assert error.code == "commit-unknown"
    remedy = error.remedy[error.remedy.index("git init") :]
    for name in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{name}_NAME", "a")
        monkeypatch.setenv(f"GIT_{name}_EMAIL", "a@example.com")
    subprocess.run(["bash", "-ec", remedy.partition(";")[0]], check=True, capture_output=True)
    assert lines(*command)
