// Charts that live: drawn on canvas by Vega, a few an animation frame, each with the newest data only.

import { make } from "./dom.js";

const COLOURS = ["fg", "muted", "grid", "accent", "up", "down"];
const FRAME_MS = 8;
const charts = new Set();
const waiting = new Map();
let library = null;
let tries = 0;
let frame = 0;

/** The drawing library; a failed load is tried again by the next caller, under another address, as browsers remember failures. */
function load() {
  library ??= import(tries ? `./vega.js?${tries}` : "./vega.js").catch((error) => {
    library = null;
    tries += 1;
    throw error;
  });
  return library;
}

/** A chart in a box. `describe(at)` gives the crosshair's text and place for a pointer, or null. */
export class Chart {
  constructor(box, name, { locate, label }) {
    Object.assign(this, { box, name, locate, view: null, rows: [], at: null });
    this.note = make("div", { class: "waiting" }, "Drawing…");
    this.hair = make("div", { class: "hair", hidden: true });
    this.tip = make("div", { class: "tip", hidden: true });
    this.canvas = make("div");
    box.replaceChildren(this.canvas, this.note, this.hair, this.tip);
    Object.assign(box, { tabIndex: 0, role: "img", ariaLabel: label });
    charts.add(this);
    this.resized = new ResizeObserver(() => {
      if (this.next && box.clientWidth) this.show(...this.next);
    });
    this.pointing();
    this.open();
  }

  async open() {
    try {
      const { vega, expressionInterpreter, charts: specs } = await load();
      if (!charts.has(this)) return;
      this.vega = vega;
      this.view = new vega.View(vega.parse(specs[this.name], {}, { ast: true }), {
        container: this.canvas,
        renderer: "canvas",
        expr: expressionInterpreter,
        logLevel: vega.Error,
      });
      this.view.cleanThreshold = 100;
      this.colour();
      this.note.remove();
      this.resized.observe(this.box);
      if (this.next) this.show(...this.next);
    } catch {
      if (!charts.has(this)) return;
      this.note.textContent = "The chart could not be loaded; trying again…";
      setTimeout(() => charts.has(this) && this.open(), 12_000);
    }
  }

  colour() {
    const style = getComputedStyle(document.documentElement);
    const known = this.view.getState({ signals: (name) => COLOURS.includes(name), data: () => false }).signals ?? {};
    for (const name of Object.keys(known)) this.view.signal(name, style.getPropertyValue(`--${name}`).trim());
  }

  /** Replaces what is drawn. A chart that is not drawn yet, or not in time, gets only the newest. */
  show(rows, signals = {}) {
    this.next = [rows, signals];
    if (!this.view) return;
    waiting.set(this, true);
    frame ||= requestAnimationFrame(drawSome);
  }

  async draw() {
    const [rows, signals] = this.next;
    const width = this.box.clientWidth;
    if (!width) return; // hidden; drawn when it has a width
    this.rows = rows;
    if (width !== this.width) {
      // Only between two runs: a run ends with making the plot narrower by the room that its axis takes, and must not meet the new width.
      this.width = width;
      this.view.width(width).resize();
    }
    for (const [name, value] of Object.entries(signals)) this.view.signal(name, value);
    // Without `clean` Vega keeps ten thousand places of rows that are gone, in each mark of each chart.
    this.view.change("points", this.vega.changeset().remove(this.vega.truthy).insert(rows.map((row) => ({ ...row }))).clean(true));
    await this.view.runAsync();
    this.paint();
  }

  close() {
    charts.delete(this);
    waiting.delete(this);
    this.resized.disconnect();
    this.listening.abort();
    this.view?.finalize();
    this.box.replaceChildren();
  }

  /** The crosshair follows the pointer, and the arrow keys of whoever has none. */
  pointing() {
    const { box } = this;
    this.listening = new AbortController();
    const on = (event, handler) => box.addEventListener(event, handler, { signal: this.listening.signal });
    on("pointermove", (event) => this.point(event.clientX - box.getBoundingClientRect().left));
    on("pointerleave", () => this.point(null));
    on("blur", () => this.point(null));
    on("keydown", (event) => {
      const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
      if (event.key === "Escape") return this.point(null);
      if (!step || !this.view) return;
      event.preventDefault();
      const places = this.rows.map((_, index) => this.locate(this, index)).filter(Boolean);
      const here = this.at === null ? -1 : nearest(places, this.at);
      const next = this.at === null ? places.length - 1 : Math.min(Math.max(here + step, 0), places.length - 1);
      if (places[next]) this.point(places[next].x);
    });
  }

  point(at) {
    this.at = at;
    this.paint();
  }

  paint() {
    const places = this.at === null || !this.view ? [] : this.rows.map((_, index) => this.locate(this, index)).filter(Boolean);
    const place = places[nearest(places, this.at)];
    this.hair.hidden = this.tip.hidden = !place;
    if (!place) return;
    const top = this.view.origin()[1] + this.view.padding().top;
    Object.assign(this.hair.style, { transform: `translateX(${place.x}px)`, top: `${top}px`, height: `${this.view.height()}px` });
    this.tip.textContent = place.text;
    const room = this.box.clientWidth - this.tip.offsetWidth;
    const x = place.x + 10 > room ? place.x - this.tip.offsetWidth - 10 : place.x + 10;
    this.tip.style.transform = `translate(${Math.max(0, Math.min(x, room))}px, ${top}px)`;
  }

  /** Where a value of the horizontal scale stands, in pixels from the box's left; `middle` of its band. */
  across(value, middle = false) {
    const scale = this.view.scale("x");
    return scale(value) + (middle ? scale.bandwidth() / 2 : 0) + this.view.origin()[0] + this.view.padding().left;
  }
}

function nearest(places, at) {
  let best = -1;
  places.forEach((place, index) => {
    if (best < 0 || Math.abs(place.x - at) < Math.abs(places[best].x - at)) best = index;
  });
  return best;
}

/** Draws those that wait longest, as many as a frame has time for; the page stays at hand for its reader between frames. */
async function drawSome() {
  const until = performance.now() + FRAME_MS;
  try {
    do {
      const [chart] = waiting.keys();
      waiting.delete(chart);
      await chart?.draw();
    } while (waiting.size && performance.now() < until);
  } finally {
    frame = waiting.size ? requestAnimationFrame(drawSome) : 0;
  }
}

matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
  for (const chart of charts) {
    if (!chart.view) continue;
    chart.colour();
    if (chart.next) chart.show(...chart.next);
  }
});
