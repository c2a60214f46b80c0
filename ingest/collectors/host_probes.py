"""What can be measured of this machine: one small probe a metric, each of which may say that it cannot tell."""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

import psutil
import structlog

_ESTABLISHED = b"01"
_log = structlog.get_logger(__name__)


class Loopback:
    """A listener of our own on 127.0.0.1 and the time that reaching it takes."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=8)
        self._listener.settimeout(1.0)

    def latency(self) -> float:
        """Connects by TCP, sends a byte there and back, and returns the milliseconds that took."""
        started = time.perf_counter()
        with socket.create_connection(self._listener.getsockname()[:2], timeout=1.0) as client:
            peer, _ = self._listener.accept()
            with peer:
                peer.settimeout(1.0)
                client.sendall(b"?")
                peer.recv(1)
                peer.sendall(b"!")
                client.recv(1)
                elapsed = time.perf_counter() - started
                # Reset instead of closed, or each measurement would leave a socket in TIME_WAIT for a minute.
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                client.close()
        return elapsed * 1000.0

    def close(self) -> None:
        """Frees the port."""
        self._listener.close()


class Probes:
    """Measures this host. Use it as a context manager; `measure` blocks for some milliseconds and belongs into a thread.

    `disk` is the folder whose file system is watched, `graphics` and `network` are where Linux shows its GPUs and TCP tables.
    """

    def __init__(
        self,
        *,
        disk: Path | None = None,
        graphics: Path = Path("/sys/class/drm"),
        network: Path = Path("/proc/net"),
    ) -> None:
        self._disk = disk or Path(Path.cwd().anchor)
        self._graphics = graphics
        self._network = network
        self._loopback: Loopback | None = None
        self._silent: set[str] = set()
        self._closed = False

    def __enter__(self) -> Self:
        try:
            self._loopback = Loopback()
        except OSError as error:
            _log.warning("host_metric_absent", metric="network_latency", reason=str(error))
        psutil.cpu_percent()  # the first call only notes where the counters stand
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closed = True
        if self._loopback is not None:
            self._loopback.close()

    def measure(self) -> dict[str, float]:
        """Returns every metric that can be told, in the units of `ingest.events.system.UNITS`; one that cannot is logged once."""
        probes: dict[str, Callable[[], float | None]] = {
            "cpu_usage": psutil.cpu_percent,
            "memory_usage": lambda: float(psutil.virtual_memory().percent),
            "disk_usage": lambda: float(psutil.disk_usage(str(self._disk)).percent),
            "system_load": lambda: 100.0 * psutil.getloadavg()[0] / (psutil.cpu_count() or 1),
            "active_connections": self._connections,
            "network_latency": lambda: self._loopback.latency() if self._loopback is not None else None,
            "gpu_usage": self._gpu,
        }
        metrics: dict[str, float] = {}
        for name, probe in probes.items():
            try:
                value = probe()
            except (OSError, psutil.Error, ValueError) as error:
                if name not in self._silent and not self._closed:
                    _log.warning("host_metric_absent", metric=name, reason=f"{type(error).__name__}: {error}")
                self._silent.add(name)
                continue
            if value is not None:
                self._silent.discard(name)
                metrics[name] = value
        return metrics

    def _connections(self) -> float:
        """Counts established TCP connections of the whole machine."""
        tables = [table for table in (self._network / "tcp", self._network / "tcp6") if table.exists()]
        if not tables:
            return float(sum(one.status == psutil.CONN_ESTABLISHED for one in psutil.net_connections(kind="tcp")))
        # psutil looks up the process of every socket, which takes many times as long as reading the kernel's tables.
        count = 0
        for table in tables:
            with table.open("rb") as lines:
                count += sum(line.split(maxsplit=4)[3] == _ESTABLISHED for line in lines if b":" in line)
        return float(count)

    def _gpu(self) -> float | None:
        """Returns the mean load of the GPUs whose driver tells it, or None where there is none."""
        readings = [float(file.read_text()) for file in self._graphics.glob("card*/device/gpu_busy_percent")]
        return sum(readings) / len(readings) if readings else None
