/* JSON over HTTP, and what can go wrong with it. */

/** The server refused: the error object of the API, or the best guess at one. */
export class ApiError extends Error {
  constructor(status, { code = "ERROR", message = "", details = {} } = {}, retryAfter = 0) {
    super(message || `HTTP ${status}`);
    this.status = status;
    this.code = code;
    this.details = details;
    /** Seconds the server asks us to wait, 0 if it does not say. */
    this.retryAfter = retryAfter;
  }

  /** May the same request succeed later, unchanged? */
  get passing() {
    return this.status >= 500 || this.status === 429 || this.status === 408;
  }
}

/** No answer: offline, server away, or too slow. Whether the request arrived is unknown. */
export class Unreachable extends Error {
  passing = true;
  retryAfter = 0;
}

/** The answer's JSON, null for an empty one. Raises ApiError, Unreachable. */
export async function call(
  method,
  url,
  { body, headers = {}, credentials = "omit", timeout = 15_000 } = {},
) {
  const given = body !== undefined;
  let answer, text;
  try {
    answer = await fetch(url, {
      method,
      credentials,
      cache: "no-store",
      headers: {
        Accept: "application/json",
        ...(given && { "Content-Type": "application/json" }),
        ...headers,
      },
      body: given ? JSON.stringify(body) : undefined,
      signal: AbortSignal.timeout(timeout),
    });
    text = await answer.text();
  } catch (error) {
    throw new Unreachable(String(error), { cause: error });
  }
  const json = parsed(text);
  if (answer.ok) return json;
  throw new ApiError(answer.status, json?.error, Number(answer.headers.get("Retry-After")) || 0);
}

function parsed(text) {
  try {
    return text ? JSON.parse(text) : null;
  } catch {
    return null; // a proxy's HTML page
  }
}

export const pause = (milliseconds) =>
  new Promise((resolve) => setTimeout(resolve, milliseconds));
