"""An import whose service is killed ten times in the middle, and itself a few: in the end exactly the file's rows are there."""

from __future__ import annotations

import random
import socket
import subprocess
from functools import partial
from pathlib import Path

from tests.service_process import ServiceProcess, command, wait_until

ROWS = 40_000
KILLS = 10


def free_port() -> int:
    """A port below the ephemeral range, so that nobody's outgoing connection takes it while the service is down."""
    for port in random.Random().sample(range(20_000, 32_000), 200):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)):
                return port
    raise AssertionError("no port is free")


def write_log(path: Path) -> None:
    """An access log in which most lines stand more than once: identical rows are different events."""
    with path.open("w") as file:
        for number in range(ROWS):
            second = number // 40
            time = f"05/Jan/2026:{10 + second // 3600:02d}:{second // 60 % 60:02d}:{second % 60:02d} +0000"
            file.write(f'10.0.0.1 - - [{time}] "GET /{number % 3} HTTP/1.1" 200 {100 + number % 2} "-" "test"\n')


def test_ten_kills_in_the_middle_of_an_import_lose_and_double_nothing(data_folder: Path) -> None:
    chance = random.Random(20260105)
    quiet = {"STREAMGAUGE_COLLECT_HOST": "false", "STREAMGAUGE_PORT": str(free_port())}
    data_folder.parent.mkdir(exist_ok=True)
    file = data_folder.parent / "access.log"
    write_log(file)

    def rows(service: ServiceProcess) -> tuple[int, float]:
        query = "/api/v1/query?rollup=system_metrics&measures=count,sum&filter=metric:requests&from=2026-01-05&to=2026-01-06"
        _, answer, _ = service.request(query)
        return (int(answer["rows"][0][0]), float(answer["rows"][0][1])) if answer["rows"] else (0, 0.0)

    def more_than(goal: int, service: ServiceProcess) -> int:
        found, _ = rows(service)
        return found if found > goal else 0

    def start_import() -> subprocess.Popen[str]:
        return command("import", str(file), "--as", "access-log", data=data_folder, environment=quiet)

    service = ServiceProcess(data_folder, environment=quiet)
    importing = start_import()
    try:
        seen = 0
        for kill in range(KILLS):
            goal = min(seen + chance.randrange(500, ROWS // KILLS - 500), ROWS - 1_000)
            seen = wait_until(partial(more_than, goal, service), f"more than {goal} rows", 60)
            service.kill()
            if kill % 3 == 2:
                # The importer dies, too: started again, it asks the service where it was.
                importing.kill()
                importing.communicate()
            service = ServiceProcess(data_folder, environment=quiet)
            if importing.poll() is not None:
                importing = start_import()
            assert rows(service)[0] >= seen, "an accepted row is gone"
        output, _ = importing.communicate(timeout=120)
        assert importing.returncode == 0, output
        assert rows(service) == (ROWS, float(ROWS))
        again, _ = start_import().communicate(timeout=60)
        assert f"{ROWS:,}  skipped" in again, again
        assert rows(service) == (ROWS, float(ROWS))
        assert service.stop() == 0
    finally:
        importing.kill()
        importing.communicate()
        if service.process.poll() is None:
            service.kill()
    verify = command("verify", data=data_folder)
    output, _ = verify.communicate(timeout=120)
    assert verify.returncode == 0, output
