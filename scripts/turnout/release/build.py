"""From a folder (or an image) to a release: artifact, manifest, signature.

The same tree gives the same bytes: entries are sorted, owned by root, with plain modes and one time. That time is
$SOURCE_DATE_EPOCH, else the time of the commit, so that files which a web server hands out with Last-Modified or
an ETag made of it change from release to release.
"""

from __future__ import annotations

import hashlib
import json
import os
import posixpath
import re
import shutil
import stat
import subprocess
import tarfile
import unicodedata
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

from turnout.acceptance.load import FILE as ACCEPTANCE_FILE
from turnout.acceptance.load import load as load_acceptance
from turnout.counts import counted
from turnout.errors import TurnoutError
from turnout.faults import Fault, FaultsError, shown
from turnout.migrations.find import Found, find
from turnout.release import oci
from turnout.release.ignore import IGNORE_FILE, Ignore
from turnout.release.manifest import (
    OCI_ARCHIVE,
    TARBALL,
    Artifact,
    Image,
    Manifest,
    artifact_file,
    carried,
    check_name,
    check_version,
    from_dict,
)
from turnout.release.schema import EXPAND, Migration, SchemaRange
from turnout.release.sign import sign
from turnout.release.store import CHUNK_BYTES, file_chunks
from turnout.service.environment import KEY

MARKER = ".turnout-complete"
OPTIONS_FILE = "turnout-release.yml"
_NEVER = Ignore.of((".git", IGNORE_FILE, f"/{OPTIONS_FILE}"))  # history, and the files that are for this program
_BY_DEFAULT = Ignore.of(("__pycache__/",))  # what Python makes anew

_BLOCK_BYTES = 4096
_NO_COMMIT_TIME = 315_619_200  # 1980-01-02: the first whole day that every archive format can hold
_ZSTD_LEVEL = 10
_ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"  # RFC 8878, 3.1.1
_LAYER = "application/vnd.oci.image.layer."
_LAYERS = {f"{_LAYER}{kind}{by}" for kind in ("v1.tar", "nondistributable.v1.tar") for by in ("", "+gzip")}
_MOST_LINKS = 32  # Linux follows 40, some of them on the way to the release
_CONTROLS = ("Cc", "Zl", "Zp")
_TURNS = ("LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI")  # Unicode Standard Annex 9


@dataclass(frozen=True)
class Recipe:
    """What a release is made of. `schema_min` and `schema_max` None: derived from the migrations."""

    source: Path
    name: str
    version: str
    commit: str | None = None
    environment: tuple[str, ...] = ()
    migrations: Path | None = None
    schema_min: int | None = None
    schema_max: int | None = None
    image_archive: Path | None = None


@dataclass(frozen=True)
class Built:
    """A release that lies in a folder, ready to be published. `signature` is None when it was not signed."""

    manifest: Manifest
    manifest_path: Path
    artifact_path: Path
    signature_path: Path | None


def build(recipe: Recipe, out: Path, key: Path | None) -> Built:
    """Write artifact, manifest and (with `key`) signature to `out`; raise `TurnoutError` and leave nothing half."""
    check_name(recipe.name)
    check_version(recipe.version)
    asked = load_acceptance(recipe.source)
    questions = (ACCEPTANCE_FILE, asked.declared.document) if asked else ()
    commit, commit_time = _commit(recipe)
    found = find(recipe.source / recipe.migrations) if recipe.migrations else Found()
    epoch = os.environ.get("SOURCE_DATE_EPOCH", "")
    built_at = datetime.fromtimestamp(int(epoch), UTC) if epoch.isdigit() else datetime.now(UTC)
    try:
        out.mkdir(parents=True, exist_ok=True)
        if recipe.image_archive is None:
            mtime = int(epoch) if epoch.isdigit() else commit_time or _NO_COMMIT_TIME
            artifact = _tarball(recipe, out, mtime, questions)
        else:
            artifact = _image(recipe, recipe.image_archive, out)
        manifest = Manifest(
            name=recipe.name,
            version=recipe.version,
            commit=commit,
            built_at=built_at.replace(microsecond=0),
            artifact=artifact,
            environment=_environment(recipe.environment),
            schema=_schema(recipe, found.migrations),
            migrations=found.migrations,
            order=found.order,
        )
        from_dict(manifest.as_dict())  # what is written here must be what `parse` takes
        return _write(manifest, out, key)
    except OSError as error:
        raise TurnoutError(
            "build-failed",
            observed=f"{error.filename or out}: {error.strerror}",
            expected="a source that can be read and an --out folder that can be written",
            remedy=f"check the permissions and the free space: ls -ld {out}; df {out}",
        ) from error


