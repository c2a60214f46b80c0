// Requests to the service: in the organization that the page shows, with the errors that a page must tell apart.

const PATIENCE_MS = 20_000;

/** The session is over, or never was. */
export class SignedOut extends Error {}

/** This organization may not be entered (any more). */
export class Forbidden extends Error {}

/** The service refused or failed: its status, what it says, and the parameter that it names. */
export class Failure extends Error {
  constructor(status, problem) {
    super(problem.detail ?? `the service answered ${status}`);
    this.status = status;
    this.parameter = problem.parameter;
  }
}

/** A way to ask. Every request names its organization: another tab may have moved the session to another one meanwhile. */
export class Api {
  constructor(organization, heard) {
    this.organization = organization;
    this.heard = heard;
  }

  /** A response that is good. Raises SignedOut, Forbidden, Failure, or the browser's TypeError where nothing was reached. */
  async open(path, options = {}) {
    const headers = { ...options.headers };
    if (this.organization) headers["X-Organization-ID"] = this.organization;
    const response = await fetch(path, { ...options, headers, credentials: "same-origin" });
    const asOf = response.headers.get("X-As-Of");
    if (asOf) this.heard?.(asOf);
    if (response.ok) return response;
    if (response.status === 401) throw new SignedOut();
    const problem = await response.json().catch(() => ({}));
    if (response.status === 403 && this.organization) throw new Forbidden(problem.detail);
    throw new Failure(response.status, problem);
  }

  /** A body's text. */
  async text(path) {
    return (await this.open(path, { signal: AbortSignal.timeout(PATIENCE_MS) })).text();
  }

  /** A body's JSON. */
  async json(path) {
    return JSON.parse(await this.text(path));
  }

  /** Sends JSON; the answer's JSON, or null where there is none. */
  async post(path, body) {
    const response = await this.open(path, {
      method: "POST",
      body: body === undefined ? undefined : JSON.stringify(body),
      headers: body === undefined ? {} : { "Content-Type": "application/json" },
      signal: AbortSignal.timeout(PATIENCE_MS),
    });
    return response.status === 204 ? null : response.json();
  }
}

/** A path with its parameters; a list repeats its name, null is left out. */
export function address(path, parameters) {
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(parameters)) {
    for (const one of Array.isArray(value) ? value : [value]) if (one !== null && one !== undefined) query.append(name, one);
  }
  return `${path}?${query}`;
}

/** A filter's text for one value, its commas escaped. */
export const only = (key, value) => `${key}:${value.replaceAll(",", "\\,")}`;
