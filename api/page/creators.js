// The creators' leaderboard, pushed whenever somebody watches or likes.

import { now } from "./clock.js";
import { $, empty, fill } from "./dom.js";
import { amount, parseExact } from "./exact.js";

/** Shows the best creators of an organization until the page stops. */
export function creators(page) {
  page.stream("/api/v1/stream?leaderboard=creators&limit=10", (text) => {
    const { as_of: asOf, entries } = parseExact(text);
    page.fresh(asOf);
    $("creators-body").hidden = !entries.length;
    $("creators-empty").hidden = entries.length > 0;
    fill($("creators-table").tBodies[0], entries.map((one) => [
      one.rank, one.username, Number(one.score).toFixed(1), amount(one.views), amount(one.likes), amount(one.dislikes),
    ]));
  });
  empty($("creators-empty"), "Nobody has watched anything yet.", "Send the first view with", {
    specversion: "1.0", id: "v-1", source: "site/web", type: "view", time: new Date(now()).toISOString(),
    data: { video_id: "clip-1", creator_id: "grace", user_id: "ada", action: "view" },
  });
  page.onStop(() => {
    fill($("creators-table").tBodies[0], []);
    $("creators-body").hidden = $("creators-empty").hidden = true;
  });
}
