// The cosine similarity of two texts.

import {Wrong, embed} from "./calls.js";
import {$, choices, cutMark, fill, offerPrompts, promptsOf, say, tokenCount, whenSent} from "./elements.js";
import {time} from "./figures.js";

const SIDES = ["left", "right"];
let info = null;

export function showPair(given) {
  info = given;
  $("pair-section").hidden = !info.models.length;
  choices($("pair-model"), info.models.map((model) => [model.name, model.name]));
  showPrompts();
}

function showPrompts() {
  const names = promptsOf(info, $("pair-model").value);
  for (const side of SIDES) {
    offerPrompts($(`${side}-prompt`), names);
    $(`${side}-prompt`).parentElement.hidden = !names.length;
  }
}

async function compare() {
  const texts = SIDES.map((side) => $(side).value), prompts = SIDES.map((side) => $(`${side}-prompt`).value);
  if (texts.some((text) => !text.trim())) throw new Wrong("Type both texts.");
  const [a, b] = await vectors(texts, prompts);
  const cosine = a.vector.reduce((sum, value, index) => sum + value * b.vector[index], 0);
  say($("cosine"), cosine.toFixed(4).replace(/^-0\.0000$/, "0.0000").replace("-", "−"));
  fill($("pair-result").querySelector(".bar"), cosine);
  [a, b].forEach((one, index) => {
    const node = $(`${SIDES[index]}-tokens`);
    node.replaceChildren(tokenCount(one.tokens), ...(one.truncated ? [" ", cutMark(), " The rest was not read."] : []));
  });
  $("pair-result").hidden = false;
  return `${a.model}, ${a.vector.length} dimensions; ${time(Math.max(a.trip, b.trip))} round trip. ` +
    "1 is the same direction, 0 is unrelated.";
}

/** Both vectors: of one request, unless each text has a prompt of its own. */
async function vectors(texts, prompts) {
  const model = $("pair-model").value, one = (answer, index) => ({
    vector: answer.embeddings[index], tokens: answer.token_counts[index], truncated: answer.truncated[index],
    model: answer.model, trip: answer.trip});
  if (prompts[0] === prompts[1]) {
    const answer = await embed(texts, model, prompts[0]);
    return [one(answer, 0), one(answer, 1)];
  }
  const answers = await Promise.all(texts.map((text, index) => embed([text], model, prompts[index])));
  return answers.map((answer) => one(answer, 0));
}

$("pair-model").addEventListener("change", showPrompts);
for (const side of SIDES) {  // what was said of a text holds no longer
  $(side).addEventListener("input", () => say($(`${side}-tokens`), ""));
}
whenSent($("pair"), {
  told: $("pair-told"), wrong: $("pair-wrong"), result: $("pair-result"), doing: "Comparing", work: compare,
});
