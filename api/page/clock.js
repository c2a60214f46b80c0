// Time as the service has it, and how fresh the page is.

import { $, put } from "./dom.js";

const AGED_MS = 20_000;

let skew = 0; // the service's clock minus this one's, in ms
let newest = -Infinity;
let zone;
let hours;

/** The service's time now, in ms since 1970. */
export const now = () => Date.now() + skew;

/** A moment as a clock shows it in the reader's zone. */
export const clock = (ms) => hours.format(ms);

/** Shows times in this zone from now on, and forgets how fresh another organization's figures were. */
export function begin(name) {
  zone = name;
  hours = new Intl.DateTimeFormat("en-GB", { timeZone: zone, hour: "2-digit", minute: "2-digit", second: "2-digit" });
  newest = -Infinity;
  tick();
}

/** Everything accepted up to this moment (ISO 8601) is on the page. `at_once`: it is also the service's time now. */
export function fresh(text, atOnce = false) {
  const time = Date.parse(text);
  if (atOnce) skew = time - Date.now();
  newest = Math.max(newest, time);
  tick();
}

function tick() {
  const known = Number.isFinite(newest);
  const age = now() - newest;
  put($("as-of"), known ? `as of ${moment(age)}${age > AGED_MS ? `, ${ago(age)}` : ""}` : "");
  $("as-of").toggleAttribute("data-aged", known && age > AGED_MS);
}

function moment(age) {
  if (age < 12 * 3_600_000) return hours.format(newest);
  return new Intl.DateTimeFormat("en-GB", { timeZone: zone, dateStyle: "medium", timeStyle: "short" }).format(newest);
}

function ago(ms) {
  const seconds = Math.floor(ms / 1000);
  if (seconds < 120) return `${seconds} s ago`;
  if (seconds < 7200) return `${Math.floor(seconds / 60)} min ago`;
  return `${Math.floor(seconds / 3600)} h ago`;
}

setInterval(() => hours && tick(), 1000);
