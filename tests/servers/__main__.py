"""`python -m tests.servers kafka|timescale|redis`: runs one of the tests' servers in the foreground, for work by hand.

Prints its address and runs until Ctrl-C; its data is thrown away then. `prepare` fetches what all need, and starts nothing.
"""

from __future__ import annotations

import signal
import sys
from contextlib import AbstractContextManager

from tests.servers import kafka, redis_server, timescale
from tests.servers.missing import ServerMissingError
from tests.servers.server import Server

USAGE = "usage: python -m tests.servers kafka|timescale|redis|prepare"


def main(arguments: list[str]) -> int:
    """Returns 0; 1 where the server cannot be had, 2 where it is not known."""
    starts = {"kafka": kafka.own_broker, "timescale": timescale.own_timescale, "redis": redis_server.own_redis}
    try:
        if arguments == ["prepare"]:
            kafka.prepare()
            timescale.prepare()
            redis_server.prepare()
        elif len(arguments) == 1 and arguments[0] in starts:
            _run(starts[arguments[0]]())
        else:
            print(USAGE, file=sys.stderr)
            return 2
    except ServerMissingError as error:
        print(f"cannot be had here: {error}", file=sys.stderr)
        return 1
    return 0


def _run(started: AbstractContextManager[Server]) -> None:
    endings = {signal.SIGINT, signal.SIGTERM}
    with started as server:
        # Blocked only now: what is started inherits the mask.
        signal.pthread_sigmask(signal.SIG_BLOCK, endings)
        print(server.address, flush=True)
        signal.sigwait(endings)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