def _write(manifest: Manifest, out: Path, key: Path | None) -> Built:
    data = manifest.dump()
    manifest_path, signature_path = out / manifest.file, out / manifest.signature_file
    signature = sign(data, key) if key is not None else None
    manifest_path.write_bytes(data)
    if signature is None:
        signature_path.unlink(missing_ok=True)  # of an earlier build, and wrong for this one
    else:
        signature_path.write_bytes(signature)
    artifact_path = out / manifest.artifact.file
    return Built(manifest, manifest_path, artifact_path, signature_path if signature else None)


def _environment(names: Sequence[str]) -> tuple[str, ...]:
    faults = [
        Fault(
            f"environment[{index}]",
            # What stands after a = is a value, perhaps a secret.
            f"{name.split('=')[0]!r} with a value" if "=" in name else shown(name),
            "the name of a variable: letters, digits and _, no digit first",
            "give the name only, such as DATABASE_URL; values belong into the service file",
        )
        for index, name in enumerate(names)
        if not KEY.fullmatch(name)
    ]
    if faults:
        raise FaultsError("environment-keys", "the environment keys", faults)
    return tuple(sorted(set(names)))


# The commit -----------------------------------------------------------------------------------------------------


def _commit(recipe: Recipe) -> tuple[str, int | None]:
    """Return the commit's full id and its time in seconds since the epoch (None outside of git)."""
    wanted = recipe.commit or "HEAD"
    found, said = _git(recipe.source, "rev-parse", "--verify", f"{wanted}^{{commit}}")
    if found is not None:
        time, _ = _git(recipe.source, "show", "-s", "--format=%ct", found)
        return found, int(time) if time is not None and time.isdigit() else None
    if recipe.commit is not None and re.fullmatch(r"[0-9a-f]{40}|[0-9a-f]{64}", recipe.commit):
        return recipe.commit, None
    begin = (
        f"git init {recipe.source} && git -C {recipe.source} add . && git -C {recipe.source} commit -m {recipe.version}"
    )
    in_full = "give it in full: --commit $(git rev-parse HEAD), run where the source's repository is"
    own = re.search(r"^\s+(git .+)$", said, re.MULTILINE)  # git's own remedy, as for a "dubious ownership"
    by_hand = in_full if recipe.commit is not None else f"make one: {begin}; or {in_full}"
    raise TurnoutError(
        "commit-unknown",
        observed=f"git knows no commit {wanted} in {recipe.source}: {said.partition(chr(10))[0]}",
        expected="the commit that the release is built from",
        remedy=own[1] if own else by_hand,
    )


def is_dirty(source: Path) -> bool:
    """Tell whether tracked files below `source` differ from the commit."""
    return bool(_git(source, "status", "--porcelain", "--untracked-files=no", "--", ".")[0])


def _git(folder: Path, *arguments: str) -> tuple[str | None, str]:
    """Return what git answers (None where it fails), and what it says beside it."""
    try:
        result = subprocess.run(
            ["git", "-C", str(folder), *arguments], capture_output=True, text=True, errors="replace", timeout=60,
            check=False, env={**os.environ, "LC_ALL": "C"},
        )  # fmt: skip
    except FileNotFoundError:
        return None, "there is no program git on PATH"
    except subprocess.TimeoutExpired:
        return None, "no answer within 60 s"
    return result.stdout.strip() if result.returncode == 0 else None, result.stderr.strip()


# Migrations -----------------------------------------------------------------------------------------------------


