"""The demo's enterprise figures: those of the whole organization, and those of its teams."""

from __future__ import annotations

import math
from decimal import Decimal

from ingest.collectors.demo.wave import DAY, Waves, activity
from ingest.events import Enterprise

TEAMS = ("database", "ml", "backend")

_OPENED = 1_735_689_600.0  # 2025-01-01T00:00:00Z, when the simulated business began to count


def reports(time: float, seconds: float, waves: Waves) -> list[Enterprise]:
    """Returns what is reported at a time: the organization, then each team.

    Levels are those of the time; a team's requests and deployments are those of the `seconds` before it.
    """
    return [_organization(time, waves), *(_team(team, time, seconds, waves) for team in TEAMS)]


def _organization(time: float, waves: Waves) -> Enterprise:
    demand = activity(time)
    days = max(0.0, (time - _OPENED) / DAY)

    def walk(metric: str) -> float:
        return waves.walk(f"enterprise/{metric}", time)

    return _report(
        None,
        {
            "model_accuracy": (93.4 + 1.6 * walk("accuracy"), 2),
            "processing_speed": (142.0 - 30.0 * demand + 12.0 * walk("speed"), 1),
            "system_uptime": (99.95 + 0.04 * walk("uptime"), 3),
            "success_rate": (98.7 + 0.9 * walk("success"), 2),
            "response_time": (120.0 + 70.0 * demand + 20.0 * walk("response"), 1),
            "queue_length": (max(0.0, 14.0 * demand + 6.0 * walk("queue")), 0),
            "concurrent_comparisons": (max(0.0, 3.0 + 22.0 * demand + 6.0 * walk("comparisons")), 0),
            "data_throughput": (max(1.0, 35.0 + 180.0 * demand + 25.0 * walk("throughput")), 1),
            "total_comparisons": (math.floor(412.0 * days), 0),
            "models_compared": (math.floor(36.0 + 1.7 * days), 0),
            "active_users": (max(0.0, 40.0 + 310.0 * demand + 35.0 * walk("users")), 0),
            "models_uploaded": (math.floor(24.0 + 0.9 * days), 0),
            "revenue_generated": (1_843.27 * days, 2),
            "cost_savings": (391.4 * days, 2),
            "customer_satisfaction": (4.4 + 0.3 * walk("satisfaction"), 2),
            "total_carbon_saved": (6.3 * days, 3),
            "green_score": (81.0 + 8.0 * walk("green"), 1),
            "energy_efficiency": (87.0 + 5.0 * walk("efficiency"), 1),
            "renewable_energy_usage": (62.0 + 18.0 * walk("renewable"), 1),
            "carbon_offset": (4.1 * days, 3),
        },
    )


def _team(team: str, time: float, seconds: float, waves: Waves) -> Enterprise:
    demand = activity(time)
    size = 1.0 + TEAMS.index(team) / 2.0

    def walk(metric: str) -> float:
        return waves.walk(f"{team}/{metric}", time)

    # A deployment falls into the report in which the count of deployments since the opening passes a whole number.
    deployments = [math.floor(max(0.0, at - _OPENED) / DAY * size / 1.5) for at in (time - seconds, time)]
    return _report(
        team,
        {
            "queries_per_second": (max(1.0, size * (180.0 + 900.0 * demand + 120.0 * walk("queries"))), 1),
            "average_response_time": (max(2.0, 24.0 * size + 30.0 * demand + 8.0 * walk("response")), 2),
            "error_rate": (max(0.0, 0.4 + 0.3 * walk("errors")), 3),
            "average_accuracy": (92.0 + size + 1.5 * walk("accuracy"), 2),
            "uptime": (99.94 + 0.05 * walk("uptime"), 3),
            "models_deployed": (deployments[1] - deployments[0], 0),
            "inference_requests": (max(0.0, seconds * size * (2.0 + 9.0 * demand + 2.0 * walk("inference"))), 0),
            "api_requests": (max(0.0, seconds * size * (5.0 + 22.0 * demand + 4.0 * walk("requests"))), 0),
        },
    )


def _report(team: str | None, figures: dict[str, tuple[float, int]]) -> Enterprise:
    """Writes each figure with its number of digits after the point."""
    exact = {name: Decimal(f"{value:.{digits}f}") for name, (value, digits) in figures.items()}
    made = Enterprise(metrics=exact, team_type=team)
    made.check()
    return made
