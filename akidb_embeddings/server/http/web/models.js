// The models: what each does, and loading and unloading them.

import {$, complain, make, say} from "./elements.js";
import {administer, hasAdminKey, useAdminKey} from "./calls.js";
import {ago, bytes, span} from "./figures.js";

const NONE = "–", UNKNOWN = "not loaded yet";
const COLUMNS = ["State", "Memory", "Loaded", "Last used", "Leaves", "In flight"];
const STATES = {unloaded: "Unloaded", loading: "Loading", loaded: "Loaded", unloading: "Unloading"};
const DOING = {load: "Loading", unload: "Unloading"};
const rows = new Map();
let wanted = null;  // what the admin key is asked for

/** Show what each model does. `now` is the server's time, in seconds. */
export function showStates(models, now) {
  for (const name of [...rows.keys()].filter((name) => !models.some((one) => one.id === name))) {
    rows.get(name).line.remove();
    rows.delete(name);
  }
  for (const model of models) {
    if (!rows.has(model.id)) rows.set(model.id, newRow(model.id));
    const {line, cells, button} = rows.get(model.id);
    [...words(model, now)].forEach((text, index) => say(cells[index].firstChild, text));
    line.className = model.failed ? "failed" : model.state;
    line.dataset.kind = model.kind;
    const verb = ["loaded", "unloading"].includes(model.state) ? "unload" : "load";
    button.dataset.verb = verb;
    say(button, verb === "load" ? "Load" : "Unload");
    button.setAttribute("aria-label", `${button.textContent} ${model.id}`);
    button.setAttribute("aria-disabled", String(!["loaded", "unloaded"].includes(model.state)));
  }
  $("models").tBodies[0].append(...models.map((one) => rows.get(one.id).line)
    .filter((line, index) => $("models").tBodies[0].rows[index] !== line));  // moving a row would take its focus
  $("models").hidden = !models.length;
}

function words(model, now) {
  const isLoaded = model.state === "loaded", isThere = isLoaded || model.state === "unloading", memory = model.memory_bytes;
  return [
    model.failed ? "Failed to load" : !model.loads && model.state === "unloaded" ? "Not loaded yet" : STATES[model.state],
    memory === null ? NONE : isThere ? bytes(memory) : `was ${bytes(memory)}`,
    model.loaded_at === null ? NONE : ago(model.loaded_at, now),
    model.last_used === null ? "never" : model.requests ? "in use" : ago(model.last_used, now),
    !isLoaded ? NONE : model.pinned ? "pinned: stays" : model.expires_at !== null ? `in ${span(Math.max(0, model.expires_at - now))}`
      : model.keep_alive === null ? "stays" : `${span(model.keep_alive)} after use`,
    model.requests.toLocaleString("en"),
  ];
}

function newRow(name) {
  const line = make("tr", "", {role: "row"}), head = make("th", "", {scope: "row", role: "rowheader"});
  head.append(make("span", name, {className: "name"}), make("small"), make("code"));
  const cells = COLUMNS.map((column) => {
    const cell = make("td", "", {role: "cell"});
    cell.dataset.label = column;
    cell.append(make("span"));
    return cell;
  });
  const last = make("td", "", {role: "cell"}), button = make("button", "", {type: "button", className: "plain"});
  last.append(button);
  button.addEventListener("click", () => act(name, button.dataset.verb));
  line.append(head, ...cells, last);
  return {line, cells, button};
}

/** Show what is known of each model once it was loaded. */
export function showDetails(info) {
  const isFirst = (list, model) => model.default && list.length > 1;
  for (const list of [info.models, info.rerankers]) {
    for (const model of list) {
      const found = rows.get(model.name);
      if (!found) continue;
      const kind = list === info.rerankers ? "Reranker" : "Embedding model";
      const known = model.fingerprint === null ? [UNKNOWN] : [
        ...(list === info.models ? [`${model.dimension.toLocaleString("en")} dimensions`] : []),
        `${model.max_tokens.toLocaleString("en")} tokens`,
        ...(list === info.models ? [`pooling ${model.pooling}`] : []),
        ...(model.prompts?.length ? [`prompts ${model.prompts.join(", ")}`] : []),
      ];
      const [, about, fingerprint] = found.line.firstChild.children;
      say(about, [kind + (isFirst(list, model) ? " (default)" : ""), ...known].join(" · "));
      say(fingerprint, model.fingerprint ?? "");
    }
  }
}

async function act(name, verb) {
  const {button} = rows.get(name);
  if (button.getAttribute("aria-disabled") === "true") return;
  button.setAttribute("aria-disabled", "true");
  say($("models-wrong"), "");
  say($("models-told"), `${DOING[verb]} ${name}`);
  const hadKey = hasAdminKey();
  setTimeout(refresh, 200);  // long loading is seen as such
  try {
    const state = await administer(name, verb);
    say($("models-told"), `${name} is ${state.state}.`);
    close(name);
  } catch (error) {
    say($("models-told"), "");
    button.setAttribute("aria-disabled", "false");
    refuse(error, name, verb, hadKey);
  }
  refresh();
}

function refuse(error, name, verb, hadKey) {
  const isRefused = error.status === 401 || (error.status === 403 && hadKey);
  if (error.status === 401 && hadKey) error.message = "The server does not accept this admin key.";
  if (error.status !== 401 || hadKey) complain($("models-wrong"), error);
  if (!isRefused) return close(name);
  useAdminKey("");
  wanted = {name, verb};
  say($("admin-go"), `${verb === "load" ? "Load" : "Unload"} ${name}`);
  $("admin-form").hidden = false;
  $("admin-key").value = "";
  $("admin-key").focus();
}

function close(name) {
  if (!$("admin-form").hidden) {
    $("admin-form").hidden = true;
    rows.get(name)?.button.focus();
  }
  $("admin-key").value = "";
  wanted = null;
}

function refresh() { document.dispatchEvent(new Event("asked")); }

$("admin-form").addEventListener("submit", (event) => {
  event.preventDefault();
  try {
    useAdminKey($("admin-key").value.trim());
  } catch (error) {
    return complain($("models-wrong"), error);
  }
  act(wanted.name, wanted.verb);
});
$("admin-cancel").addEventListener("click", () => {
  say($("models-wrong"), "");
  close(wanted.name);
});
