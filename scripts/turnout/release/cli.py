"""`turnout release`: keygen, build, publish, verify, list."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from turnout.counts import counted
from turnout.errors import TurnoutError
from turnout.release import sign
from turnout.release.build import Recipe, build, is_dirty
from turnout.release.manifest import TARBALL, Manifest, check_name
from turnout.release.options import Options, read_options
from turnout.release.publish import publish
from turnout.release.resolve import default_cache_dir, resolve, verify_files
from turnout.release.store import Store, open_store
from turnout.service.model import S3Access

_PATH = click.Path(path_type=Path)


def _json_option[F: Callable[..., Any]](function: F) -> F:
    return click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of text.")(function)


def _store_options[F: Callable[..., Any]](function: F) -> F:
    for option in (
        click.option("--ca-file", type=_PATH, help="S3: certificate authority of the server, if not a public one."),
        click.option("--region", help="S3: the region, if the server asks for one."),
        click.option("--endpoint", help="S3: address of a server that is not Amazon's, https://s3.example.com:8333."),
    ):
        function = option(function)
    return function


def _store(address: str, endpoint: str | None, region: str | None, ca_file: Path | None) -> Store:
    return open_store(address, s3=S3Access(endpoint=endpoint, region=region, ca_file=ca_file))


def _say(as_json: bool, value: dict[str, Any], *lines: str) -> None:
    click.echo(json.dumps(value) if as_json else "\n".join(lines))


@click.group()
def release() -> None:
    """Build, sign, publish and verify releases.

    \b
    Once:           turnout release keygen --key ~/.config/turnout/release_ed25519 \\
                        --principal ci@example.com --allowed-signers inventories/production/allowed_signers
    Every release:  turnout release build app/ --version 1.1.0
                    turnout release publish dist/shop-1.1.0.release.yml --to s3://releases/shop
    Then:           ansible-playbook turnout.ops.deploy -e release=1.1.0
    """


@release.command()
@click.option("--key", type=_PATH, required=True, help="File of the new private key; KEY.pub is written beside it.")
@click.option("--principal", required=True, help="Name of the signer, such as ci@example.com.")
@click.option("--allowed-signers", type=_PATH, help="File that the new signer is added to, for deploys to trust it.")
@click.option("--with-passphrase", is_flag=True, help="Let ssh-keygen ask for a passphrase (use ssh-agent to sign).")
@_json_option
def keygen(key: Path, principal: str, allowed_signers: Path | None, with_passphrase: bool, as_json: bool) -> None:
    """Make a key that signs releases.

    Keep the private key where releases are built. The line that is printed belongs into the allowed-signers file
    that the service file names (releases.allowed_signers).

    \b
    Example:
      turnout release keygen --key ~/.config/turnout/release_ed25519 --principal ci@example.com \\
          --allowed-signers inventories/production/allowed_signers
    """
    line = sign.keygen(key.expanduser(), principal, passphrase=with_passphrase)
    if allowed_signers is not None:
        _append_line(allowed_signers, line)
    _say(
        as_json,
        {"key": str(key), "public_key": f"{key}.pub", "allowed_signers_line": line},
        f"private key: {key}",
        f"allowed signers: {line}",
        f"added to {allowed_signers}" if allowed_signers else "add that line to the file in releases.allowed_signers",
    )


def _append_line(file: Path, line: str) -> None:
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        before = file.read_text() if file.exists() else ""
        gap = "" if not before or before.endswith("\n") else "\n"
        with file.open("a") as stream:
            stream.write(f"{gap}{line}\n")
    except OSError as error:
        raise TurnoutError(
            "signers-unwritable",
            observed=f"{file}: {error.strerror}",
            expected="a file that can be written",
            remedy=f"add this line to it by hand: {line}",
        ) from None


@release.command("build")
@click.argument("source", type=_PATH)
@click.option("--name", help="The service's name.")
@click.option("--version", help="Letters, digits and .+_-, such as 1.1.0.")
@click.option("--commit", help="The git commit. Default: HEAD of the source's repository.")
@click.option("--env-key", "env_keys", multiple=True, help="A variable that the release requires; may be repeated.")
@click.option("--env-keys-from", type=_PATH, help="File with one such name a line.")
@click.option("--migrations", type=_PATH, help="Folder of migrations, relative to SOURCE.")
@click.option("--schema-min", type=int, help="Migration that must be applied. Default: the last expand migration.")
@click.option("--schema-max", type=int, help="Last contract migration that it runs on. Default: the last migration.")
@click.option("--image-archive", type=_PATH, help="Release this OCI archive (relative to SOURCE) instead of the files.")
@click.option("--key", type=_PATH, help="Private key (or .pub of a key in ssh-agent) that signs.")
@click.option(
    "--no-sign", is_flag=True, help="Build without a signature, to look at the result; it cannot be deployed."
)
@click.option("--out", type=_PATH, help="Folder for the three files. Default: dist in the current folder.")
@_json_option
def build_command(source: Path, as_json: bool, **given: Any) -> None:
    """Build a release from the folder SOURCE: artifact, manifest, signature.

    Everything below SOURCE goes into the artifact, but .git, __pycache__ and what .turnoutignore lists. All options
    may stand in SOURCE/turnout-release.yml instead (name, version, commit, environment, environment_file,
    migrations, schema: {min, max}, image_archive, key, out); an option given here wins.

    A migration declares that older releases cannot run once it is applied by a comment in its first 20 lines:
    `-- turnout: kind=contract`. The default is kind=expand.

    \b
    Examples:
      turnout release build app/ --name shop --version 1.1.0 --migrations migrations \\
          --env-key DATABASE_URL --env-key REDIS_URL --key ~/.config/turnout/release_ed25519
      podman save --format oci-archive --output shop.tar shop:1.1.0
      turnout release build . --name shop --version 1.1.0 --image-archive shop.tar --key KEY
    """
    recipe, out, key = _recipe(source, read_options(source), given)
    if is_dirty(source):
        click.echo(f"warning: files below {source} differ from the commit that the manifest names", err=True)
    built = build(recipe, out, key)
    manifest = built.manifest
    _say(
        as_json,
        {
            "manifest": str(built.manifest_path),
            "artifact": str(built.artifact_path),
            "signature": str(built.signature_path) if built.signature_path else None,
            "release_id": manifest.release_id,
            "sha256": manifest.artifact.sha256,
            "bytes": manifest.artifact.bytes,
        },
        *_description(manifest),
        f"manifest  {built.manifest_path}",
        f"signature {built.signature_path or 'none: it cannot be published'}",
    )


def _recipe(source: Path, options: Options, given: dict[str, Any]) -> tuple[Recipe, Path, Path | None]:
    def need(key: str, value: str | None) -> str:
        if value is not None:
            return value
        raise TurnoutError(
            "option-missing",
            observed=f"no --{key}, and no `{key}:` in {source}/turnout-release.yml",
            expected=f"the release's {key}",
            remedy=f"add --{key}, or write it into the file",
        )

    def from_source(path: str | None) -> Path | None:
        return None if path is None else source / Path(path).expanduser()

    names = tuple(given["env_keys"]) or (options.environment or ())
    keys_file = given["env_keys_from"] or from_source(options.environment_file)
    if keys_file is not None:
        names += _names_in(keys_file)
    migrations = given["migrations"] or (Path(options.migrations) if options.migrations else None)
    image = given["image_archive"] or (Path(options.image_archive) if options.image_archive else None)
    recipe = Recipe(
        source=source,
        name=need("name", given["name"] or options.name),
        version=need("version", given["version"] or options.version),
        commit=given["commit"] or options.commit,
        environment=names,
        migrations=migrations,
        schema_min=options.schema.min if given["schema_min"] is None else given["schema_min"],
        schema_max=options.schema.max if given["schema_max"] is None else given["schema_max"],
        image_archive=image,
    )
    key = given["key"] or from_source(options.key)
    if given["no_sign"]:
        key = None
    elif key is None:
        need("key", None)
    return recipe, given["out"] or from_source(options.out) or Path("dist"), key.expanduser() if key else None


def _names_in(file: Path) -> tuple[str, ...]:
    try:
        lines = file.read_text().splitlines()
    except OSError as error:
        raise TurnoutError(
            "option-missing",
            observed=f"{file}: {error.strerror}",
            expected="a file with one variable's name a line",
            remedy="correct --env-keys-from",
        ) from None
    return tuple(line.strip() for line in lines if line.strip() and not line.lstrip().startswith("#"))


@release.command("publish")
@click.argument("manifest", type=_PATH)
@click.option("--to", "address", required=True, help="s3://BUCKET/PREFIX, or a folder.")
@click.option("--allowed-signers", type=_PATH, help="Verify the signature against this file first.")
@click.option("--revoked-signers", type=_PATH, help="Keys that no longer count: a KRL, or public keys, one a line.")
@_store_options
@_json_option
def publish_command(
    manifest: Path,
    *,
    address: str,
    allowed_signers: Path | None,
    revoked_signers: Path | None,
    endpoint: str | None,
    region: str | None,
    ca_file: Path | None,
    as_json: bool,
) -> None:
    """Publish the release whose MANIFEST `turnout release build` wrote.

    What was published never changes: the same release again is no change, another one of the same version is
    refused. Credentials for S3 come from AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or from what boto3 finds.

    \b
    Examples:
      turnout release publish dist/shop-1.1.0.release.yml --to s3://releases/shop
      turnout release publish dist/shop-1.1.0.release.yml --to s3://releases/shop \\
          --endpoint https://s3.example.com:8333 --ca-file ca.pem
      turnout release publish dist/shop-1.1.0.release.yml --to /srv/releases
    """
    store = _store(address, endpoint, region, ca_file)
    done = publish(manifest, store, allowed_signers, revoked_signers)
    _say(
        as_json,
        {"store": store.name, "version": done.manifest.version, "written": list(done.written)},
        f"{done.manifest.name} {done.manifest.version} is in {store.name}"
        + ("" if done.written else " (it was there already: nothing changed)"),
    )


@release.command("verify")
@click.argument("target", nargs=-1, required=True, metavar="MANIFEST | --from STORE NAME VERSION")
@click.option("--from", "address", help="Verify a published release: s3://BUCKET/PREFIX, https://..., or a folder.")
@click.option("--allowed-signers", type=_PATH, required=True, help="Whose signature counts.")
@click.option("--revoked-signers", type=_PATH, help="Keys that no longer count: a KRL, or public keys, one a line.")
@_store_options
@_json_option
def verify_command(
    target: tuple[str, ...],
    *,
    address: str | None,
    allowed_signers: Path,
    revoked_signers: Path | None,
    endpoint: str | None,
    region: str | None,
    ca_file: Path | None,
    as_json: bool,
) -> None:
    """Verify a release's signature, size and checksum, as a deploy does.

    \b
    Examples:
      turnout release verify dist/shop-1.1.0.release.yml --allowed-signers allowed_signers
      turnout release verify --from s3://releases/shop shop 1.1.0 --allowed-signers allowed_signers
      turnout release verify dist/shop-1.1.0.release.yml --allowed-signers allowed_signers \\
          --revoked-signers revoked_signers
    """
    if address is None and len(target) == 1:
        manifest, signer = verify_files(Path(target[0]), allowed_signers, revoked_signers)
    elif address is not None and len(target) == 2:
        store = _store(address, endpoint, region, ca_file)
        found = resolve(
            target[0], target[1], store, allowed_signers, default_cache_dir(), revoked_signers=revoked_signers
        )
        manifest, signer = found.manifest, found.signer
    else:
        raise click.UsageError("give one MANIFEST, or --from STORE with NAME and VERSION")
    _say(
        as_json,
        {"manifest": manifest.as_dict(), "signer": signer.as_dict()},
        *_description(manifest),
        f"signed by {signer.principal} ({signer.fingerprint})",
        "verified  signature, size and checksum",
    )


@release.command("list")
@click.argument("name")
@click.option("--from", "address", required=True, help="s3://BUCKET/PREFIX, or a folder.")
@_store_options
@_json_option
def list_command(
    name: str, *, address: str, endpoint: str | None, region: str | None, ca_file: Path | None, as_json: bool
) -> None:
    """List the published versions of the service NAME, newest first.

    \b
    Example:
      turnout release list shop --from s3://releases/shop
    """
    store = _store(address, endpoint, region, ca_file)
    versions = store.versions(check_name(name))
    if versions is None:
        raise TurnoutError(
            "store-unlisted",
            observed=f"{store.name} is an HTTP address, which has no listing",
            expected="a folder or s3://bucket/prefix",
            remedy="list the folder or the bucket behind it",
        )
    if not versions and not as_json:
        click.echo(f"{store.name} has no release of {name}", err=True)
        sys.exit(1)
    _say(as_json, {"store": store.name, "name": name, "versions": versions}, *versions)


def _description(manifest: Manifest) -> list[str]:
    artifact = manifest.artifact
    what = "files" if artifact.kind == TARBALL else "image"
    migrations = counted(len(manifest.migrations), "migration")
    return [
        f"release   {manifest.name} {manifest.version} ({manifest.release_id}), commit {manifest.commit[:12]}",
        f"artifact  {artifact.file}: {what}, {artifact.bytes / 2**20:.1f} MiB, sha256 {artifact.sha256}",
        f"schema    runs on {manifest.schema.min} to {manifest.schema.max}, {migrations}",
        f"requires  {', '.join(manifest.environment) or 'no variable'}",
    ]
