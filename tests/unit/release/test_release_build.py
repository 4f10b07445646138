"""Builds: the same tree gives the same bytes, and nothing gets in that must not."""

import contextlib
import hashlib
import io
import json
import os
import subprocess
import tarfile
import time
from dataclasses import replace
from pathlib import Path

import pytest
from fit_names import FIT_LINKS, FIT_NAMES
from hypothesis import given
from hypothesis import strategies as st
from turnout.errors import TurnoutError
from turnout.faults import FaultsError
from turnout.migrations.find import find
from turnout.release.build import build, find_members, is_dirty
from turnout.release.ignore import Ignore
from turnout.release.manifest import Image, parse

NOWHERE = Path("/nowhere")


def members_of(artifact: Path) -> list[tarfile.TarInfo]:
    data = subprocess.run(["zstd", "-dcq", artifact], check=True, capture_output=True).stdout
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        return archive.getmembers()


def test_a_build_is_whole(built, keys):
    manifest = parse(built.manifest_path.read_bytes())
    assert manifest == built.manifest
    data = built.artifact_path.read_bytes()
    assert manifest.artifact.sha256 == hashlib.sha256(data).hexdigest()
    assert manifest.artifact.bytes == len(data)
    assert manifest.artifact.unpacked_bytes >= 5000
    assert manifest.environment == ("DATABASE_URL",)
    assert [(m.version, m.id, m.kind) for m in manifest.migrations] == [
        (1, "0001_init", "expand"),
        (2, "0002_more", "expand"),
    ]
    assert built.signature_path is not None


def test_the_same_tree_gives_the_same_bytes_whatever_its_times_modes_and_order(recipe, tmp_path):
    first = build(recipe, tmp_path / "one", None).artifact_path.read_bytes()
    copy = tmp_path / "copy"
    for path in sorted(recipe.source.rglob("*"), reverse=True):
        target = copy / path.relative_to(recipe.source)
        target.parent.mkdir(parents=True, exist_ok=True)
        if path.is_symlink():
            target.symlink_to(path.readlink())
        elif path.is_dir():
            target.mkdir(exist_ok=True, mode=0o700)
        else:
            target.write_bytes(path.read_bytes())
            target.chmod(0o700 if path.stat().st_mode & 0o100 else 0o600)
            os.utime(target, (5, 5))
    assert build(replace(recipe, source=copy), tmp_path / "two", None).artifact_path.read_bytes() == first


def test_members_are_sorted_roots_and_plain(built):
    members = members_of(built.artifact_path)
    assert [member.name for member in members] == sorted(member.name for member in members)
    assert {(member.uid, member.gid, member.uname) for member in members} == {(0, 0, "")}
    modes = {member.name: member.mode for member in members}
    assert modes["bin/api"] == 0o755
    assert modes["lib/data.txt"] == 0o644


def test_source_date_epoch_sets_every_time(recipe, tmp_path, monkeypatch):
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    one = build(recipe, tmp_path / "one", None)
    time.sleep(1.1)
    two = build(recipe, tmp_path / "two", None)
    assert {member.mtime for member in members_of(one.artifact_path)} == {1700000000}
    assert one.manifest_path.read_bytes() == two.manifest_path.read_bytes()


def test_setuid_bits_do_not_survive(recipe, tmp_path):
    (recipe.source / "bin/api").chmod(0o4755)
    built = build(recipe, tmp_path / "dist", None)
    assert {member.mode for member in members_of(built.artifact_path)} <= {0o755, 0o644, 0o777}


def test_links_that_stay_inside_are_kept(built):
    links = {member.name: member.linkname for member in members_of(built.artifact_path) if member.issym()}
    assert links == {"current": "lib/data.txt"}


@pytest.mark.parametrize("target", ["/etc/passwd", "../outside", "lib/../../outside", "bin/../.."])
def test_links_that_lead_out_are_refused_and_named(recipe, tmp_path, target):
    (recipe.source / "escape").symlink_to(target)
    with pytest.raises(FaultsError) as caught:
        build(recipe, tmp_path / "dist", None)
    assert caught.value.code == "source-unsafe"
    assert [fault.path for fault in caught.value.faults] == ["escape"]
    assert not list((tmp_path / "dist").glob("*"))