def _schema(recipe: Recipe, migrations: Sequence[Migration]) -> SchemaRange:
    """Return the range; by default the release needs its own expand migrations, and knows all that it carries."""
    highest = max((m.version for m in migrations), default=0)
    needed = max((m.version for m in migrations if m.kind == EXPAND), default=0)
    schema = SchemaRange(
        min=needed if recipe.schema_min is None else recipe.schema_min,
        max=max(highest, recipe.schema_min or 0) if recipe.schema_max is None else recipe.schema_max,
    )
    if not 0 <= schema.min <= schema.max or schema.max < highest:
        raise TurnoutError(
            "schema-range",
            observed=f"a schema range from {schema.min} to {schema.max}, with migrations up to {highest}",
            expected="0 <= min <= max, and max at least the highest migration",
            remedy=f"give --schema-min and --schema-max that fit, e.g. --schema-min {needed} --schema-max {highest}",
        )
    return schema


# The tarball ----------------------------------------------------------------------------------------------------


def _tarball(recipe: Recipe, out: Path, mtime: int, must: Sequence[str]) -> Artifact:
    root = recipe.source.resolve()
    if not root.is_dir():
        raise TurnoutError(
            "source-missing",
            observed=f"there is no folder {recipe.source}",
            expected="the folder whose content becomes the release",
            remedy="turnout release build FOLDER ...",
        )
    if out.resolve() == root:
        raise TurnoutError(
            "out-is-source",
            observed=f"--out is the source itself, {root}",
            expected="another folder (also one inside of the source: it is left out of the release)",
            remedy=f"--out {recipe.source / 'dist'}",
        )
    members = find_members(root, out.resolve())
    left_out = [path for path in must if posixpath.normpath(path) not in members]
    if left_out:
        raise TurnoutError(
            "acceptance-left-out",
            observed=f"{', '.join(left_out)}: in the source, and not in the release",
            expected="the acceptance packs and their document in the release, so that they travel with the code",
            remedy=f"take them out of {IGNORE_FILE}, e.g. by a last line !{left_out[0]}",
        )
    file = out / artifact_file(recipe.name, recipe.version, TARBALL)
    with _compressed(file) as stream, tarfile.open(fileobj=stream, mode="w|", format=tarfile.PAX_FORMAT) as archive:
        for member in members:
            _add(archive, root, member, mtime)
    unpacked = sum(_on_disk(root / member) for member in members)
    return _artifact(file, TARBALL, unpacked)


def find_members(root: Path, out: Path) -> list[str]:
    """Return the paths that belong into the release, sorted, relative to `root`; `out` inside of it is left out.

    Raises `FaultsError` (code `source-unsafe`) with every entry that cannot be in a release.
    """
    faults: list[Fault] = []
    members: list[str] = []
    for path in _walk(root, _BY_DEFAULT, out):
        relative = path.relative_to(root).as_posix()
        fault = _unfit(root, path, relative)
        if fault is None:
            members.append(relative)
        else:
            faults.append(Fault(_escaped(relative), *fault))
    if faults:
        raise FaultsError("source-unsafe", f"the files below {root}", faults)
    if not any((root / member).is_file() for member in members):
        raise TurnoutError(
            "source-empty",
            observed=f"{root} has no file for the release",
            expected="at least one file",
            remedy=f"build the program first, or check {IGNORE_FILE}",
        )
    return sorted(members)


def _walk(folder: Path, ignore: Ignore, out: Path, prefix: str = "") -> Iterator[Path]:
    ignore = ignore.within(folder, prefix)
    with os.scandir(folder) as entries:
        for entry in sorted(entries, key=lambda entry: entry.name):
            relative = f"{prefix}{entry.name}"
            is_folder = entry.is_dir(follow_symlinks=False)
            left_out = any(rules.matches(relative, is_folder=is_folder) for rules in (_NEVER, ignore))
            if left_out or Path(entry.path) == out:
                continue
            yield Path(entry.path)
            if is_folder:
                yield from _walk(Path(entry.path), ignore, out, f"{relative}/")


