// The page: who is here, in which organization, and the sections that live as long as that holds.

import { Api, Failure, Forbidden, SignedOut, address } from "./api.js";
import * as clock from "./clock.js";
import { creators } from "./creators.js";
import { $, choices, put } from "./dom.js";
import { hosts } from "./hosts.js";
import { pnl } from "./pnl.js";
import { signIn } from "./signin.js";
import { stats } from "./stats.js";
import { Stream } from "./stream.js";

const HIDDEN_FOR_MS = 60_000;
const RETRY_MS = 3_000;

/** What a section works with; all of it ends when the page stops. */
class Page {
  constructor(me, zone, units, ended) {
    this.api = new Api(me.organization.id, (asOf) => clock.fresh(asOf, true));
    Object.assign(this, { me, zone, units, ended, stopped: false, streams: [], endings: [], failing: new Set() });
    this.fresh = clock.fresh;
  }

  /** A stream of states; `told` gets each one's JSON text. */
  stream(path, told) {
    const stream = new Stream(this.api, path, { told, changed: () => this.connection(), refused: (error) => this.refused(error) });
    this.streams.push(stream);
    if (!this.resting) stream.start();
    return stream;
  }

  /** Does something again and again, one at a time; what fails is tried again the next time. */
  every(ms, work, { first = false } = {}) {
    const run = this.refresher(work, 0);
    const timer = setInterval(() => this.resting || run(), ms);
    this.onStop(() => clearInterval(timer));
    if (first) run();
  }

  /** A function that has `work` done soon: not twice at a time, not more often than every `gap` ms, and once more for calls meanwhile. */
  refresher(work, gap) {
    let running = false;
    let wanted = false;
    const run = async () => {
      wanted = true;
      if (running) return;
      running = true;
      while (wanted && !this.stopped) {
        wanted = false;
        try {
          await work();
          this.failing.delete(work);
        } catch (error) {
          if (error instanceof SignedOut || error instanceof Forbidden) this.refused(error);
          else this.failing.add(work);
        }
        this.connection();
        if (this.failing.has(work) && gap) {
          await wait(RETRY_MS);
          wanted = true;
        } else if (gap) await wait(gap);
      }
      running = false;
    };
    return run;
  }

  on(element, event, handler) {
    element.addEventListener(event, handler);
    this.onStop(() => element.removeEventListener(event, handler));
  }

  onStop(ending) {
    this.endings.push(ending);
  }

  /** Shows whether the page moves. */
  connection() {
    if (this.stopped) return;
    const live = this.streams.every((stream) => stream.live) && !this.failing.size;
    this.met ||= live;
    const state = live ? "live" : this.met || this.failing.size ? "reconnecting" : "connecting";
    if ($("link").dataset.state === state) return;
    $("link").dataset.state = state;
    put($("link"), { live: "Live", reconnecting: "Reconnecting…", connecting: "Connecting…" }[state]);
  }

  /** A page that nobody sees gives its connections back: a browser has six for all its windows on this address. */
  rest(resting) {
    this.resting = resting;
    for (const stream of this.streams) resting ? stream.stop() : stream.start();
  }

  refused(error) {
    if (this.stopped) return;
    this.stop();
    this.ended(error);
  }

  stop() {
    if (this.stopped) return;
    this.stopped = true;
    for (const stream of this.streams) stream.stop();
    for (const ending of this.endings) ending();
  }
}

const wait = (ms) => new Promise((done) => setTimeout(done, ms));

/** The reader's zone, where the service knows it; else the organization's. */
async function zoneOf(api) {
  const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;
  const ask = (tz) => api.json(address("/api/v1/query", { rollup: "trade_pnl", measures: "trades", from: "now-15m", tz }));
  try {
    return (await ask(zone)).tz;
  } catch (error) {
    if (error instanceof Failure && error.parameter === "tz") return (await ask(null)).tz;
    throw error;
  }
}

async function units(api) {
  const { rollups } = await api.json("/api/v1/rollups");
  return Object.fromEntries(rollups.map((rollup) => [rollup.event, rollup.units]));
}

function header(me) {
  const { organization, organizations } = me;
  document.title = `${organization.name} · Streamgauge`;
  $("place").hidden = $("state").hidden = false;
  const several = organizations.length > 1;
  $("organization-name").hidden = several;
  $("organization-choice").hidden = !several;
  put($("organization-name"), organization.name);
  choices($("organization-select"), organizations.map(({ id, name }) => [id, name]), organization.id);
  $("simulated").hidden = !organization.demo;
  put($("board-title"), organization.name);
  put($("who"), [me.email ?? me.name, me.role].filter(Boolean).join(", "));
}

function leave() {
  $("board").hidden = $("place").hidden = $("state").hidden = true;
  document.title = "Streamgauge";
}

function notice(text) {
  put($("notice"), text);
  $("notice").hidden = !text;
}

/** Shows the organization of the session until it ends; resolves with why. */
async function visit() {
  const api = new Api();
  const me = await api.json("/api/auth/me");
  const own = new Api(me.organization.id);
  const [zone, known] = await Promise.all([zoneOf(own), units(own)]);
  notice("");
  clock.begin(zone);
  header(me);
  put($("zone"), `Times in ${zone}`);
  $("board").hidden = false;
  return new Promise((done) => {
    const page = new Page(me, zone, known, done);
    for (const section of [stats, hosts, pnl, creators]) section(page);
    page.connection();
    page.on($("organization-select"), "change", async () => {
      try {
        await api.post("/api/v1/session/organization", { organization_id: $("organization-select").value });
        page.refused(null);
      } catch (error) {
        if (error instanceof SignedOut) return page.refused(error);
        $("organization-select").value = me.organization.id;
        notice("The organization could not be changed. Try again.");
      }
    });
    page.on($("sign-out"), "click", async () => {
      try {
        await api.post("/api/auth/logout");
        page.refused(new SignedOut("You have signed out."));
      } catch {
        notice("Signing out failed. Try again.");
      }
    });
    let hiding = 0;
    page.on(document, "visibilitychange", () => {
      clearTimeout(hiding);
      if (document.hidden) hiding = setTimeout(() => page.rest(true), HIDDEN_FOR_MS);
      else if (page.resting) page.rest(false);
    });
    page.onStop(() => clearTimeout(hiding));
  });
}

async function run() {
  let visited = false;
  for (;;) {
    try {
      const reason = await visit();
      visited = true;
      if (reason) throw reason;
    } catch (error) {
      if (error instanceof SignedOut) {
        leave();
        notice("");
        await signIn(error.message || (visited ? "Your session has ended. Sign in again." : null));
      } else if (error instanceof Forbidden) {
        notice("This organization is no longer open to you.");
        await wait(RETRY_MS);
      } else {
        notice("The service cannot be reached now. This page keeps trying.");
        await wait(RETRY_MS);
      }
    }
  }
}

run();
