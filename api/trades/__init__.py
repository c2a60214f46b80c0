"""TradeFlow's reading endpoints: `/api/unify/v1/metrics`, `/reports/pnl`, `/analytics/trades`, `/analytics/strategies`."""
