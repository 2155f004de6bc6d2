// Latency and queue over the last minutes, of all clients, from differences of the server's counters.

import {trips} from "./calls.js";
import {draw} from "./chart.js";
import {$, make, row, say} from "./elements.js";
import {between, bytes, estimate, parse, quantile, span, time} from "./figures.js";

const MINUTE = 60, SHOWN = 300;  // seconds of the table, and of the charts
const SHORTEST = 2;              // seconds between two samples; a shorter time tells nothing of a rate
const LONGEST = 15;              // seconds between two samples; after a longer pause, nothing is known of the time between
let samples = [];

export function showMetrics(text) {
  const last = parse(text);
  if (samples.length && last.requests < samples.at(-1).requests) samples = [];  // the server has been restarted
  const [before, previous] = samples.slice(-2);
  if (previous && last.time - previous.time < SHORTEST && last.time - before.time < LONGEST / 2) samples.pop();
  samples.push(last);
  while (samples.length > 2 && samples[1].time < last.time - SHOWN) samples.shift();
  const since = samples.find((one, index) => !samples[index + 1] || samples[index + 1].time >= last.time - MINUTE);
  showLatency(between(since, last), last);
  showQueue(last);
  redraw();
}

function showLatency(minute, last) {
  const line = (name, figure) => row(name, make("td", figure(minute)), make("td", figure(last)));
  $("latency").replaceChildren(
    line("Requests", (one) => one.requests.toLocaleString("en")),
    line("Rejected or failed", (one) => one.failed.toLocaleString("en")),
    line("P50: half are faster", (one) => quantile(.5, one.buckets)),
    line("P95: 95 % are faster", (one) => quantile(.95, one.buckets)));
  const median = [...trips].sort((a, b) => a - b)[trips.length >> 1];
  say($("trips"), trips.length ? `From this page: ${trips.length} ${trips.length === 1 ? "request" : "requests"}, median ${time(median)}.` : "");
}

function showQueue(last) {
  const most = (figure) => Math.max(...samples.map(figure));
  const rates = intervals((one) => one.requests / one.seconds).map(([, , rate]) => rate ?? 0);
  const line = (name, ...figures) => row(name, ...figures.map((figure) => make("td", figure)));
  $("queue").replaceChildren(
    line("Tokens that wait", last.tokens.toLocaleString("en"), most((one) => one.tokens).toLocaleString("en")),
    line("Longest wait", wait(last.age), wait(most((one) => one.age))),
    line("Requests a second", rate(rates.at(-1) ?? 0), rate(Math.max(0, ...rates))),
    line("Memory of the process", bytes(last.memory), bytes(most((one) => one.memory))));
}

function wait(seconds) { return seconds ? time(seconds) : "none"; }

function rate(number) { return String(Number(number.toPrecision(2))); }

/** [begin, end, figure] of the time between each two samples; null where nothing is known. */
function intervals(figure) {
  return samples.slice(1).map((after, index) => {
    const found = between(samples[index], after);
    return [samples[index].time, after.time, found.seconds > LONGEST ? null : figure(found)];
  });
}

function redraw() {
  if (!samples.length) return;
  const seconds = SHOWN, {time: now, tokens, age} = samples.at(-1);
  const rates = intervals((one) => one.requests / one.seconds);
  const latency = (share) => intervals((one) => estimate(share, one.buckets)?.[0] ?? null);
  draw($("latency-chart"), {
    seconds, now, axes: {left: {least: .01, format: time}, right: {least: 1, format: (value) => `${rate(value)}/s`}},
    series: [
      {axis: "right", kind: "bars", name: "rate", points: rates},
      {axis: "left", kind: "line", name: "p95", points: latency(.95)},
      {axis: "left", kind: "line", name: "p50", points: latency(.5)},
    ],
  });
  const held = (figure) => intervals(() => true).map(([begin, end, known], index) =>
    [begin, end, known && figure(samples[index + 1])]);
  draw($("queue-chart"), {
    seconds, now, axes: {left: {least: 100, format: compact}, right: {least: 1, format: time}},
    series: [
      {axis: "left", kind: "bars", name: "tokens", points: held((one) => one.tokens)},
      {axis: "right", kind: "line", name: "age", points: held((one) => one.age)},
    ],
  });
  const known = between(samples[0], samples.at(-1)), spoken = span(Math.max(1, known.seconds));
  $("latency-chart").setAttribute("aria-label", `Latency over the last ${spoken}: P50 ${quantile(.5, known.buckets)}, ` +
    `P95 ${quantile(.95, known.buckets)}; ${rate(rates.at(-1)?.[2] ?? 0)} requests a second now.`);
  $("queue-chart").setAttribute("aria-label", `Queue over the last ${spoken}: ${tokens.toLocaleString("en")} tokens wait now, ` +
    `the longest wait is ${wait(age)}.`);
}

function compact(number) {
  return number.toLocaleString("en", {notation: "compact"});
}

new ResizeObserver(() => requestAnimationFrame(redraw)).observe($("latency-chart"));
