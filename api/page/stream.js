// Server-sent events by fetch. EventSource would hide what a page that stays open all day must see: a session that ended (401), and a
// connection that died in the laptop's sleep without a word (heartbeats that no longer come).

import { Forbidden, SignedOut } from "./api.js";

const SILENCE_MS = 40_000; // two heartbeats and some
const FIRST_WAIT_MS = 1_000;
const LONGEST_WAIT_MS = 30_000;
const LONGEST_FRAME = 64 * 1024 * 1024;

/** One stream of states, opened again whenever it ends. Only the newest state counts, so nothing is kept of the others. */
export class Stream {
  /** `told(text)` gets a state's JSON; `changed()` is called when `live` is another; `refused(error)` when there is no use in going on. */
  constructor(api, path, { told, changed, refused }) {
    Object.assign(this, { api, path, told, changed, refused, live: false, stopping: null });
  }

  start() {
    if (this.stopping) return;
    this.stopping = new AbortController();
    this.run(this.stopping.signal);
  }

  stop() {
    this.stopping?.abort();
    this.stopping = null;
    this.turn(false);
  }

  /** Goes to another address, at once. */
  move(path) {
    if (this.path === path) return;
    this.path = path;
    if (this.stopping) {
      this.stop();
      this.start();
    }
  }

  turn(live) {
    if (this.live === live) return;
    this.live = live;
    this.changed();
  }

  async run(stopped) {
    let wait = FIRST_WAIT_MS;
    while (!stopped.aborted) {
      try {
        await this.once(stopped, () => {
          wait = FIRST_WAIT_MS;
          this.turn(true);
        });
      } catch (error) {
        if (stopped.aborted) return;
        if (error instanceof SignedOut || error instanceof Forbidden) return this.refused(error);
      }
      if (stopped.aborted) return;
      this.turn(false);
      await pause(wait * (0.75 + Math.random() / 2), stopped);
      wait = Math.min(wait * 2, LONGEST_WAIT_MS);
    }
  }

  async once(stopped, alive) {
    const connection = new AbortController();
    const end = () => connection.abort();
    stopped.addEventListener("abort", end);
    let heard = Date.now();
    const watchdog = setInterval(() => Date.now() - heard > SILENCE_MS && end(), 5_000);
    try {
      const response = await this.api.open(this.path, { signal: connection.signal, headers: { Accept: "text/event-stream" } });
      const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
      const parse = frames((event, data) => event === "state" && !stopped.aborted && this.told(data));
      for (;;) {
        const { done, value } = await reader.read();
        if (done) return;
        heard = Date.now();
        alive();
        parse(value);
      }
    } finally {
      clearInterval(watchdog);
      stopped.removeEventListener("abort", end);
      end();
    }
  }
}

/** A parser of the wire's text, piece by piece: calls `told(event, data)` for each whole frame. */
function frames(told) {
  let pieces = [];
  let size = 0;
  return (piece) => {
    pieces.push(piece);
    size += piece.length;
    if (size > LONGEST_FRAME) throw new Error("a state of the stream is too long");
    if (!piece.includes("\n")) return;
    const parts = pieces.join("").split("\n\n");
    const rest = parts.pop();
    pieces = [rest];
    size = rest.length;
    for (const part of parts) {
      let event = "message";
      const data = [];
      for (const line of part.split("\n")) {
        if (line.startsWith("event: ")) event = line.slice(7);
        else if (line.startsWith("data: ")) data.push(line.slice(6));
      }
      if (data.length) told(event, data.join("\n"));
    }
  };
}

/** Waits, but not on when the network comes back or the page stops. */
function pause(ms, stopped) {
  return new Promise((done) => {
    const finish = () => {
      clearTimeout(timer);
      window.removeEventListener("online", finish);
      stopped.removeEventListener("abort", finish);
      done();
    };
    const timer = setTimeout(finish, ms);
    window.addEventListener("online", finish);
    stopped.addEventListener("abort", finish);
  });
}
