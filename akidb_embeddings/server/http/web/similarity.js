// The similarity of each pair of a list of texts.

import {Wrong, embed} from "./calls.js";
import {$, choices, cutMark, lines, make, offerPrompts, promptsOf, row, say, whenSent} from "./elements.js";
import {time} from "./figures.js";

const MAX_TEXTS = 50;            // a larger matrix is not readable
let info = null;

export function showSimilarity(given) {
  info = given;
  $("similarity-section").hidden = !info.models.length;
  choices($("model"), info.models.map((model) => [model.name, model.name]));
  showPrompts();
}

function showPrompts() { offerPrompts($("prompt"), promptsOf(info, $("model").value)); }

async function compare() {
  const texts = lines($("texts"));
  if (!texts.length) throw new Wrong("Type one or more texts, one per line.");
  if (texts.length > MAX_TEXTS) throw new Wrong(`There are ${texts.length} texts; this page compares at most ${MAX_TEXTS}.`);
  const prompt = $("prompt").value, answer = await embed(texts, $("model").value, prompt);
  showMatrix(texts, answer, prompt);
  const {tokenize_ms, queue_ms, compute_ms, total_ms} = answer.timings, ms = (number) => time(number / 1000);
  return `${time(answer.trip)} round trip; in the server ${ms(total_ms)}: tokenizing ${ms(tokenize_ms)}, ` +
    `waiting ${ms(queue_ms)}, computing ${ms(compute_ms)}.`;
}

function showMatrix(texts, answer, prompt) {
  const heads = make("tr");
  heads.append(make("th", "Text", {scope: "col"}), make("th", "Tokens", {scope: "col"}),
    ...texts.map((text, index) => make("th", index + 1, {scope: "col", title: text})));
  const rows = texts.map((text, index) => {
    const tokens = make("td", answer.token_counts[index].toLocaleString("en"));
    if (answer.truncated[index]) tokens.append(cutMark());
    const line = row("", tokens, ...answer.embeddings.map((other) => shaded(dot(answer.embeddings[index], other))));
    line.firstChild.append(make("div", `${index + 1}  ${text}`, {title: text}));
    return line;
  });
  $("matrix").tHead.replaceChildren(heads);
  $("matrix").tBodies[0].replaceChildren(...rows);
  say($("matrix").caption, `${answer.model}, ${answer.dimension} dimensions` + (prompt ? `, prompt ${prompt}` : ""));
  $("matrix").parentElement.hidden = false;
}

function dot(a, b) { return a.reduce((sum, value, index) => sum + value * b[index], 0); }

function shaded(cosine) {
  const cell = make("td", cosine.toFixed(3).replace(/^-0\.000$/, "0.000").replace("-", "−"), {className: "shaded"});
  cell.style.setProperty("--much", `${Math.round(60 * Math.min(Math.max(cosine, 0), 1))}%`);
  return cell;
}

$("model").addEventListener("change", showPrompts);
whenSent($("entry"), {
  told: $("told"), wrong: $("wrong"), result: $("matrix").parentElement, doing: "Comparing", work: compare,
});
