"""The routes of TradeFlow's reading endpoints."""

from __future__ import annotations

from api.routing import Route
from api.trades.analysis import TradeAnalysis, TradesQuery, trades
from api.trades.metrics import TradeMetrics, metrics
from api.trades.parameters import TradeQuery
from api.trades.pnl import PnlQuery, pnl
from api.trades.report import PnlReport
from api.trades.strategies import StrategiesQuery, StrategyAnalysis, strategies

ROUTES = [
    Route(
        "GET",
        "/api/unify/v1/metrics",
        metrics,
        "Totals of closed trades",
        query=TradeQuery,
        answer=TradeMetrics,
        tags=("trades",),
        kinds=("trade",),
        errors=(400, 403),
    ),
    Route(
        "GET",
        "/api/unify/v1/reports/pnl",
        pnl,
        "Profit and loss by local day",
        query=PnlQuery,
        answer=PnlReport,
        tags=("trades",),
        kinds=("trade",),
        errors=(400, 403),
    ),
    Route(
        "GET",
        "/api/unify/v1/analytics/trades",
        trades,
        "Figures of closed trades over time and by group, and the latest trades",
        query=TradesQuery,
        answer=TradeAnalysis,
        tags=("trades",),
        kinds=("trade",),
        errors=(400, 403),
    ),
    Route(
        "GET",
        "/api/unify/v1/analytics/strategies",
        strategies,
        "Figures of each strategy",
        query=StrategiesQuery,
        answer=StrategyAnalysis,
        tags=("trades",),
        kinds=("trade",),
        errors=(400, 403),
    ),
]
