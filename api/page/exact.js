// Amounts to the last digit: numbers of a JSON text as they are written there. No amount that is shown passes through a binary float.

const TOKEN = /"(?:[^"\\]|\\.)*"|-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?/g;

/** JSON with every number as its text. */
export function parseExact(text) {
  return JSON.parse(text.replace(TOKEN, (token) => (token[0] === '"' ? token : `"${token}"`)));
}

/** A number's text without an exponent: -1.5E-7 as -0.00000015. */
export function plain(text) {
  const [, minus, whole, fraction = "", exponent = "0"] = /^(-?)(\d+)(?:\.(\d+))?(?:[eE]([+-]?\d+))?$/.exec(text);
  const shift = Number(exponent);
  const digits = whole + fraction;
  const point = whole.length + shift;
  const padded = point <= 0 ? "0".repeat(1 - point) + digits : digits.padEnd(point, "0");
  const cut = Math.max(point, 1);
  const left = padded.slice(0, cut).replace(/^0+(?=\d)/, "");
  const right = padded.slice(cut).replace(/0+$/, "");
  return minus + left + (right && `.${right}`);
}

/** -1, 0 or 1. */
export function sign(text) {
  if (!/[1-9]/.test(text.split(/[eE]/)[0])) return 0;
  return text[0] === "-" ? -1 : 1;
}

/** An amount as people read it: 1,234.5 or −0.3, every digit of it. Null is a dash. */
export function amount(text, { plus = false } = {}) {
  if (text === null || text === undefined) return "—";
  const [whole, fraction] = plain(text).replace("-", "").split(".");
  const grouped = whole.replace(/\B(?=(\d{3})+$)/g, ",");
  const way = sign(text);
  return (way < 0 ? "−" : way > 0 && plus ? "+" : "") + grouped + (fraction ? `.${fraction}` : "");
}
