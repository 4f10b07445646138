"""Signatures, made and verified by the real ssh-keygen."""

import os
import shutil
import subprocess

import pytest
import turnout.release.sign
from turnout.errors import TurnoutError
from turnout.release.sign import NAMESPACE, allowed_signers_line, keygen, sign, verify

DATA = b"manifest: 1\n"


def code_of(action, *arguments, **options):
    with pytest.raises(TurnoutError) as caught:
        action(*arguments, **options)
    return caught.value.code


def test_what_is_signed_by_an_allowed_key_is_verified(keys):
    signer = verify(DATA, sign(DATA, keys.key), keys.allowed, what="it")
    assert signer.principal == "ci@example.com"
    assert signer.fingerprint.startswith("SHA256:")


def test_a_changed_byte_is_seen(keys):
    assert code_of(verify, DATA + b" ", sign(DATA, keys.key), keys.allowed, what="it") == "signature-wrong"


def test_another_key_is_refused_and_named(keys):
    with pytest.raises(TurnoutError) as caught:
        verify(DATA, sign(DATA, keys.stranger), keys.allowed, what="it")
    assert caught.value.code == "signer-unknown"
    assert "SHA256:" in caught.value.observed


def test_a_signature_for_another_purpose_is_refused(keys, tmp_path):
    message = tmp_path / "message"
    message.write_bytes(DATA)
    subprocess.run(["ssh-keygen", "-q", "-Y", "sign", "-n", "file", "-f", keys.key, message], check=True)
    signature = (tmp_path / "message.sig").read_bytes()
    assert code_of(verify, DATA, signature, keys.allowed, what="it") == "signature-wrong"


@pytest.mark.parametrize(
    "signature", [b"", b"garbage", b"-----BEGIN SSH SIGNATURE-----\nAAAA\n-----END SSH SIGNATURE-----"]
)
def test_a_malformed_signature_is_told_as_such(keys, signature):
    assert code_of(verify, DATA, signature, keys.allowed, what="it") == "signature-malformed"