def test_a_link_through_a_link_cannot_lead_out(recipe, tmp_path):
    (tmp_path / "outside").mkdir()
    (recipe.source / "a").mkdir()
    (recipe.source / "a/up").symlink_to("..")
    (recipe.source / "b").symlink_to("a/up/../outside")
    with pytest.raises(FaultsError):
        build(recipe, tmp_path / "dist", None)


@pytest.mark.parametrize(
    ("links", "wrong"),
    [
        ({"a": "a"}, "leads to itself"),
        ({"a": "b", "b": "a"}, "leads to itself"),
        ({"a": "lib/../b/x", "b": "a"}, "leads to itself"),
        ({f"l{n}": f"l{n + 1}" for n in range(40)} | {"l40": "lib"}, "more than 32 links"),
        ({"a": "../source/lib/data.txt"}, "outside of the source"),  # the folder has another name on a host
        ({"a": "missing/../../x"}, "outside of the source"),
        ({"a": "b", "b": "/etc"}, "leads to /etc"),
    ],
)
def test_links_that_no_host_can_follow_are_refused(recipe, links, wrong):
    for name, target in links.items():
        (recipe.source / name).symlink_to(target)
    with pytest.raises(FaultsError) as caught:
        find_members(recipe.source, NOWHERE)
    assert caught.value.code == "source-unsafe"
    assert wrong in {fault.path: fault.observed for fault in caught.value.faults}[next(iter(links))]


def test_links_to_nothing_to_folders_and_through_links_are_kept(recipe):
    targets = {**FIT_LINKS, "up": "lib/..", "through": "up/current", "lib/back": "../bin/api"}
    for name, target in targets.items():
        (recipe.source / name).symlink_to(target)
    assert set(targets) <= set(find_members(recipe.source, NOWHERE))


def test_names_of_any_letters_and_spaces_are_kept(recipe, tmp_path):
    for name in FIT_NAMES:
        (recipe.source / name).write_text(name)
    built = build(recipe, tmp_path / "dist", None)
    assert set(FIT_NAMES) <= {member.name for member in members_of(built.artifact_path)}


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("line\u2028end", "line\\u2028end"), ("esc\x1b[2J", "esc\\x1b[2J"), ("c1\x9b", "c1\\x9b"), ("tab\t", "tab\\t"),
        ("gpj\u202e.exe", "gpj\\u202e.exe"), ("isolate\u2066", "isolate\\u2066"), ("bad\udcff", "bad\\udcff"),
    ],
)  # fmt: skip
def test_names_that_read_as_something_else_are_refused_and_shown_as_they_are(recipe, name, told):
    (recipe.source / name).touch()
    (recipe.source / "link").symlink_to(name)
    with pytest.raises(FaultsError) as caught:
        find_members(recipe.source, NOWHERE)
    assert sorted(fault.path for fault in caught.value.faults) == sorted([told, "link"])
    assert str(caught.value).isprintable() or set(filter(lambda char: not char.isprintable(), str(caught.value))) == {
        "\n"
    }


def test_all_unfit_entries_are_told_at_once(recipe, tmp_path):
    os.mkfifo(recipe.source / "pipe")
    (recipe.source / ".turnout-complete").touch()
    (recipe.source / "new\nline").touch()
    Path(os.fsdecode(bytes(recipe.source / "bad") + b"\xff")).touch()
    with pytest.raises(FaultsError) as caught:
        build(recipe, tmp_path / "dist", None)
    assert len(caught.value.faults) == 4


def test_history_and_caches_stay_out_and_the_ignore_file_decides_the_rest(recipe, tmp_path):
    for name in (".git/config", "a/__pycache__/x.pyc", "secret.env", "keep.env", "log/a.log", "turnout-release.yml"):
        (recipe.source / name).parent.mkdir(parents=True, exist_ok=True)
        (recipe.source / name).touch()
    (recipe.source / ".turnoutignore").write_text("# no secrets\n*.env\n!keep.env\n/log/\n")
    names = find_members(recipe.source, NOWHERE)
    assert "keep.env" in names
    for absent in (
        ".git",
        ".git/config",
        "a/__pycache__",
        "secret.env",
        "log",
        ".turnoutignore",
        "turnout-release.yml",
    ):
        assert absent not in names