def _unfit(root: Path, path: Path, relative: str) -> tuple[str, str, str] | None:
    """Return why an entry cannot be in a release (observed, expected, remedy), or None."""
    leave_out = f"remove it, or name it in {IGNORE_FILE}"
    if relative == MARKER:
        return "a name that Turnout writes itself", "another name", "rename it"
    unfit = _unfit_name(path.name)
    if unfit is not None:
        return f"a name {unfit}", "a name in UTF-8 that reads as it is", "rename it"
    mode = path.lstat().st_mode
    if stat.S_ISLNK(mode):
        target = str(path.readlink())
        wrong = _unfit_name(target) or _astray(root, relative)
        expected = "a relative link that stays inside the release and comes to an end"
        mend = f"copy the file instead, or {leave_out}"
        return (f"a link to {_escaped(target)}: {wrong}", expected, mend) if wrong else None
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        return "neither a file, a folder nor a link", "one of these", leave_out
    return None


def _unfit_name(name: str) -> str | None:
    """Return what in a name a host, a log or a reader could take for something else, or None.

    Every letter, sign and space is a name's own matter, joiners and marks that show nothing too.
    """
    if any(unicodedata.category(letter) == "Cs" for letter in name):
        return "that is no UTF-8"
    if any(unicodedata.category(letter) in _CONTROLS for letter in name):
        return "with control characters or line ends"
    if any(unicodedata.bidirectional(letter) in _TURNS for letter in name):
        return "with characters that turn the direction of what follows"
    return None


