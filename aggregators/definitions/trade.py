"""`trade_pnl`: profit and loss of closed trades, by user, broker, symbol, strategy and currency, exact."""

from __future__ import annotations

import polars as pl

from aggregators.rollup import Derived, Measure, Rollup

_net = pl.col("net")


def _prepare(raw: pl.DataFrame) -> pl.DataFrame:
    """Adds `net`, the result after fees, and how long the position was open."""
    return raw.with_columns(
        (pl.col("pnl") - pl.col("fees")).alias("net"),
        (pl.col("time") - pl.col("opened_at")).dt.total_microseconds().alias("held"),
    )


TRADE_PNL = Rollup(
    name="trade_pnl",
    event="trade",
    grains=("15m", "1d"),
    keys=("user_id", "broker", "symbol", "strategy", "currency"),
    optional_keys=frozenset({"strategy"}),
    lookup=("user_id",),
    prepare=_prepare,
    doc="Profit and loss of closed trades by the time they closed. Amounts are in `currency`; group by it, they are never converted.",
    measures=(
        Measure("trades", pl.len(), "bigint", "Closed trades."),
        Measure("wins", (_net > 0).sum(), "bigint", "Trades with a positive net result."),
        Measure("losses", (_net < 0).sum(), "bigint", "Trades with a negative net result."),
        Measure("pnl", pl.col("pnl").sum(), "numeric", "Realized result before fees.", unit="currency"),
        Measure("fees", pl.col("fees").sum(), "numeric", "Fees paid.", unit="currency"),
        Measure("net", _net.sum(), "numeric", "Realized result after fees: profit - loss.", unit="currency"),
        Measure("profit", _net.filter(_net > 0).sum(), "numeric", "Sum of the positive net results.", unit="currency"),
        Measure(
            "loss",
            -_net.filter(_net < 0).sum(),
            "numeric",
            "Sum of the negative net results, as a positive number.",
            unit="currency",
        ),
        Measure("best", _net.max(), "numeric", "Best trade's net result.", merge="max", unit="currency"),
        Measure("worst", _net.min(), "numeric", "Worst trade's net result.", merge="min", unit="currency"),
        Measure(
            "held_us",
            pl.col("held").cast(pl.Int128).sum(),  # 11,000 positions of 26 years overflow 64 bits
            "numeric",
            "Sum of the times positions were open.",
            unit="µs",
            public=False,
        ),
    ),
    # A numeric quotient has 16 digits, or as many behind the point as what it is made of: the factors give it those it is rounded to.
    derived=(
        Derived(
            "win_rate",
            "round(100.0 * wins / nullif(trades, 0), 6)",
            ("wins", "trades"),
            "Share of all trades won.",
            "%",
        ),
        Derived(
            "average_net",
            "round(net * 1.000000000000000000 / nullif(trades, 0), 18)",
            ("net", "trades"),
            "Net result a trade.",
            "currency",
        ),
        Derived(
            "profit_factor",
            "round(profit * 1.000000 / nullif(loss, 0), 6)",
            ("profit", "loss"),
            "Profit over loss; null without a loss.",
        ),
        Derived(
            "average_hold",
            "round(held_us * 0.000001 / nullif(trades, 0), 6)",
            ("held_us", "trades"),
            "Mean time a position was open.",
            "s",
        ),
    ),
)
