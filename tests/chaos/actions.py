"""What a random walk may do to an installation."""

from __future__ import annotations

from random import Random

import psycopg

from tests.chaos.cluster import Cluster, Service
from tests.chaos.walk import Action


def _some(cluster: Cluster, random: Random, role: str) -> Service:
    """One of the services of a role, by its name's beginning."""
    return random.choice(
        [one for name, one in sorted(cluster.services.items()) if name.startswith(role) and one.running]
    )


def kill(role: str, weight: int) -> Action:
    """Ends one as a crash would; it is started again at once."""

    def do(cluster: Cluster, random: Random) -> None:
        service = _some(cluster, random, role)
        service.kill()
        service.start()

    return Action(f"kill {role}", weight, do)


def restart(role: str, weight: int) -> Action:
    """Ends one in its own way, within 10 s, and starts it again."""

    def do(cluster: Cluster, random: Random) -> None:
        service = _some(cluster, random, role)
        service.keep()
        # One that is still starting has nothing to finish.
        assert service.stop(10) in (0, -15), service.log()[-2_000:]
        service.start()

    return Action(f"restart {role}", weight, do)


def freeze(role: str, seconds: float, weight: int) -> Action:
    """Lets one do nothing for so long; then it goes on as if no time had passed."""

    def do(cluster: Cluster, random: Random) -> None:
        child = _some(cluster, random, role).child
        if child.is_running():
            child.freeze()
            cluster.ended.wait(seconds)
            child.thaw()

    return Action(f"freeze {role}", weight, do)


def kill_database(weight: int) -> Action:
    """The database crashes, is away for up to 3 s, and comes back."""

    def do(cluster: Cluster, random: Random) -> None:
        cluster.database.kill()
        cluster.ended.wait(random.uniform(0, 3))
        cluster.database.start()

    return Action("kill database", weight, do)


def kill_broker(weight: int) -> Action:
    """The broker crashes, is away for up to 3 s, and comes back."""

    def do(cluster: Cluster, random: Random) -> None:
        assert cluster.broker is not None
        cluster.broker.kill()
        cluster.ended.wait(random.uniform(0, 3))
        cluster.broker.start()

    return Action("kill broker", weight, do)


def freeze_broker(weight: int) -> Action:
    """The broker does nothing for 3 s, with its connections open."""

    def do(cluster: Cluster, _: Random) -> None:
        assert cluster.broker is not None
        cluster.broker.freeze()
        cluster.ended.wait(3)
        cluster.broker.thaw()

    return Action("freeze broker", weight, do)


def end_connections(weight: int) -> Action:
    """The database's operator ends every connection to it."""

    def do(cluster: Cluster, _: Random) -> None:
        with psycopg.connect(cluster.database_url, autocommit=True) as connection:
            connection.execute(
                "select pg_terminate_backend(pid) from pg_stat_activity"
                " where datname = current_database() and pid <> pg_backend_pid()"
            )

    return Action("end connections", weight, do)


def rebalance(weight: int) -> Action:
    """A third worker comes, or goes."""

    def do(cluster: Cluster, _: Random) -> None:
        third = cluster.services.get("worker-3")
        if third is None:
            cluster.start("worker-3", "worker")
        elif third.running:
            third.stop(10)
        else:
            third.start()

    return Action("rebalance", weight, do)


DIRECT = (
    kill("run", 3),
    restart("run", 2),
    freeze("run", 3.0, 1),
    kill_database(3),
    end_connections(3),
)
"""For an installation whose log is the direct one."""

KAFKA = (
    kill("worker", 5),
    freeze("worker", 5.0, 2),
    restart("worker", 2),
    rebalance(3),
    kill("api", 2),
    kill_broker(3),
    freeze_broker(1),
    kill_database(3),
    end_connections(2),
)
"""For one whose log is Kafka. Workers are frozen longer than their session lasts."""
