// Profit and loss by day: read anew when trades come in, drawn from floats, written to the last digit.

import { address } from "./api.js";
import { Chart } from "./charts.js";
import { now } from "./clock.js";
import { $, choices, empty, fill, put } from "./dom.js";
import { amount, parseExact, sign } from "./exact.js";

const RANGE = "30d";

/** Shows the trades of an organization until the page stops. */
export function pnl(page) {
  let chosen = null;
  let found = null;
  const chart = new Chart($("pnl-chart"), "days", {
    label: "Profit and loss by day, the last 30 days; the table below has every figure",
    locate: (here, index) => ({
      x: here.across(here.rows[index].day, true),
      text: here.rows[index].words,
    }),
  });

  async function read() {
    const question = { time_range: RANGE, tz: page.zone };
    const [report, totals] = (await Promise.all([
      page.api.text(address("/api/unify/v1/reports/pnl", question)),
      page.api.text(address("/api/unify/v1/metrics", question)),
    ])).map(parseExact);
    if (page.stopped) return;
    found = { report, totals };
    show();
  }

  function show() {
    const { report, totals } = found;
    const traded = totals.totalTrades !== "0";
    $("pnl-body").hidden = !traded;
    $("pnl-empty").hidden = traded;
    if (!traded) return;
    const parts = report.by_currency ?? { [report.currency]: report };
    const currencies = Object.keys(parts).sort((a, b) => parts[b].total.trades - parts[a].total.trades || (a < b ? -1 : 1));
    if (!currencies.includes(chosen)) chosen = currencies[0];
    $("currency-choice").hidden = currencies.length < 2;
    choices($("currency-select"), currencies.map((name) => [name, name]), chosen);
    const { daily, total } = parts[chosen];
    const winRate = totals.by_currency ? totals.by_currency[chosen]?.winRate : totals.winRate;
    put($("pnl-net"), amount(total.net, { plus: true }));
    $("pnl-net").dataset.sign = sign(total.net);
    put($("pnl-profit"), amount(total.profit));
    put($("pnl-loss"), amount(total.loss));
    put($("pnl-currency"), `in ${chosen}`);
    put($("pnl-win-rate"), winRate === null || winRate === undefined ? "—" : `${amount(winRate)} %`);
    put($("pnl-trades"), amount(total.trades));
    put($("pnl-users"), amount(totals.activeUsers));
    put($("pnl-range"), `The last 30 days, in ${report.tz}`);
    chart.show(daily.map((day) => ({
      day: day.date, profit: Number(day.profit), loss: -Number(day.loss), net: Number(day.net), traded: day.trades !== "0",
      words: day.trades === "0" ? `${day.date}\nno trades` : [
        day.date, `profit  ${amount(day.profit)}`, `loss    ${amount(day.loss)}`, `net     ${amount(day.net, { plus: true })}`,
        `trades  ${amount(day.trades)}`].join("\n"),
    })));
    const rows = daily.filter((day) => day.trades !== "0").reverse();
    fill($("pnl-table").tBodies[0],
      rows.map((day) => [day.date, amount(day.profit), amount(day.loss), amount(day.net, { plus: true }), amount(day.trades)]),
      rows.map((day) => ({ 3: sign(day.net) })));
  }

  page.on($("currency-select"), "change", () => {
    chosen = $("currency-select").value;
    show();
  });
  const again = page.refresher(read, 1_000);
  // The stream only says that trades came in: members see their own trades, and the report is what shows them those.
  page.stream(address("/api/v1/stream", { rollup: "trade_pnl", measures: "trades", from: "now-30d" }), again);
  page.every(60_000, again); // the day changes without a trade, too
  const time = new Date(now()).toISOString();
  empty($("pnl-empty"), "No trades in the last 30 days.", "Send the first with", {
    specversion: "1.0", id: "t-1", source: "broker/demo", type: "trade", time,
    data: { trade_id: "t-1", user_id: "ada", broker: "demo", symbol: "BTCUSD", side: "buy", quantity: "0.1", entry_price: "64000", exit_price: "64250.5",
      fees: "1.28", currency: "USD", opened_at: time, closed_at: time },
  });
  page.onStop(() => {
    chart.close();
    for (const cell of $("pnl-figures").querySelectorAll("[data-figure]")) put(cell, "…");
    put($("pnl-currency"), "");
    fill($("pnl-table").tBodies[0], []);
    $("pnl-body").hidden = false;
    $("pnl-empty").hidden = $("currency-choice").hidden = true;
  });
}
