"""What can go wrong with the embedded PostgreSQL, one class a cause that a person can act on."""

from __future__ import annotations


class EmbeddedPostgresError(Exception):
    """The embedded PostgreSQL could not be started.

    `log` is the tail of what the server (or initdb) wrote, empty where no program of PostgreSQL ran.
    """

    def __init__(self, message: str, *, log: str = "") -> None:
        super().__init__(f"{message}\n--- the end of PostgreSQL's log ---\n{log}" if log else message)
        self.log = log


class ClusterUnreachableError(EmbeddedPostgresError):
    """The cluster's folder is gone, belongs to another user, or cannot be entered by the user PostgreSQL runs as."""


class ClusterInUseError(EmbeddedPostgresError):
    """A PostgreSQL that was not started here runs on the cluster, or sits on its socket."""


class DiskFullError(EmbeddedPostgresError):
    """There is no room left where the cluster is."""


class OtherMajorVersionError(EmbeddedPostgresError):
    """The cluster was made by another major version of PostgreSQL than the installed one."""


def from_log(message: str, log: str) -> EmbeddedPostgresError:
    """The error that fits what the server wrote (in English: it runs with `lc_messages = C`)."""
    if "No space left on device" in log or "Disk quota exceeded" in log:
        return DiskFullError(f"{message}: the disk is full", log=log)
    if "Address already in use" in log or "Is another postmaster" in log or "pre-existing shared memory" in log:
        return ClusterInUseError(f"{message}: another PostgreSQL uses its folder or its socket", log=log)
    if "incompatible with server" in log:
        return OtherMajorVersionError(f"{message}: its files are another version's", log=log)
    return EmbeddedPostgresError(message, log=log)
