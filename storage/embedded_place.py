"""Where an embedded cluster lives, and which user its server runs as.

PostgreSQL refuses to run as root, so root starts it as `postgres` or else `nobody`, who may not be able to enter the
data folder. Then the cluster is kept where that user can reach it; the folders above the data folder are the user's,
and are never changed.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import itertools
import os
import pwd
import stat
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from storage.embedded_errors import ClusterUnreachableError, EmbeddedPostgresError

NOTE = "CLUSTER"
_BACK_NOTE = "FOLDER"
SYSTEM_FOLDER = Path("/var/db/streamgauge" if sys.platform == "darwin" else "/var/lib/streamgauge")
_RUN_FOLDER = Path("/var/run/streamgauge" if sys.platform == "darwin" else "/run/streamgauge")
_LONGEST_SOCKET_PATH = 103 if sys.platform == "darwin" else 107


@dataclass(frozen=True)
class ServerAccount:
    """The user that the server runs as; `switch` where that is not the user of this process, which is root then."""

    uid: int
    gid: int
    name: str
    switch: bool


def run_as(
    account: ServerAccount, command: Sequence[str | Path], *, keep: Sequence[int] = (), output: int | None = None
) -> subprocess.CompletedProcess[str]:
    """Runs a program of PostgreSQL (or `sh`) as the account, in a session of its own that Ctrl-C does not reach.

    `keep` are descriptors it inherits; its output goes to the descriptor `output`, or into the result's `stdout`.
    """
    # PGPORT, PGDATA and their like are meant for other servers; the log is read by us, in English.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PG")} | {"LC_ALL": "C"}
    return subprocess.run(  # noqa: S603 - the commands are built in this folder, and no shell reads their arguments
        [os.fspath(part) for part in command],
        check=False,
        cwd="/",
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE if output is None else output,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        pass_fds=keep,
        start_new_session=True,
        user=account.uid if account.switch else None,
        group=account.gid if account.switch else None,
        extra_groups=[] if account.switch else None,
    )


def launch(account: ServerAccount, command: Sequence[str | Path], keep: int, log: int) -> None:
    """Starts a program that goes on by itself, no child of ours; it inherits `keep`, and `log` as its output."""
    try:
        run_as(account, ["/bin/sh", "-c", '"$@" &', "sh", *command], keep=[keep], output=log)
    finally:
        os.close(log)


def locate(folder: Path) -> tuple[Path, ServerAccount]:
    """The cluster's home for a data folder (resolved), made where it is missing, and the user its server runs as.

    It is `postgres` in the data folder if the server's user can work there, else a folder of the system that the file
    `CLUSTER` in the data folder names. Once made it stays: what is found there is never replaced by an empty one.
    Raises `ClusterUnreachableError`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lock = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        note, inside = folder / NOTE, folder / "postgres"
        if note.exists():
            home = _noted(folder, note)
            account = prepare_place(home)
        elif (inside / "data").exists() or os.geteuid() != 0:
            home, account = inside, prepare_place(inside)
        else:
            found = _try_inside(inside)
            if found is not None:
                return inside, found
            home, account = _make_elsewhere(folder)
            write_file(home / _BACK_NOTE, os.fsencode(folder), account)
            write_file(note, os.fsencode(home) + b"\n", None)
    finally:
        os.close(lock)
    if not _can_work_in(home, account):
        raise ClusterUnreachableError(
            f"the cluster is in {home}, where PostgreSQL's user {account.name} may not enter or not write"
        )
    return home, account


def _noted(folder: Path, note: Path) -> Path:
    """Where the file CLUSTER says the cluster is; follows a folder that was moved, refuses one that was copied."""
    home = Path(os.fsdecode(note.read_bytes().rstrip(b"\n")))
    if home.parent != SYSTEM_FOLDER or home.resolve() != home:
        # Root gives the folder to the server's user: a file that anybody may have put here must not choose it freely.
        raise ClusterUnreachableError(f"{note} names {home}, which is not a folder in {SYSTEM_FOLDER}")
    if not home.is_dir():
        raise ClusterUnreachableError(
            f"{note} says that the cluster is in {home}, which is gone: restore it, or delete {note} to start empty"
        )
    back = home / _BACK_NOTE
    owner = Path(os.fsdecode(back.read_bytes()))
    if owner != folder:
        with contextlib.suppress(FileNotFoundError):
            if (owner / NOTE).read_bytes() == note.read_bytes():
                raise ClusterUnreachableError(
                    f"{folder} is a copy of {owner}, which the cluster in {home} belongs to: "
                    f"delete {note} to start empty"
                )
        write_file(back, os.fsencode(folder), prepare_place(home))
    return home


def _try_inside(home: Path) -> ServerAccount | None:
    """Makes the home in the data folder; None, and nothing left behind, where root's server could not work there."""
    try:
        account = prepare_place(home)
        if _can_work_in(home, account):
            return account
    except PermissionError:
        pass  # Some file systems refuse even root a change of owner; the system's folder is on another one.
    with contextlib.suppress(OSError):
        home.rmdir()
    return None


