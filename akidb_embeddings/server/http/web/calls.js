// Requests to this server. Keys stay in this module's memory: they are not stored, and no address has them.

const REQUEST_TIMEOUT = 90000;   // milliseconds; the server's own limit is a minute
const LOOK_TIMEOUT = 20000;      // milliseconds for what the server says of itself
const keys = {api: "", admin: ""};
let whenLocked = () => {};

/** Seconds of this page's requests for vectors, the latest last. */
export const trips = [];

export class Wrong extends Error {
  constructor(message, status = 0, id = "") { super(message); Object.assign(this, {status, id}); }
}

/** What is called, with the path, if a request is refused for want of a key. */
export function onLocked(call) { whenLocked = call; }

export function hasKey() { return Boolean(keys.api); }

export function hasAdminKey() { return Boolean(keys.admin || keys.api); }

export function useAdminKey(key) { keys.admin = checked(key); }

export function useKey(key) { keys.api = checked(key); }

function checked(key) {
  if (key && !/^[\x21-\x7e]+$/.test(key)) throw new Wrong("A key consists of letters, digits and signs, without spaces.");
  return key;
}

/** The text of a response, and its headers. */
export async function ask(path, body) {
  const used = keys.api;
  try {
    return await send(path, body, used);
  } catch (error) {
    if (error.status === 401 && used === keys.api) whenLocked(path);
    throw error;
  }
}

/** Load or unload a model; the response says what has become of it. */
export async function administer(name, verb) {
  const {text} = await send(`models/${encodeURIComponent(name)}/${verb}`, {}, keys.admin || keys.api);
  return JSON.parse(text);
}

/** Vectors of texts, of length 1, and how long they took. */
export async function embed(texts, model, prompt) {
  const body = {texts, normalize: true}, begin = performance.now();
  if (model) body.model = model;
  if (prompt) body.prompt_name = prompt;
  const answer = JSON.parse((await ask("embed", body)).text);
  answer.trip = (performance.now() - begin) / 1000;
  trips.push(answer.trip);
  trips.splice(0, trips.length - 100);
  return answer;
}

async function send(path, body, key) {
  const headers = {"Content-Type": "application/json"};
  if (key) headers.Authorization = `Bearer ${key}`;
  const options = {headers, cache: "no-store", signal: AbortSignal.timeout(body ? REQUEST_TIMEOUT : LOOK_TIMEOUT)};
  let response, text;
  try {
    response = await fetch(path, body ? {...options, method: "POST", body: JSON.stringify(body)} : options);
    text = await response.text();
  } catch (error) {
    throw new Wrong(error.name === "TimeoutError" ? "The server did not respond in time." : "The server cannot be reached.");
  }
  if (response.ok) return {text, headers: response.headers};
  let details = {};
  try { details = JSON.parse(text); } catch { /* not from this server, but from a proxy */ }
  if (Array.isArray(details.problems)) return {text, headers: response.headers};  // not ready, with the reasons
  const told = details.error?.message ?? details.error;  // an object in OpenAI's routes
  const message = typeof told === "string" ? told : `The server responded with status ${response.status}.`;
  throw new Wrong(message, response.status, details.request_id || response.headers.get("X-Request-ID") || "");
}
