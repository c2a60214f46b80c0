// How figures and their names are written.

const WORDS = { cpu: "CPU", gpu: "GPU", api: "API", io: "I/O", http: "HTTP", co2: "CO₂", id: "ID" };
const formats = new Map();

/** A metric's name as a title: cpu_usage and cpuUsage are both CPU usage. */
export function title(name) {
  const words = name.replace(/([a-z])([A-Z])/g, "$1_$2").toLowerCase().split("_").filter(Boolean);
  const text = words.map((word) => WORDS[word] ?? word).join(" ");
  return text.charAt(0).toUpperCase() + text.slice(1) || name;
}

/** A measurement, as many digits as its unit is read with; null is a dash. */
export function figure(value, unit) {
  if (value === null || value === undefined) return "—";
  const size = Math.abs(value);
  if (size >= 1e15) return value.toExponential(3);
  // 99.98 % must not read as 100 %.
  const percent = size < 1 || (size > 99.9 && size < 100) ? 2 : 1;
  const digits = unit === "%" ? percent : size >= 100 ? 1 : size >= 1 ? 2 : 4;
  if (!formats.has(digits)) formats.set(digits, new Intl.NumberFormat("en", { maximumFractionDigits: digits }));
  return formats.get(digits).format(value).replace("-", "−");
}

/** A unit as it stands behind a figure; one that only repeats the metric's name is left out. */
export const unitOf = (unit) => (["connections", "items", "requests", "comparisons", "models", "currency"].includes(unit) ? "" : (unit ?? "").replace("CO2", "CO₂"));
