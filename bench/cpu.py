"""Where CPU time goes: the seconds that processes have spent so far."""

from __future__ import annotations

from dataclasses import dataclass

import psutil


@dataclass(frozen=True)
class Spent:
    """CPU seconds of the service's process and of the database's."""

    service: float
    database: float

    def __sub__(self, earlier: Spent) -> Spent:
        return Spent(self.service - earlier.service, self.database - earlier.database)


def spent(service: int, backends: list[int]) -> Spent:
    """The CPU seconds of a service's processes by the pid of the first, and of PostgreSQL's by theirs."""
    others = [one.pid for one in psutil.Process(service).children() if "multiprocessing" in " ".join(one.cmdline())]
    return Spent(sum(_seconds(pid) for pid in (service, *others)), sum(_seconds(pid) for pid in backends))


def _seconds(pid: int) -> float:
    try:
        times = psutil.Process(pid).cpu_times()
    except psutil.NoSuchProcess:
        return 0.0
    return float(times.user + times.system)
