// The dashboard's figures of models and operations, as they were last reported.

import { $, make, put } from "./dom.js";
import { figure, title, unitOf } from "./figures.js";

const GROUPS = [
  ["Comparisons", [["liveStats", "activeComparisons", "concurrent_comparisons"], ["comparisonStats", "totalComparisons"], ["comparisonStats", "modelsCompared"],
    ["comparisonStats", "averageAccuracy", "model_accuracy"], ["comparisonStats", "averageSpeed", "processing_speed"]]],
  ["Operations", [["enterpriseMetrics", "systemUptime"], ["enterpriseMetrics", "successRate"], ["enterpriseMetrics", "responseTime"],
    ["enterpriseMetrics", "queueLength"], ["enterpriseMetrics", "dataThroughput"]]],
  ["Sustainability", [["sustainability", "greenScore"], ["sustainability", "energyEfficiency"], ["sustainability", "renewableEnergyUsage"],
    ["sustainability", "totalCarbonSaved"], ["sustainability", "carbonOffset"]]],
];

/** Shows the figures until the page stops. They also tell how fresh the page is where no event comes in. */
export function stats(page) {
  const cells = [];
  $("stats").replaceChildren(...GROUPS.map(([name, figures]) => make("article", { class: "card group" }, make("h3", {}, name),
    make("dl", {}, ...figures.map(([part, field, metric]) => {
      const cell = make("dd", { class: "none", data: { field } }, "—");
      cells.push({ part, field, cell, unit: page.units.enterprise[metric ?? snake(field)] });
      return make("div", {}, make("dt", {}, title(field)), cell);
    })))));
  page.every(5_000, async () => {
    const found = await page.api.json("/api/v1/dashboard/stats");
    if (page.stopped) return;
    for (const { part, field, cell, unit } of cells) {
      const value = found[part]?.[field] ?? null;
      const text = figure(value, unit);
      if (cell.dataset.shown === text) continue;
      cell.dataset.shown = text;
      cell.classList.toggle("none", value === null);
      if (value === null) put(cell, text);
      else cell.replaceChildren(text, make("small", {}, unitOf(unit)));
    }
  }, { first: true });
}

const snake = (name) => name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
