// The hosts' metrics: a figure and the last 15 minutes of each, moving with every measurement.

import { address, only } from "./api.js";
import { Chart } from "./charts.js";
import { clock, now } from "./clock.js";
import { $, choices, empty, make, put } from "./dom.js";
import { figure, title, unitOf } from "./figures.js";

const WINDOW_MS = 15 * 60_000;
const MINUTE_MS = 60_000;
const SILENT_MS = 2 * MINUTE_MS;
const MOST_CARDS = 12;
const MOST_HOSTS = 1000;
const ROUTE = /\/api:\d+(-\d+)? [A-Z]+ /; // a route of the service's own is a host, too: /api/performance shows those
const FIRST = ["cpu_usage", "memory_usage", "network_latency", "active_connections", "system_load", "disk_usage", "gpu_usage",
  "response_time", "error_rate", "queue_length"];

/** Shows the hosts of an organization until the page stops. */
export function hosts(page) {
  const cards = new Map();
  let chosen = "";
  let names = [];
  let series = new Map();
  let offset = 0; // of the reader's zone, in ms

  const path = () => address("/api/v1/stream", {
    rollup: "system_metrics", measures: "avg,min,max,last", group_by: "metric", grain: "1m", fill: "null", from: "now-15m",
    tz: page.zone, filter: chosen ? [only("host", chosen)] : [],
  });
  const stream = page.stream(path(), (text) => {
    read(JSON.parse(text));
    show();
  });

  function read(answer) {
    page.fresh(answer.as_of);
    series = new Map();
    for (const [time, metric, mean, low, high, last] of answer.rows) {
      if (metric.startsWith("api.")) continue; // and this is what they measure
      if (!series.has(metric)) series.set(metric, []);
      series.get(metric).push({ start: Date.parse(time), mean, low, high, last });
      offset = zoneOffset(time);
    }
  }

  /** The figure of a metric now: the last value of one host, the mean of several. */
  const value = (minute) => (names.length > 1 && !chosen ? minute.mean : minute.last);

  function show() {
    const end = now();
    const heard = [...series].filter(([, minutes]) => end - newestOf(minutes) < WINDOW_MS);
    heard.sort(([a], [b]) => place(a) - place(b) || (a < b ? -1 : 1));
    const shown = heard.slice(0, MOST_CARDS);
    for (const [metric, card] of cards) {
      if (shown.some(([name]) => name === metric)) continue;
      card.chart.close();
      card.element.remove();
      cards.delete(metric);
    }
    shown.forEach(([metric, minutes], at) => {
      if (!cards.has(metric)) cards.set(metric, card(metric, page.units.system[metric]));
      const found = cards.get(metric);
      if ($("host-cards").children[at] !== found.element) $("host-cards").insertBefore(found.element, $("host-cards").children[at] ?? null);
      update(found, minutes, end);
    });
    $("host-more").hidden = heard.length <= MOST_CARDS;
    put($("host-more"), `Not shown here: ${heard.length - MOST_CARDS} more; /api/v1/query has them all.`);
    $("host-empty").hidden = heard.length > 0;
  }

  function card(metric, unit) {
    const number = make("span");
    const range = make("p", { class: "range" });
    const box = make("div", { class: "chart" });
    const name = title(metric);
    const element = make("article", { class: "card metric", data: { metric } },
      make("h3", {}, name),
      make("div", { class: "row" }, make("p", { class: "value" }, number, make("small", {}, unitOf(unit))), range),
      box);
    const chart = new Chart(box, "minutes", {
      label: `${name}, the last 15 minutes`,
      locate: (here, index) => {
        const row = here.rows[index];
        if (row.v === null || row.t < here.next[1].t0) return null;
        const of = (v) => `${figure(v, unit)} ${unitOf(unit)}`.trim();
        const when = row.tip ? clock(row.t - offset) : clock(row.start).slice(0, 5);
        return { x: here.across(row.t), text: `${when}  ${of(row.v)}\n${of(row.low)} – ${of(row.high)}` };
      },
    });
    return { element, number, range, chart, unit };
  }

  function update({ element, number, range, chart, unit }, minutes, end) {
    const measured = minutes.filter((minute) => minute.mean !== null);
    const newest = measured.at(-1);
    const silent = end - (newest.start + MINUTE_MS) > SILENT_MS;
    put(number, figure(value(newest), unit));
    put(range, silent
      ? `silent since ${clock(newest.start + MINUTE_MS).slice(0, 5)}`
      : `${figure(Math.min(...measured.map((m) => m.low)), unit)} – ${figure(Math.max(...measured.map((m) => m.high)), unit)}`);
    element.toggleAttribute("data-old", silent);
    // A minute that is over stands at its middle; the present one stands at this moment, with the figure of the card.
    const rows = minutes.map((minute) => {
      const tip = minute === newest && !silent;
      const t = (tip ? Math.max(Math.min(end, minute.start + MINUTE_MS), minute.start) : minute.start + MINUTE_MS / 2) + offset;
      return { t, start: minute.start, v: tip ? value(minute) : minute.mean, low: minute.low, high: minute.high, tip };
    }).filter((row) => row.v !== null || row.start < newest.start);
    chart.show(rows, { t0: end + offset - WINDOW_MS, t1: end + offset });
  }

  async function lookForHosts() {
    const answer = await page.api.json(address("/api/v1/query", {
      rollup: "system_metrics", measures: "count", group_by: "host", from: "now-15m", limit: MOST_HOSTS,
    }));
    names = answer.rows.map(([host]) => host).filter((host) => !ROUTE.test(host));
    if (chosen && !names.includes(chosen)) names.unshift(chosen);
    $("host-choice").hidden = names.length < 2;
    $("host-only").hidden = names.length !== 1;
    put($("host-only"), names[0] ?? "");
    choices($("host-select"), [["", `All ${names.length} hosts (mean)`], ...names.map((name) => [name, name])], chosen);
  }

  page.on($("host-select"), "change", () => {
    chosen = $("host-select").value;
    stream.move(path());
  });
  empty($("host-empty"), "No host has reported in the last 15 minutes.", "The host that Streamgauge runs on reports by itself; another one does so with", {
    specversion: "1.0", id: "1", source: "host/web-1", type: "system", time: new Date(now()).toISOString(),
    data: { host: "web-1", metrics: { cpu_usage: 12.5, memory_usage: 40.25 } },
  });
  page.every(10_000, show); // so that a silent host's past goes by
  page.every(30_000, lookForHosts, { first: true });
  page.onStop(() => {
    for (const { chart } of cards.values()) chart.close();
    $("host-cards").replaceChildren();
    for (const id of ["host-choice", "host-only", "host-empty", "host-more"]) $(id).hidden = true;
  });
}

const place = (metric) => (FIRST.includes(metric) ? FIRST.indexOf(metric) : FIRST.length);
const newestOf = (minutes) => minutes.reduce((latest, minute) => (minute.mean === null ? latest : minute.start + MINUTE_MS), -Infinity);

/** The offset that a time is written with, in ms: 2026-01-05T10:00:00+01:00 has an hour. */
function zoneOffset(time) {
  const [, way, hours, minutes] = /([+-])(\d\d):(\d\d)$/.exec(time) ?? [null, "+", "0", "0"];
  return (way === "-" ? -1 : 1) * (hours * 60 + Number(minutes)) * MINUTE_MS;
}
