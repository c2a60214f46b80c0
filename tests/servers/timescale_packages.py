"""PostgreSQL with TimescaleDB (Apache edition) out of Debian's packages, in a folder of its own: nothing is installed.

The packages are of a newer Debian than most machines run, so every program is started with the loader and the libraries beside it.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
from pathlib import Path

from tests.servers.cache import kept
from tests.servers.missing import ServerMissingError, run

SUITE = "trixie"
MAJOR = "17"
KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"

_NEEDED = re.compile(rf"(lib|zlib1g|postgresql-(client-)?{MAJOR})")
_NOT_NEEDED = re.compile(r"perl|llvm|z3-4|pam-modules|locales|l10n|debconf|semanage|libdb5")
_LEFT_OUT = ("./usr/share/locale", "./usr/share/doc", "./usr/share/man", "./usr/share/i18n", "*/bitcode", "*/llvmjit*")
# Places of apt's own that are in the folder; nothing of the machine's is read but the keys, nothing is written.
_APT = """\
Dir::Etc::sourcelist "{folder}/sources.list";
Dir::Etc::sourceparts "-";
Dir::State "{folder}";
Dir::State::status "{folder}/status";
Dir::Cache "{folder}/cache";
APT::Install-Recommends "0";
APT::Sandbox::User "{user}";
Acquire::Languages "none";
Acquire::Retries "3";
"""


def install_timescale() -> Path:
    """The folder of PostgreSQL's programs in the cache; fetched where it is not there yet. Raises ServerMissingError."""
    return _programs(kept(f"timescaledb-{SUITE}-{MAJOR}", _build, public=True))


def _programs(folder: Path) -> Path:
    return folder / "root" / "usr" / "lib" / "postgresql" / MAJOR / "bin"


def _build(folder: Path) -> None:
    if not all(map(shutil.which, ("apt-get", "dpkg-deb", "tar"))) or not Path(KEYRING).exists():
        raise ServerMissingError("this is no Debian, whose packages TimescaleDB is taken from")
    apt, root = folder / "apt", folder / "root"
    for part in ("lists/partial", "cache/archives/partial", "packages"):
        (apt / part).mkdir(parents=True)
    root.mkdir()
    (apt / "status").touch()
    (apt / "sources.list").write_text(f"deb [signed-by={KEYRING}] {_mirror()} {SUITE} main\n", "utf-8")
    (apt / "apt.conf").write_text(_APT.format(folder=apt, user="root" if os.geteuid() == 0 else ""), "utf-8")
    environment = os.environ | {"APT_CONFIG": str(apt / "apt.conf"), "LC_ALL": "C"}
    run(["apt-get", "update", "-qq"], environment=environment, seconds=300)
    wanted = ["apt-get", "install", "--simulate", f"postgresql-{MAJOR}-timescaledb"]
    planned = run(wanted, environment=environment, seconds=120)
    names = [line.split()[1] for line in planned.splitlines() if line.startswith("Inst ")]
    packages = [name for name in names if _NEEDED.match(name) and not _NOT_NEEDED.search(name)]
    run(["apt-get", "download", "-qq", *packages], folder=apt / "packages", environment=environment, seconds=600)
    for package in sorted((apt / "packages").glob("*.deb")):
        _unpack(package, root)
    shutil.rmtree(apt)
    _use_own_loader(folder)
    # The server's user is not the one whose umask this is.
    run(["chmod", "-R", "go+rX", str(folder)], seconds=60)


def _mirror() -> str:
    """The mirror that this machine takes its own Debian from."""
    said = run(["apt-get", "indextargets", "--format", "$(REPO_URI) $(RELEASE)"], seconds=60)
    release = re.search(r"^VERSION_CODENAME=(\w+)", Path("/etc/os-release").read_text("utf-8"), re.M)
    of_release = {line.split()[0] for line in said.splitlines() if release and line.split()[1:] == [release[1]]}
    if not of_release:
        raise ServerMissingError("apt knows no mirror of this machine's Debian")
    return min(of_release)


def _unpack(package: Path, root: Path) -> None:
    left_out = " ".join(f"--exclude={shlex.quote(one)}" for one in _LEFT_OUT)
    unpack = f"dpkg-deb --fsys-tarfile {shlex.quote(str(package))} | tar -x --no-same-owner -C {shlex.quote(str(root))} {left_out}"
    run(["sh", "-c", unpack], seconds=120)


def _use_own_loader(folder: Path) -> None:
    """Puts a script in the place of each program that runs it with the packages' own loader and C library."""
    loaders = list((folder / "root" / "usr" / "lib").glob("*-linux-gnu/ld-linux-*.so.*"))
    if len(loaders) != 1:
        raise ServerMissingError(f"Debian's packages have {len(loaders)} loaders for this machine, one is needed")
    loader = loaders[0]
    for program in _programs(folder).iterdir():
        with program.open("rb") as file:
            if file.read(4) != b"\x7fELF":
                continue
        real = program.rename(program.with_name(f"{program.name}.elf"))
        parts = [str(loader), "--library-path", str(loader.parent), "--argv0", str(program), str(real)]
        program.write_text(f'#!/bin/sh\nexec {shlex.join(parts)} "$@"\n', "utf-8")
        program.chmod(0o755)