def test_the_output_folder_inside_the_source_stays_out(recipe):
    out = recipe.source / "dist"
    first = build(recipe, out, None)
    again = build(replace(recipe, version="1.1.1"), out, None)
    assert again.manifest.artifact.sha256 == first.manifest.artifact.sha256


def test_the_output_folder_cannot_be_the_source(recipe):
    with pytest.raises(TurnoutError) as caught:
        build(recipe, recipe.source, None)
    assert caught.value.code == "out-is-source"


def test_an_empty_source_is_refused(tmp_path, recipe):
    (tmp_path / "empty/folder").mkdir(parents=True)
    with pytest.raises(TurnoutError) as caught:
        build(replace(recipe, source=tmp_path / "empty", migrations=None), tmp_path / "dist", None)
    assert caught.value.code == "source-empty"


def test_a_failing_signature_leaves_no_manifest(recipe, tmp_path):
    with pytest.raises(TurnoutError):
        build(recipe, tmp_path / "dist", tmp_path / "no-key")
    assert not list((tmp_path / "dist").glob("*.yml*"))


def test_an_unsigned_build_leaves_no_old_signature(recipe, keys, tmp_path):
    build(recipe, tmp_path / "dist", keys.key)
    assert build(recipe, tmp_path / "dist", None).signature_path is None
    assert not list((tmp_path / "dist").glob("*.sig"))


@pytest.mark.parametrize("names", [("a.b",), ("A=hunter2",), ("A B",), ("",)])
def test_environment_keys_are_names_and_values_are_never_shown(recipe, tmp_path, names):
    with pytest.raises(FaultsError) as caught:
        build(replace(recipe, environment=names), tmp_path / "dist", None)
    assert "hunter2" not in str(caught.value)


# The commit -----------------------------------------------------------------------------------------------------


