// Parts of the page. Values from the server and the user are inserted as text (textContent), never as HTML.

import {Wrong} from "./calls.js";

export const $ = (id) => document.getElementById(id);

export function make(tag, text = "", settings = {}) {
  return Object.assign(document.createElement(tag), {textContent: text}, settings);
}

/** Show a text; only if it changes, so that a screen reader does not repeat it. */
export function say(node, text) {
  if (node.textContent !== text) node.textContent = text;
  if (node.classList.contains("wrong")) node.hidden = !text;
}

export function complain(node, error) {
  node.replaceChildren(error.message, ...(error.id ? [make("small", `Request ${error.id}, status ${error.status}`)] : []));
  node.hidden = false;
}

export function row(name, ...cells) {
  const line = make("tr");
  line.append(make("th", name, {scope: "row"}), ...cells);
  return line;
}

/** Offer these values, each with its text, and keep the chosen one if it is among them. */
export function choices(select, pairs) {
  const chosen = select.value;
  select.replaceChildren(...pairs.map(([value, text]) => make("option", text, {value})));
  if (pairs.some(([value]) => value === chosen)) select.value = chosen;
}

export function promptsOf(info, name) {
  return info?.models.find((one) => one.name === name)?.prompts || [];
}

export function offerPrompts(select, names) {
  choices(select, [["", "as configured"], ...names.map((name) => [name, name])]);
}

export function lines(field) {
  return field.value.split("\n").filter((text) => text.trim());
}

export function tokenCount(count) {
  return `${count.toLocaleString("en")} ${count === 1 ? "token" : "tokens"}`;
}

export function cutMark() { return make("span", "truncated", {className: "cut"}); }

/** Fill a bar to a share from 0 to 1. The number beside it says the same. */
export function fill(bar, share) {
  bar.setAttribute("aria-hidden", "true");
  bar.firstElementChild.style.width = `${100 * Math.min(Math.max(share, 0), 1)}%`;
}

/** Do the work of a form when it is sent, also by Ctrl and Enter, one at a time; show what goes wrong. */
export function whenSent(form, {told, wrong, result, doing, work}) {
  let busy = false;
  async function run(event) {
    event?.preventDefault();
    if (busy) return;
    busy = true;
    say(wrong, "");
    say(told, doing);
    try {
      say(told, await work());
    } catch (error) {
      say(told, "");
      result.hidden = true;
      complain(wrong, error instanceof Wrong ? error : new Wrong("The server's response is not valid."));
    }
    busy = false;
    document.dispatchEvent(new Event("asked"));
  }
  form.addEventListener("submit", run);
  form.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) run(event);
  });
}
