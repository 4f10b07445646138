"""Signatures, made and verified by the real ssh-keygen."""

import subprocess

import pytest
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


def test_a_file_that_is_no_key_is_told(tmp_path):
    file = tmp_path / "key"
    file.write_text("not a key")
    file.chmod(0o600)
    assert code_of(sign, DATA, file) == "sign-failed"


def test_keygen_makes_a_private_key_and_never_overwrites_one(tmp_path):
    line = keygen(tmp_path / "sub" / "key", "me@example.com")
    assert (tmp_path / "sub/key").stat().st_mode & 0o777 == 0o600
    assert line == allowed_signers_line(tmp_path / "sub/key.pub", "me@example.com")
    assert f'namespaces="{NAMESPACE}"' in line
    assert code_of(keygen, tmp_path / "sub" / "key", "me@example.com") == "key-exists"


@pytest.mark.parametrize("principal", ["", "a b", 'a"b', "*", "!a", "a,b", "-n"])
def test_a_principal_that_would_not_be_one_name_is_refused(tmp_path, principal):
    assert code_of(keygen, tmp_path / "key", principal) == "signer-name"


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


def test_a_revoked_key_stays_revoked_under_a_second_name(keys, tmp_path):
    allowed = tmp_path / "allowed"
    kind, key = public_key(keys).read_text().split()[:2]
    allowed.write_text(f"alice@example.com {kind} {key}\nbob@example.com {kind} {key}\n")
    revoked = krl(tmp_path, public_key(keys))
    assert code_of(verify, DATA, sign(DATA, keys.key), allowed, what="it", revoked_signers=revoked) == "signer-revoked"


def test_a_list_that_cannot_be_read_refuses_everything(keys, tmp_path):
    signature = sign(DATA, keys.key)
    broken, folder, cut = tmp_path / "broken", tmp_path / "folder", tmp_path / "cut"
    broken.write_text("this revokes nobody, and somebody believes that it does\n")
    folder.mkdir()
    cut.write_bytes(krl(tmp_path, public_key(keys)).read_bytes()[:40])
    for revoked, code in (
        (tmp_path / "none", "revoked-missing"), (folder, "revoked-missing"),
        (broken, "revoked-malformed"), (cut, "revoked-malformed"),
    ):  # fmt: skip
        assert code_of(verify, DATA, signature, keys.allowed, what="it", revoked_signers=revoked) == code, revoked
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