def test_a_truncated_signature_is_refused(keys):
    signature = sign(DATA, keys.key)
    assert code_of(verify, DATA, signature[: len(signature) // 2], keys.allowed, what="it").startswith("sign")


@pytest.mark.parametrize("content", [None, "", "# nobody\n\n"])
def test_an_allowed_signers_file_without_signers_is_refused(keys, tmp_path, content):
    file = tmp_path / "allowed"
    if content is not None:
        file.write_text(content)
    assert code_of(verify, DATA, sign(DATA, keys.key), file, what="it") == "signers-missing"


def test_an_allowed_signers_file_that_anybody_may_write_is_refused(keys, tmp_path):
    file = tmp_path / "allowed"
    file.write_text(keys.allowed.read_text())
    file.chmod(0o666)
    assert code_of(verify, DATA, sign(DATA, keys.key), file, what="it") == "signers-permissions"


def test_a_key_may_be_listed_for_releases_only_or_for_all(keys, tmp_path):
    file = tmp_path / "allowed"
    public = (keys.key.parent / "release.pub").read_text().split()
    file.write_text(f"alice@example.com,bob@example.com {public[0]} {public[1]}\n")
    assert verify(DATA, sign(DATA, keys.key), file, what="it").principal.endswith("@example.com")
    file.write_text(f'ci@example.com namespaces="git" {public[0]} {public[1]}\n')
    assert code_of(verify, DATA, sign(DATA, keys.key), file, what="it") in ("signature-wrong", "signer-unknown")


def test_a_missing_key_is_told_with_the_command_that_makes_one(tmp_path):
    with pytest.raises(TurnoutError) as caught:
        sign(DATA, tmp_path / "none")
    assert caught.value.code == "key-missing"
    assert "turnout release keygen" in caught.value.remedy


def test_a_folder_is_no_key(tmp_path):
    assert code_of(sign, DATA, tmp_path) == "key-missing"


def test_a_key_that_others_may_read_is_refused(keys, tmp_path):
    copy = tmp_path / "key"
    copy.write_bytes(keys.key.read_bytes())
    copy.chmod(0o644)
    with pytest.raises(TurnoutError) as caught:
        sign(DATA, copy)
    assert caught.value.code == "key-permissions"
    assert caught.value.remedy == f"chmod 600 {copy}"


@pytest.mark.parametrize("name", ["key", "key.pem", "key.ssh"])
@pytest.mark.parametrize("mode", [0o601, 0o602, 0o604, 0o610, 0o620, 0o640])
def test_whatever_others_may_do_with_a_private_key_is_refused(keys, tmp_path, name, mode):
    copy = tmp_path / name
    copy.write_bytes(keys.key.read_bytes())
    copy.chmod(mode)
    assert code_of(sign, DATA, copy) == "key-permissions"
    copy.chmod(0o700)
    assert sign(DATA, copy)


def test_a_public_key_may_be_read_by_all(keys):
    assert public_key(keys).stat().st_mode & 0o044
    assert verify(DATA, sign(DATA, public_key(keys)), keys.allowed, what="it").principal == "ci@example.com"


def test_a_key_that_cannot_be_looked_at_is_told_with_the_systems_reason(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(TurnoutError) as caught:
        sign(DATA, tmp_path / "file" / "key")
    assert caught.value.code == "key-missing"
    assert "Not a directory" in caught.value.observed


def test_a_file_that_is_no_key_is_told(tmp_path):
    file = tmp_path / "key"
    file.write_text("not a key")
    file.chmod(0o600)
    assert code_of(sign, DATA, file) == "sign-failed"


def test_keygen_makes_a_private_key_and_never_overwrites_one(tmp_path):
    line = keygen(tmp_path / "sub" / "key", "me@example.com")
    assert (tmp_path / "sub").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "sub/key").stat().st_mode & 0o777 == 0o600
    assert line == allowed_signers_line(tmp_path / "sub/key.pub", "me@example.com")
    assert f'namespaces="{NAMESPACE}"' in line
    assert code_of(keygen, tmp_path / "sub" / "key", "me@example.com") == "key-exists"


@pytest.mark.parametrize("principal", ["", "a b", 'a"b', "*", "!a", "a,b", "-n"])
def test_a_principal_that_would_not_be_one_name_is_refused(tmp_path, principal):
    assert code_of(keygen, tmp_path / "key", principal) == "signer-name"


def test_keygen_makes_the_folders_that_are_missing_and_lets_ssh_keygen_ask_for_a_passphrase(tmp_path, fake):
    fake(
        body=f'[ "$4 $5" = "-C me@example.com" ] && echo "$@" > {tmp_path}/asked; echo "ssh-ed25519 KEY me" > "$7.pub"'
    )
    line = keygen(tmp_path / "one/two/key", "me@example.com", passphrase=True)
    assert line == f'me@example.com namespaces="{NAMESPACE}" ssh-ed25519 KEY'
    assert (tmp_path / "asked").read_text() == f"-q -t ed25519 -C me@example.com -f {tmp_path}/one/two/key\n"


# An ssh-keygen that fails


@pytest.fixture
def fake(tmp_path, monkeypatch):
    """Put an ssh-keygen on PATH that does `body` where its arguments hold `word`, and what the real one does else."""
    real = shutil.which("ssh-keygen")

    def make(word="", body="exit 1"):
        folder = tmp_path / "fake"
        folder.mkdir(exist_ok=True)
        program = folder / "ssh-keygen"
        program.write_text(f'#!/bin/sh\ncase " $* " in *" {word}"*) {body} ;; *) exec {real} "$@" ;; esac\n')
        program.chmod(0o755)
        monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")

    return make


FAILURES = pytest.mark.parametrize("end", ["exit 1", "kill -9 $$"], ids=["refuses", "is killed"])


@FAILURES
@pytest.mark.parametrize("passphrase", [False, True])
def test_a_key_that_was_not_made_is_told(tmp_path, fake, end, passphrase):
    fake(body=f"echo no room >&2; {end}")
    with pytest.raises(TurnoutError) as caught:
        keygen(tmp_path / "key", "me@example.com", passphrase=passphrase)
    assert caught.value.code == "key-not-made"
    # Asking for a passphrase it says it in the terminal.
    assert caught.value.observed == f"ssh-keygen: {'no message' if passphrase else 'no room'}"


@FAILURES
def test_what_it_wrote_before_it_failed_is_no_signature(keys, tmp_path, fake, end):
    (tmp_path / "signature").write_bytes(sign(DATA, keys.key))
    fake("sign", f"cat {tmp_path}/signature; {end}")
    assert code_of(sign, DATA, keys.key) == "sign-failed"


@FAILURES
@pytest.mark.parametrize(("word", "code"), [("find-principals", "signature-malformed"), ("verify", "signature-wrong")])
def test_what_it_says_before_it_fails_proves_nobody(keys, fake, end, word, code):
    signature = sign(DATA, keys.key)
    fake(word, f"echo ci@example.com; {end}")
    with pytest.raises(TurnoutError) as caught:
        verify(DATA, signature, keys.allowed, what="it")
    assert caught.value.code == code


@FAILURES
def test_a_revocation_list_about_which_it_fails_refuses_everything(keys, tmp_path, fake, end):
    revoked = krl(tmp_path, public_key(keys, "stranger"))
    signature = sign(DATA, keys.key)
    fake("-Q", f"echo it broke; {end}")
    with pytest.raises(TurnoutError) as caught:
        verify(DATA, signature, keys.allowed, what="it", revoked_signers=revoked)
    assert caught.value.code == "revoked-malformed"
    assert "it broke" in caught.value.observed


def test_its_words_are_told_once_each_on_one_line(keys, fake):
    fake("sign", "printf '\\n one \\ntwo\\none\\n' >&2; exit 1")
    with pytest.raises(TurnoutError) as caught:
        sign(DATA, keys.key)
    assert caught.value.observed == f"ssh-keygen could not sign with {keys.key}: one; two"


def test_a_hardware_key_has_two_minutes_for_a_touch_and_no_more(keys, fake, monkeypatch):
    assert turnout.release.sign._TIMEOUT_S == 120
    fake("sign", "exec sleep 30")
    monkeypatch.setattr(turnout.release.sign, "_TIMEOUT_S", 0.2)
    with pytest.raises(TurnoutError) as caught:
        sign(DATA, keys.key)
    assert caught.value.code == "sign-failed"
    assert "did not end within 0.2 s" in caught.value.observed


def test_a_machine_without_ssh_keygen_is_told(keys, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert code_of(sign, DATA, keys.key) == "ssh-keygen-missing"


# Keys that no longer count


def public_key(keys, name="release"):
    return keys.key.parent / f"{name}.pub"


def krl(folder, *public_keys, specification=None):
    """Return a key revocation list that ssh-keygen made."""
    file = folder / "revoked"
    words = list(public_keys)
    if specification is not None:
        words = [folder / "specification"]
        words[0].write_text(specification)
    subprocess.run(["ssh-keygen", "-q", "-k", "-f", file, *words], check=True)
    return file


def test_a_key_on_a_revocation_list_no_longer_counts_and_is_named(keys, tmp_path):
    revoked = krl(tmp_path, public_key(keys))
    with pytest.raises(TurnoutError) as caught:
        verify(DATA, sign(DATA, keys.key), keys.allowed, what="shop-1.release.yml", revoked_signers=revoked)
    assert caught.value.code == "signer-revoked"
    assert "ci@example.com" in caught.value.observed
    assert "SHA256:" in caught.value.observed
    assert str(revoked) in caught.value.observed
    assert "revokes" in caught.value.observed


def test_a_key_is_revoked_by_its_line_or_its_fingerprint_alone(keys, tmp_path):
    plain = tmp_path / "plain"
    plain.write_text(f"# lost on a train\n\n{public_key(keys).read_text()}")
    said = subprocess.run(["ssh-keygen", "-lf", public_key(keys)], capture_output=True, text=True, check=True).stdout
    by_print = krl(tmp_path, specification=f"hash: {said.split()[1]}\n")
    for revoked in (plain, by_print):
        signature = sign(DATA, keys.key)
        assert code_of(verify, DATA, signature, keys.allowed, what="it", revoked_signers=revoked) == "signer-revoked"


def test_other_keys_on_the_list_change_nothing(keys, tmp_path):
    plain, empty = tmp_path / "plain", tmp_path / "empty"
    plain.write_text(public_key(keys, "stranger").read_text())
    empty.write_text("")
    for revoked in (plain, empty, krl(tmp_path, public_key(keys, "stranger"))):
        signer = verify(DATA, sign(DATA, keys.key), keys.allowed, what="it", revoked_signers=revoked)
        assert signer.principal == "ci@example.com"


def test_a_changed_byte_is_seen_whatever_the_list_holds(keys, tmp_path):
    signature = sign(DATA, keys.key)
    revoked = krl(tmp_path, public_key(keys, "stranger"))
    assert (
        code_of(verify, DATA + b" ", signature, keys.allowed, what="it", revoked_signers=revoked) == "signature-wrong"
    )


def test_each_name_of_a_key_is_tried_until_one_may_sign_releases(keys, tmp_path):
    allowed = tmp_path / "allowed"
    kind, key = public_key(keys).read_text().split()[:2]
    allowed.write_text(
        f'git@example.com,ci@example.com namespaces="git" {kind} {key}\n'
        f'ci@example.com namespaces="{NAMESPACE}" {kind} {key}\n'
    )
    signature = sign(DATA, keys.key)
    assert verify(DATA, signature, allowed, what="it").principal == "ci@example.com"
    with pytest.raises(TurnoutError) as caught:
        verify(DATA + b" ", signature, allowed, what="it")
    assert caught.value.code == "signature-wrong"
    assert "git@example.com" in caught.value.observed


def test_a_revoked_key_stays_revoked_under_a_second_name(keys, tmp_path):
    allowed = tmp_path / "allowed"
    kind, key = public_key(keys).read_text().split()[:2]
    allowed.write_text(f"alice@example.com {kind} {key}\nbob@example.com {kind} {key}\n")
    revoked = krl(tmp_path, public_key(keys))
    assert code_of(verify, DATA, sign(DATA, keys.key), allowed, what="it", revoked_signers=revoked) == "signer-revoked"


def test_a_list_that_cannot_be_read_refuses_everything(keys, tmp_path):
    signature = sign(DATA, keys.key)
    broken, folder, cut, letters = (tmp_path / name for name in ("broken", "folder", "cut", "letters"))
    broken.write_text("this revokes nobody, and somebody believes that it does\n")
    letters.write_text("# la clé de Zoë\n", encoding="utf-8")
    folder.mkdir()
    cut.write_bytes(krl(tmp_path, public_key(keys)).read_bytes()[:40])
    for revoked, code in (
        (tmp_path / "none", "revoked-missing"), (folder, "revoked-missing"),
        (broken, "revoked-malformed"), (cut, "revoked-malformed"), (letters, "revoked-malformed"),
    ):  # fmt: skip
        with pytest.raises(TurnoutError) as caught:
            verify(DATA, signature, keys.allowed, what="it", revoked_signers=revoked)
        assert caught.value.code == code, revoked
        if code == "revoked-missing":
            assert ("it is no file" if revoked is folder else "No such file") in caught.value.observed
        assert "no message" not in caught.value.observed
    writable = krl(tmp_path, public_key(keys, "stranger"))
    writable.chmod(0o666)
    assert code_of(verify, DATA, signature, keys.allowed, what="it", revoked_signers=writable) == "revoked-permissions"


def test_a_list_of_keys_with_a_line_that_is_none_refuses_everything(keys, tmp_path):
    revoked = tmp_path / "revoked"
    revoked.write_text(f"{public_key(keys, 'stranger').read_text()}ssh-ed25519 broken!\n")
    assert (
        code_of(verify, DATA, sign(DATA, keys.key), keys.allowed, what="it", revoked_signers=revoked)
        == "revoked-malformed"
    )