def _make_elsewhere(folder: Path) -> tuple[Path, ServerAccount]:
    """A new home in the system's folder, named after the data folder."""
    _make_public(SYSTEM_FOLDER)
    digest = hashlib.sha256(os.fsencode(folder)).hexdigest()[:16]
    for number in itertools.count(1):
        # A data folder that was moved away, or deleted, has left its cluster behind under this name: it is not ours.
        home = SYSTEM_FOLDER / (digest if number == 1 else f"{digest}-{number}")
        with contextlib.suppress(FileExistsError):
            home.mkdir(mode=0o700)
            break
    return home, prepare_place(home)


def _make_public(folder: Path) -> None:
    """Makes a folder of our own that everybody may enter, whatever the umask."""
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o755)


def prepare_place(folder: Path, account: ServerAccount | None = None) -> ServerAccount:
    """Makes the folder, or takes over one of root's, private to the account; without one, to whoever fits its owner.

    Raises `ClusterUnreachableError` where the folder is another user's, or a link.
    """
    with contextlib.suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    status = folder.lstat()
    if not stat.S_ISDIR(status.st_mode):
        raise ClusterUnreachableError(f"{folder} is not a folder")
    account = account or _account(status.st_uid)
    if account.uid != status.st_uid:
        if not account.switch or status.st_uid != 0:
            raise ClusterUnreachableError(f"{folder} was made by another user (id {status.st_uid}), or by root for it")
        os.chown(folder, account.uid, account.gid)
    folder.chmod(0o700)
    return account


def _account(owner: int) -> ServerAccount:
    """Who the server runs as: this user; for root the owner of what is there already, or a user without privileges."""
    uid = os.geteuid()
    if uid != 0:
        return ServerAccount(uid, os.getegid(), _name_of(uid), switch=False)
    with contextlib.suppress(KeyError):
        if owner != 0:
            entry = pwd.getpwuid(owner)
            return ServerAccount(entry.pw_uid, entry.pw_gid, entry.pw_name, switch=True)
    for name in ("postgres", "nobody"):
        with contextlib.suppress(KeyError):
            entry = pwd.getpwnam(name)
            return ServerAccount(entry.pw_uid, entry.pw_gid, entry.pw_name, switch=True)
    raise EmbeddedPostgresError(
        "PostgreSQL does not run as root, and there is neither a user postgres nor a user nobody"
    )


def _name_of(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        raise EmbeddedPostgresError(f"PostgreSQL needs a name for its user, and the user id {uid} has none") from None


def _can_work_in(folder: Path, account: ServerAccount) -> bool:
    """Whether the account can enter the folder and write there, asked by trying: access lists count too."""
    script = 'cd "$1" 2>/dev/null && test -w .'
    return run_as(account, ["/bin/sh", "-c", script, "sh", folder]).returncode == 0


def open_private(path: Path, flags: int, account: ServerAccount) -> int:
    """Opens a file of mode 0600 that the account owns, made where it is missing; a link is refused."""
    file = os.open(path, flags | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    if account.switch:
        os.fchown(file, account.uid, account.gid)
    return file


def write_file(path: Path, content: bytes, account: ServerAccount | None) -> None:
    """Writes a small file of mode 0644, owned by the account, so that it is there in full or not at all."""
    unfinished = path.with_name(f".{path.name}.new")
    unfinished.unlink(missing_ok=True)
    file = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
    try:
        if account is not None and account.switch:
            os.fchown(file, account.uid, account.gid)
        os.write(file, content)
        os.fsync(file)
    finally:
        os.close(file)
    unfinished.rename(path)


def socket_folder(home: Path, account: ServerAccount) -> Path:
    """A private folder for the server's socket: in the home, or elsewhere where the socket's path would not fit.

    Raises `ClusterUnreachableError` where somebody else has taken that place.
    """
    inside = home / "run"
    if _fits(inside):
        prepare_place(inside, account)
        return inside
    digest = hashlib.sha256(os.fsencode(home)).hexdigest()[:16]
    if account.switch:
        _make_public(_RUN_FOLDER)
        outside = _RUN_FOLDER / digest
    else:
        name = f"streamgauge-{account.uid}-{digest}"
        outside = Path(tempfile.gettempdir()).resolve() / name
        if not _fits(outside):
            outside = Path("/tmp").resolve() / name  # noqa: S108 - made private, and refused if it is another user's
    prepare_place(outside, account)
    return outside


def _fits(folder: Path) -> bool:
    """Whether a socket in the folder has a path that the kernel and a libpq URL (a comma parts its hosts) can take."""
    path = os.fsencode(folder / ".s.PGSQL.5432")
    return len(path) <= _LONGEST_SOCKET_PATH and b"," not in path
