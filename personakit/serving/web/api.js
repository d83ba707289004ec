// Calls of the service's API. The key is kept in this tab only.

const KEY = "personakit-key";

export const key = {
  get: () => sessionStorage.getItem(KEY),
  set: (value) => sessionStorage.setItem(KEY, value),
  remove: () => sessionStorage.removeItem(KEY),
};

/** An error whose message is the API's own sentence. */
export class ApiError extends Error {
  constructor(message, status) {
    super(message);
    this.status = status;
  }
}

/**
 * Call a route, written as in the API's schema, such as `v1/users/{user}`.
 *
 * Returns the JSON of the reply. Throws an `ApiError`; status 0 is no reply at all.
 */
export async function call(method, route, { path = {}, query, body, signal } = {}) {
  const address = route.replace(/\{(\w+)\}/g, (_, name) => segment(path[name]));
  const headers = {};
  if (key.get()) headers["Authorization"] = `Bearer ${key.get()}`;
  if (body) headers["Content-Type"] = "application/json";
  let reply, document;
  try {
    reply = await fetch(query ? `${address}?${new URLSearchParams(query)}` : address, {
      method,
      headers,
      body: body && JSON.stringify(body),
      signal,
      cache: "no-store", // no text of a user stays on this machine's disk
    });
    document = await reply.json().catch(() => null);
  } catch (error) {
    const stopped = error.name === "AbortError";
    throw new ApiError(stopped ? "Stopped." : "The service cannot be reached.", 0);
  }
  if (reply.ok && document) return document;
  throw new ApiError(document?.error?.message ?? `The service replied with status ${reply.status}.`, reply.status);
}

/** Return a name as a part of an address: servers read a slash, and browsers `.` and `..`, as folders. */
function segment(name) {
  if (name === "." || name === "..") throw new ApiError(`${name} is no name of a user.`, 400);
  if (String(name).includes("/")) throw new ApiError("A name has no slash.", 400);
  return encodeURIComponent(name);
}
