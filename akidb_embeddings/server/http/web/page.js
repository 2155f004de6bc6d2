// Polls the server, one request after the other, while the page is visible, and hands on what it says.

import {ask, hasKey, onLocked, useKey} from "./calls.js";
import {$, complain, make, say} from "./elements.js";
import {showDetails, showStates} from "./models.js";
import {showPair} from "./pair.js";
import {showRerank} from "./rerank.js";
import {showSimilarity} from "./similarity.js";
import {showMetrics} from "./traffic.js";

const POLL_INTERVAL = 3000;      // milliseconds
const LIMITS = {
  max_texts: "Texts per request", max_text_characters: "Characters per text", max_body_bytes: "Bytes per request",
  max_queued_tokens: "Tokens in the queue", max_queue_seconds: "Seconds in the queue",
  max_concurrent_requests: "Concurrent requests", max_connections: "Connections",
  max_connections_per_address: "Connections per address", header_seconds: "Seconds for a request's head",
  body_seconds: "Seconds for a request's body", request_seconds: "Seconds per request",
};
let info = null, known = "", refused = new Set(), looking = false, again = false, timer = 0;

function showHealth({text}) {
  const {status, problems} = JSON.parse(text), ready = status === "ready";
  tellHealth(ready ? "ready" : "not", ready ? "Ready" : "Not ready", problems);
}

function tellHealth(state, text, problems = []) {
  $("health").className = state;
  say($("health"), text);
  const list = $("problems").firstElementChild;
  $("problems").hidden = !problems.length;
  if (list.textContent !== problems.join("")) list.replaceChildren(...problems.map((problem) => make("li", problem)));
}

function showModels({text, headers}) {
  const models = JSON.parse(text).data, date = Date.parse(headers.get("Date"));  // the clock here may be another one
  const loads = JSON.stringify(models.map((model) => [model.id, model.loads]));
  if (loads !== known) info = null;  // what was not known of a model is, once it is loaded
  known = loads;
  showStates(models, (Number.isNaN(date) ? Date.now() : date) / 1000);
}

function showInfo({text}) {
  info = JSON.parse(text);
  say($("version"), info.version);
  $("limits").replaceChildren(...Object.entries(info.limits).map(([name, value]) => {
    const pair = make("div", "", {title: name});
    pair.append(make("dt", LIMITS[name] || name), make("dd", value.toLocaleString("en")));
    return pair;
  }));
  for (const show of [showDetails, showPair, showRerank, showSimilarity]) show(info);
}

function tellLocked(id, text) {
  say($(id), text);
  $(id).hidden = !text;
}

function tellMetrics(why) {
  tellLocked("metrics-locked", why && `Reading latency and queue ${why}.`);
  for (const name of ["latency-title", "queue-title"]) $(name).parentElement.hidden = Boolean(why);
}

async function lookAt(path, show, tell) {
  if (refused.has(path)) return;
  try {
    show(await ask(path));
    tell?.("");
  } catch (error) {
    if (error.status !== 401) throw error;
    tell?.("requires an API key");
  }
}

async function look() {
  clearTimeout(timer);
  again = looking;
  if (looking || document.hidden) return;
  looking = true;
  try {
    await lookAt("readyz", showHealth, (why) => why && tellHealth("", `Health ${why}`));
    await lookAt("v1/models", showModels, (why) => tellLocked("models-locked", why && `The list of models ${why}.`));
    if (!info) await lookAt("info", showInfo);
    await lookAt("metrics", ({text}) => showMetrics(text), tellMetrics);
  } catch (error) {
    info = null;  // the server that responds next may be another one
    tellHealth("not", "No response", [error.message]);
  }
  looking = false;
  if (again) return look();
  if (!document.hidden) timer = setTimeout(look, POLL_INTERVAL);
}

onLocked((path) => {
  refused.add(path);
  say($("key-wrong"), hasKey() ? "The server does not accept this key." : "");
  $("locked").hidden = false;
});
$("key-form").addEventListener("submit", async (event) => {
  event.preventDefault();
  try {
    useKey($("key").value.trim());
  } catch (error) {
    return complain($("key-wrong"), error);
  }
  refused = new Set();
  $("locked").hidden = true;
  info = null;
  $("left").focus();
  await look();
});
document.addEventListener("asked", look);
document.addEventListener("visibilitychange", look);
look();
