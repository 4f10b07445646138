"""Directories that both colors share: made once, told as they are, never taken away."""

from __future__ import annotations

import getpass
from pathlib import Path

from ansible_collections.turnout.ops.plugins.module_utils.slot_colors import make_shared, settle
from ansible_collections.turnout.ops.plugins.module_utils.slot_files import Places
from ansible_collections.turnout.ops.plugins.module_utils.slot_report import directory_info, undeclared

ME = getpass.getuser()


def params(*sources: str) -> dict[str, object]:
    return {"user": ME, "directories": [{"path": one, "source": f"/var/lib/shop/{one}"} for one in sources]}


def test_what_is_not_there_is_made_and_what_is_stays_as_it_is(tmp_path: Path) -> None:
    places = Places(tmp_path, "shop")
    make_shared(places, params("media", "public/uploads"))
    state = tmp_path / "var/lib/shop"
    assert (state / "public/uploads").is_dir()
    assert (state / "media").stat().st_mode & 0o777 == 0o750
    (state / "media").chmod(0o700)
    (state / "media/kept").touch()
    make_shared(places, params("media"))
    assert (state / "media").stat().st_mode & 0o777 == 0o700
    assert (state / "media/kept").exists()
    make_shared(places, {"user": ME})


def test_a_host_says_what_a_directory_is(tmp_path: Path) -> None:
    places = Places(tmp_path, "shop")
    assert directory_info(places, "/var/lib/shop/media", ME) == {"exists": False, "mount": "/", "writable": None}
    make_shared(places, params("media"))
    assert directory_info(places, "/var/lib/shop/media", ME) == {"exists": True, "mount": "/", "writable": True}
    assert directory_info(places, "/var/lib/shop/media", "no-such-user")["writable"] is None
    assert directory_info(Places(Path("/"), "shop"), "/proc/sys/kernel", ME)["mount"].startswith("/proc")


def test_files_outside_of_declared_directories_are_named(tmp_path: Path) -> None:
    places = Places(tmp_path, "shop")
    assert undeclared(places, []) == []
    make_shared(places, params("media", "public/uploads", "a", "b", "c"))
    (tmp_path / "var/lib/shop/.cache").mkdir()
    assert undeclared(places, ["/var/lib/shop/media", "/var/lib/shop/public/uploads"]) == ["a", "b", "c"]
    assert undeclared(places, []) == ["a", "b", "c"]


def test_a_confirmed_release_ends_the_way_back_of_commands_before_it(tmp_path: Path) -> None:
    places = Places(tmp_path, "shop")
    places.kept.mkdir(parents=True)
    for color in ("blue", "green"):
        (places.kept / f"{color}.steps.json").touch()
    settle(places, {"color": "green"}, check=True)
    assert len(list(places.kept.iterdir())) == 2
    settle(places, {"color": "green"}, check=False)
    settle(places, {"color": "green"}, check=False)
    assert [path.name for path in places.kept.iterdir()] == ["green.steps.json"]