def git(folder: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=t", "-c", "user.email=t@example.com", "-c", "commit.gpgsign=false"]
    result = subprocess.run(["git", "-C", folder, *identity, *arguments], check=True, capture_output=True, text=True)
    return result.stdout.strip()


def test_the_commit_is_head_and_its_time_is_the_files_time(recipe, tmp_path):
    git(recipe.source.parent, "init", "-q")
    git(recipe.source, "add", ".")
    git(recipe.source, "commit", "-q", "-m", "x", "--date=2026-01-02T03:04:05Z")
    built = build(replace(recipe, commit=None), tmp_path / "dist", None)
    assert built.manifest.commit == git(recipe.source, "rev-parse", "HEAD")
    times = {member.mtime for member in members_of(built.artifact_path)}
    assert times == {int(git(recipe.source, "show", "-s", "--format=%ct"))}
    assert not is_dirty(recipe.source)
    (recipe.source / "bin/api").write_text("changed")
    assert is_dirty(recipe.source)


def test_outside_of_git_the_commit_must_be_given(recipe, tmp_path):
    with pytest.raises(TurnoutError) as caught:
        build(replace(recipe, commit=None), tmp_path / "dist", None)
    assert caught.value.code == "commit-unknown"
    assert "--commit" in caught.value.remedy


def test_an_owner_that_git_does_not_trust_is_told_in_its_words_with_its_remedy(recipe, tmp_path, monkeypatch):
    git(recipe.source, "init", "-q")
    git(recipe.source, "add", ".")
    git(recipe.source, "commit", "-q", "-m", "x")
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")  # git's own way to test it
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(TurnoutError) as caught:
        build(replace(recipe, commit=None), tmp_path / "dist", None)
    assert caught.value.code == "commit-unknown"
    assert f"fatal: detected dubious ownership in repository at '{recipe.source}'" in caught.value.observed
    assert caught.value.remedy == f"git config --global --add safe.directory {recipe.source}"
    monkeypatch.delenv("GIT_TEST_ASSUME_DIFFERENT_OWNER")
    assert build(replace(recipe, commit=None), tmp_path / "dist", None)


def test_a_missing_git_is_told(recipe, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(TurnoutError, match="there is no program git on PATH"):
        build(replace(recipe, commit=None), tmp_path / "dist", None)


# Migrations -----------------------------------------------------------------------------------------------------


def migrations(folder: Path, **files: str) -> Path:
    for name, content in files.items():
        path = folder / name.replace("__", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return folder


@pytest.mark.parametrize(
    ("comment", "kind"),
    [
        ("", "expand"),
        ("-- turnout: kind=contract\n", "contract"),
        ("-- a\n-- turnout:kind = contract --\n", "contract"),
        ("/* turnout: kind=contract */\n", "contract"),
        ("# turnout: kind=expand\n", "expand"),
        ("\n" * 30 + "-- turnout: kind=contract\n", "expand"),
    ],
)
def test_the_kind_is_declared_in_a_comment(tmp_path, comment, kind):
    folder = migrations(tmp_path, **{"1_a__sql": comment + "SELECT 1;"})
    assert find(folder).migrations[0].kind == kind


@pytest.mark.parametrize(
    ("names", "found"),
    [
        (["0001_init.up.sql", "0001_init.down.sql", "0002_b.up.sql"], [(1, "0001_init"), (2, "0002_b")]),
        (["0001_init.sql", "0001_init.rollback.sql", "README.md"], [(1, "0001_init")]),
        (["20260102030405_a.py", "__init__.py"], [(20260102030405, "20260102030405_a")]),
        (["00001_a/up.sql", "00001_a/down.sql"], [(1, "00001_a")]),
        (["20260102_b/migration.sql", "migration_lock.toml"], [(20260102, "20260102_b")]),
    ],
)
def test_the_usual_layouts_of_migrations_are_understood(tmp_path, names, found):
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    assert [(m.version, m.id) for m in find(tmp_path).migrations] == found


@pytest.mark.parametrize(
    "files",
    [
        {},
        {"0001_a__sql": "", "1_b__sql": ""},
        {"0000_a__sql": ""},
        {"0001_a__sql": "-- turnout: kind=contrakt"},
        {"0001_a b__sql": ""},
    ],
)
def test_migrations_that_are_not_clear_are_refused(tmp_path, files):
    with pytest.raises(FaultsError) as caught:
        find(migrations(tmp_path, **files))
    assert caught.value.code == "migrations-invalid"


def test_a_missing_folder_of_migrations_is_told(recipe, tmp_path):
    with pytest.raises(TurnoutError) as caught:
        build(replace(recipe, migrations=Path("none")), tmp_path / "dist", None)
    assert caught.value.code == "migrations-missing"


@pytest.mark.parametrize(
    ("kinds", "given", "expected"),
    [
        ("ee", {}, (2, 2)),
        ("eec", {}, (2, 3)),  # it runs before its contract migration is applied, and after
        ("ece", {}, (3, 3)),
        ("ee", {"schema_min": 1}, (1, 2)),
        ("ee", {"schema_max": 5}, (2, 5)),
    ],
)
def test_the_schema_range_follows_from_the_migrations(recipe, tmp_path, kinds, given, expected):
    folder = recipe.source / "other"
    folder.mkdir()
    for number, kind in enumerate(kinds, start=1):
        word = {"e": "expand", "c": "contract"}[kind]
        (folder / f"{number}_x.sql").write_text(f"-- turnout: kind={word}\n")
    changed = replace(recipe, migrations=Path("other"), **given)
    schema = build(changed, tmp_path / "dist", None).manifest.schema
    assert (schema.min, schema.max) == expected


@pytest.mark.parametrize(("low", "high"), [(3, 2), (-1, None), (None, 1)])
def test_an_impossible_schema_range_is_refused(recipe, tmp_path, low, high):
    with pytest.raises(TurnoutError) as caught:
        build(replace(recipe, schema_min=low, schema_max=high), tmp_path / "dist", None)
    assert caught.value.code == "schema-range"


# Images ---------------------------------------------------------------------------------------------------------


def oci_archive(path: Path, files: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w") as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


def image(path: Path, config: dict[str, object], *layers: tuple[str, bytes]) -> Path:
    """Write an OCI archive of one image with this configuration and layers: the end of their media type, content."""
    about = json.dumps({"architecture": "amd64", "os": "linux", "config": config}).encode()
    listed = [{"digest": f"sha256:l{number}", "mediaType": kind} for number, (kind, _) in enumerate(layers)]
    blobs = {"a": about, "b": json.dumps({"config": {"digest": "sha256:a"}, "layers": listed}).encode()}
    blobs |= {f"l{number}": content for number, (_, content) in enumerate(layers)}
    index = json.dumps({"manifests": [{"digest": "sha256:b"}]}).encode()
    files = {"oci-layout": b"{}", "index.json": index, **{f"blobs/sha256/{name}": blobs[name] for name in blobs}}
    return oci_archive(path, files)


def test_an_image_becomes_an_artifact_that_says_how_it_is_run(recipe, tmp_path):
    config = {"WorkingDir": "/app/", "Env": ["PATH=/app/bin:/bin", "HOME=/root", "PORT=1", "a.b=x", "A=b=c"]}
    archive = image(tmp_path / "image.tar", config)
    built = build(replace(recipe, image_archive=archive), tmp_path / "dist", None)
    assert built.manifest.artifact.kind == "oci-archive"
    assert built.artifact_path.name == "shop-1.1.0.oci.tar.zst"
    assert (
        subprocess.run(["zstd", "-dcq", built.artifact_path], capture_output=True, check=True).stdout
        == archive.read_bytes()
    )
    # HOME is the state folder, PORT is Turnout's, and a unit takes no names in small letters.
    wanted = Image("amd64", "/app", {"A": "b=c", "PATH": "/app/bin:/bin"})
    assert built.manifest.artifact.image == wanted
    assert parse(built.manifest_path.read_bytes()).artifact.image == wanted


def test_an_image_that_says_nothing_begins_at_its_root(recipe, tmp_path):
    built = build(replace(recipe, image_archive=image(tmp_path / "image.tar", {})), tmp_path / "dist", None)
    assert built.manifest.artifact.image == Image("amd64", "/", {})


LAYER = "application/vnd.oci.image.layer.v1.tar"
ZSTD = b"\x28\xb5\x2f\xfd rest"


@pytest.mark.parametrize(
    "kind", [LAYER, f"{LAYER}+gzip", "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip"]
)
def test_layers_that_hosts_unpack_are_released(recipe, tmp_path, kind):
    archive = image(tmp_path / "image.tar", {}, (kind, b"\x1f\x8b"))
    assert build(replace(recipe, image_archive=archive), tmp_path / "dist", None)


@pytest.mark.parametrize(
    ("kind", "content"),
    [
        (f"{LAYER}+zstd", ZSTD),
        (f"{LAYER}+gzip", ZSTD),
        (LAYER, ZSTD),
        (f"{LAYER}+gzip+encrypted", b""),
        ("application/vnd.docker.image.rootfs.diff.tar.gzip", b"\x1f\x8b"),
    ],
)
def test_layers_that_no_host_unpacks_are_refused_at_the_build(recipe, tmp_path, kind, content):
    archive = image(tmp_path / "image.tar", {}, (LAYER, b"tar"), (kind, content))
    with pytest.raises(TurnoutError) as caught:
        build(replace(recipe, image_archive=archive), tmp_path / "dist", None)
    assert caught.value.code == "image-layer"
    assert "layer 2 of 2" in caught.value.observed
    assert "compression=gzip" in caught.value.remedy
    assert not list((tmp_path / "dist").glob("*"))


NO_IMAGES = {
    "nothing": {},
    "a layout alone": {"oci-layout": b"{}"},
    "an empty index": {"oci-layout": b"{}", "index.json": b"{}"},
    "two images": {"oci-layout": b"{}", "index.json": b'{"manifests": [{}, {}]}'},
    "a list of images": {
        "oci-layout": b"{}", "index.json": b'{"manifests": [{"digest": "sha256:x"}]}',
        "blobs/sha256/x": b'{"manifests": []}',
    },
    "no configuration": {
        "oci-layout": b"{}", "index.json": b'{"manifests": [{"digest": "sha256:x"}]}',
        "blobs/sha256/x": b'{"config": {"digest": "sha256:y"}}',
    },
}  # fmt: skip


@pytest.mark.parametrize("content", NO_IMAGES.values(), ids=NO_IMAGES)
def test_what_is_no_image_is_refused(recipe, tmp_path, content):
    archive = oci_archive(tmp_path / "image.tar", content)
    with pytest.raises(TurnoutError) as caught:
        build(replace(recipe, image_archive=archive), tmp_path / "dist", None)
    assert caught.value.code == "image-archive"


# .turnoutignore -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("patterns", "path", "folder", "ignored"),
    [
        (["*.log"], "a.log", False, True),
        (["*.log"], "x/y/a.log", False, True),
        (["/a.log"], "x/a.log", False, False),
        (["/a.log"], "a.log", False, True),
        (["a/b"], "a/b", False, True),
        (["a/b"], "x/a/b", False, False),
        (["b/"], "b", False, False),
        (["b/"], "x/b", True, True),
        (["*.log", "!a.log"], "a.log", False, False),
        (["!a.log", "*.log"], "a.log", False, True),
        (["a/**/b"], "a/x/y/b", False, True),
        (["a/**/b"], "a/b", False, True),
        (["a/**"], "a/x/y", False, True),
        (["a/*"], "a/x/y", False, False),
        (["?.txt"], "a.txt", False, True),
        (["?.txt"], "ab.txt", False, False),
        (["# a"], "# a", False, False),
        (["a.b"], "axb", False, False),
        (["", "  ", "/"], "a", True, False),
    ],
)
def test_ignore_patterns(patterns, path, folder, ignored):
    assert Ignore.of(patterns).matches(path, is_folder=folder) is ignored


@given(st.lists(st.text(max_size=10), max_size=4), st.text(min_size=1, max_size=10))
def test_no_pattern_crashes(patterns, path):
    with contextlib.suppress(TurnoutError):
        Ignore.of(patterns).matches(path, is_folder=False)


# Each is a tree with its ignore files; git itself says what is left of it.
TREE = (
    "a", "b.log", "keep.log", "#a", "!a", "a ", " a", "x/a", "x/b.log", "x/keep.log", "x/y/a", "x/y/z/b.log",
    "logs/1", "logs/keep", "src/[a]", "src/a-b", "src/\u202f", "build/out/1", "lib/build", "back\\slash", "{a,b}",
)  # fmt: skip


@pytest.mark.parametrize(
    "files",
    [
        {"": "*.log\n!keep.log\n"},
        {"": "\ufeff*.log\r\n!keep.log\r\n"},
        {"": "a \n"},
        {"": "a\\ \n"},
        {"": "\\#a\n\\!a\n"},
        {"": "#a\n"},
        {"": " a\n"},
        {"": "logs/*\n!logs/keep\n"},
        {"": "logs/**\n!logs/keep\n"},
        {"": "logs/\n!logs/keep\n"},
        {"": "x/**/b.log\n"},
        {"": "**/y\n"},
        {"": "/build\n"},
        {"": "build/\n"},
        {"": "x/**/\n"},
        {"": "*\n!*/\n!x/**\n"},
        {"": "src/\\[a\\]\n[!a-z]a\n"},
        {"": "src/[[]a]\nsrc/[]a]-b\n"},
        {"": "src/\u202f\na\t\n"},
        {"": "back\\\\slash\n{a,b}\n?a\n"},
        {"": "*.log\n", "x": "!b.log\n/a\n"},
        {"": "a\n", "x": "!a\n", "x/y": "a\n*.log\n"},
        {"": "x\n", "x": "!*\n"},
    ],
)
def test_ignore_files_mean_what_they_mean_to_git(tmp_path, files):
    for name in TREE:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    for folder, text in files.items():
        (tmp_path / folder / ".turnoutignore").write_text(text, newline="")
    git(tmp_path, "init", "-q")
    listed = ["git", "-C", tmp_path, "ls-files", "-z", "--others", "--exclude-per-directory=.turnoutignore"]
    left = subprocess.run(listed, check=True, capture_output=True, text=True).stdout.split("\0")
    members = {name for name in find_members(tmp_path, NOWHERE) if not (tmp_path / name).is_dir()}
    assert members == {name for name in left if name and not name.endswith(".turnoutignore")}


@pytest.mark.parametrize("line", ["*.[log", "[z-a]", "a\\", "[[:digit:]]", "[\\]]", "!", "!["])
def test_a_pattern_that_cannot_be_followed_is_told_with_its_line(recipe, line):
    (recipe.source / "lib/.turnoutignore").write_text(f"# fine\n*.log\n{line}\n")
    with pytest.raises(TurnoutError) as caught:
        find_members(recipe.source, NOWHERE)
    assert caught.value.code == "ignore-file"
    assert caught.value.observed.startswith(f"{recipe.source}/lib/.turnoutignore:3: {line!r}")
