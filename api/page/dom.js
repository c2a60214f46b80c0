// Elements made from texts: whatever an event holds reaches the page as text, never as markup.

export const $ = (id) => document.getElementById(id);

/** An element with properties (`class`, `hidden`, …; `data` for data attributes) and children, which are elements or texts. */
export function make(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name === "data") Object.assign(element.dataset, value);
    else if (name in element && name !== "class") element[name] = value;
    else element.setAttribute(name, value);
  }
  element.append(...children);
  return element;
}

/** Sets a text only where it is another, so that an unchanged page does no work. Returns whether it was. */
export function put(element, text) {
  if (element.textContent === text) return false;
  element.textContent = text;
  return true;
}

/** Fills a `select` with [value, label] pairs; an open list is left alone when nothing changed. */
export function choices(select, pairs, chosen) {
  const now = JSON.stringify(pairs);
  if (select.dataset.pairs !== now) {
    select.replaceChildren(...pairs.map(([value, label]) => make("option", { value }, label)));
    select.dataset.pairs = now;
  }
  if (select.value !== chosen) select.value = chosen;
}

const SHOWN_AS_CHANGED_MS = 700;

/** A table's body from rows of texts: rows and cells are kept, and a cell whose text changed is marked for a moment. */
export function fill(body, rows, signs = []) {
  const changed = [];
  while (body.rows.length > rows.length) body.lastElementChild.remove();
  rows.forEach((texts, at) => {
    const fresh = at >= body.rows.length;
    const row = body.rows[at] ?? body.insertRow();
    texts.forEach((text, column) => {
      const cell = row.cells[column] ?? row.insertCell();
      if (put(cell, text) && !fresh && column > 1) changed.push(cell);
      const sign = signs[at]?.[column];
      if (sign) cell.dataset.sign = sign;
      else delete cell.dataset.sign;
      cell.title = text.length > 18 ? text : "";
    });
  });
  // A mark that comes and goes, not a fade: one that runs all day would have the whole page painted sixty times a second.
  for (const cell of changed) cell.classList.add("changed");
  if (changed.length) setTimeout(() => changed.forEach((cell) => cell.classList.remove("changed")), SHOWN_AS_CHANGED_MS);
}

/** What to show where there is nothing yet: a sentence, and the request that changes it. */
export function empty(box, title, sentence, event) {
  const request = [
    `curl ${location.origin}/api/v1/events \\`,
    '  -H "Authorization: Bearer $API_KEY" -H "Content-Type: application/json" \\',
    `  -d '${JSON.stringify(event)}'`,
  ].join("\n");
  const copy = make("button", { type: "button", class: "quiet" }, "Copy");
  copy.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(request);
      copy.textContent = "Copied";
    } catch {
      copy.textContent = "Select it by hand";
    }
  });
  box.replaceChildren(
    make("p", {}, make("strong", {}, title)),
    make("p", {}, sentence),
    make("div", { class: "example" }, make("pre", { tabIndex: 0 }, request), copy),
  );
}
