// A list of documents, the best for a query first.

import {Wrong, ask} from "./calls.js";
import {$, choices, cutMark, fill, lines, make, whenSent} from "./elements.js";
import {time} from "./figures.js";

export function showRerank(info) {
  $("rerank-section").hidden = !info.rerankers.length;
  choices($("rerank-model"), info.rerankers.map((model) => [model.name, model.name]));
}

async function rerank() {
  const query = $("query").value, texts = lines($("documents")), model = $("rerank-model").value;
  if (!query.trim()) throw new Wrong("Type a query.");
  if (!texts.length) throw new Wrong("Type one or more documents, one per line.");
  const begin = performance.now(), {text, headers} = await ask("rerank", {query, texts, model});
  const trip = (performance.now() - begin) / 1000;
  const cut = new Set((headers.get("x-akidb-truncated") || "").split(",").filter(Boolean).map(Number));
  $("hits").replaceChildren(...JSON.parse(text).map(({index, score}) => hit(texts[index], score, cut.has(index))));
  $("hits").hidden = false;
  return `${model}; ${time(trip)} round trip. Scores are from 0 to 1.`;
}

function hit(document, score, isCut) {
  const item = make("li"), bar = make("div", "", {className: "bar"}), head = make("div", "", {className: "hit"});
  bar.append(make("div"));
  fill(bar, score);
  head.append(make("span", document, {className: "document"}), ...(isCut ? [cutMark()] : []),
    make("span", score.toFixed(4), {className: "score"}));
  item.append(head, bar);
  return item;
}

whenSent($("rerank"), {
  told: $("rerank-told"), wrong: $("rerank-wrong"), result: $("hits"), doing: "Reranking", work: rerank,
});