def _escaped(name: str) -> str:
    """Return a name as a message may show it: what shows nothing, or does something, as its number."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in name)


def _astray(root: Path, member: str) -> str | None:
    """Return what is wrong with the way that a link leads, or None; what it leads to need not be there.

    It is followed by the paths of the release alone: the folder of the source has another name on a host.
    """
    place: list[str] = []
    rest, links = member.split("/"), 0
    while rest:
        name = rest.pop(0)
        if name == ".." and not place:
            return "outside of the source"
        if name == "..":
            place.pop()
        elif name not in ("", "."):
            path = root.joinpath(*place, name)
            if not path.is_symlink():
                place.append(name)
                continue
            links += 1
            target = str(path.readlink())
            if target.startswith("/"):
                return "a path from the root of the host" if links == 1 else f"it leads to {_escaped(target)}"
            if links > _MOST_LINKS:
                return f"it leads to itself, or through more than {_MOST_LINKS} links"
            rest = target.split("/") + rest
    return None


def _add(archive: tarfile.TarFile, root: Path, member: str, mtime: int) -> None:
    path = root / member
    status = path.lstat()
    info = tarfile.TarInfo(member)
    info.mtime = mtime
    if stat.S_ISDIR(status.st_mode):
        info.type, info.mode = tarfile.DIRTYPE, 0o755
        archive.addfile(info)
    elif stat.S_ISLNK(status.st_mode):
        info.type, info.mode, info.linkname = tarfile.SYMTYPE, 0o777, str(path.readlink())
        archive.addfile(info)
    else:
        info.size = status.st_size
        info.mode = 0o755 if status.st_mode & 0o111 else 0o644
        with path.open("rb") as content:
            archive.addfile(info, content)


def _on_disk(path: Path) -> int:
    """Return what an entry takes on a disk with blocks of 4 KiB."""
    status = path.lstat()
    size = status.st_size if stat.S_ISREG(status.st_mode) else 1
    return -(-size // _BLOCK_BYTES) * _BLOCK_BYTES + _BLOCK_BYTES


# Images ---------------------------------------------------------------------------------------------------------


def _image(recipe: Recipe, archive: Path, out: Path) -> Artifact:
    """Compress an OCI archive (podman save --format oci-archive, skopeo copy oci-archive:) into the artifact."""
    image = recipe.source / archive
    wants = _read_image(image)
    file = out / artifact_file(recipe.name, recipe.version, OCI_ARCHIVE)
    with _compressed(file) as stream, image.open("rb") as content:
        shutil.copyfileobj(content, stream, CHUNK_BYTES)
    # The archive and its files lie side by side while it is unpacked; files are about twice what gzip makes of them.
    return replace(_artifact(file, OCI_ARCHIVE, 3 * image.stat().st_size), image=wants)


def _read_image(image: Path) -> Image:
    """Return how the one image of an OCI archive wants to be run (OCI image-spec 1.1, "Image Configuration")."""
    try:
        with tarfile.open(image, mode="r:") as archive:
            oci.member(archive, "oci-layout")
            listed = oci.manifests(archive)
            if len(listed) != 1:
                raise _no_image(image, f"{counted(len(listed), 'image')} in it")
            manifest = json.load(oci.blob(archive, listed[0]))
            if "config" not in manifest:
                raise _no_image(image, "a list of images")
            _check_layers(image, archive, manifest["layers"])
            about = json.load(oci.blob(archive, manifest["config"]))
            config = about.get("config") or {}
            variables = dict(pair.partition("=")[::2] for pair in config.get("Env") or ())
            return Image(
                str(about["architecture"]), posixpath.normpath(config.get("WorkingDir") or "/"), carried(variables)
            )
    except (OSError, tarfile.TarError, KeyError, ValueError, AttributeError, TypeError, IndexError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else "no OCI layout in it"
        raise _no_image(image, reason) from None


def _check_layers(image: Path, archive: tarfile.TarFile, layers: list[dict[str, Any]]) -> None:
    """Refuse layers that hosts cannot unpack: umoci 0.4.7, in Debian 12 and 13, reads plain tar and gzip."""
    for number, layer in enumerate(layers, start=1):
        kind = str(layer["mediaType"])
        if kind in _LAYERS and oci.blob(archive, layer).read(4) != _ZSTD_MAGIC:
            continue
        raise TurnoutError(
            "image-layer",
            observed=f"layer {number} of {len(layers)} in {image} is {_escaped(kind)[:100]}"
            + (", compressed by zstd" if kind in _LAYERS else ""),
            expected="layers that hosts of Debian 12 and 13 unpack: tar as it is, or compressed by gzip",
            remedy=f'podman: compression_format = "gzip" in containers.conf, then podman load --input {image} and '
            "podman save --format oci-archive again; docker: docker buildx build "
            f"--output type=oci,dest={image},compression=gzip,force-compression=true",
        )


def _no_image(image: Path, reason: str) -> TurnoutError:
    return TurnoutError(
        "image-archive",
        observed=f"{image} is no OCI archive of one image: {reason}",
        expected="an uncompressed OCI archive of one image, for one kind of machine",
        remedy=f"podman save --format oci-archive --output {image} IMAGE",
    )


# Compression ----------------------------------------------------------------------------------------------------


@contextmanager
def _compressed(file: Path) -> Iterator[IO[bytes]]:
    """Give a stream whose content lands compressed in `file`, which has its name only when it is whole."""
    partial = file.with_name(f".{file.name}.partial")
    command = ["zstd", "--quiet", "--force", f"-{_ZSTD_LEVEL}", "--single-thread", "-o", str(partial)]
    try:
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE)
    except FileNotFoundError:
        raise TurnoutError(
            "zstd-missing",
            observed="there is no program zstd on PATH",
            expected="zstd, which compresses the artifact",
            remedy="apt-get install zstd",
        ) from None
    assert process.stdin is not None  # noqa: S101 - it is a pipe
    assert process.stderr is not None  # noqa: S101 - it is a pipe
    try:
        with process.stdin as stream:
            yield stream
        message = process.stderr.read().decode(errors="replace").strip()
        if process.wait() != 0:
            raise OSError(None, f"zstd failed: {message or 'no message'}", str(file))
        partial.replace(file)
    except BrokenPipeError:
        message = process.stderr.read().decode(errors="replace").strip()
        raise OSError(None, f"zstd failed: {message or 'no message'}", str(file)) from None
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
        process.stderr.close()
        partial.unlink(missing_ok=True)


def _artifact(file: Path, kind: str, unpacked_bytes: int) -> Artifact:
    digest, size = hashlib.sha256(), 0
    with file.open("rb") as stream:
        for chunk in file_chunks(stream):
            digest.update(chunk)
            size += len(chunk)
    return Artifact(kind, file.name, digest.hexdigest(), size, unpacked_bytes)
