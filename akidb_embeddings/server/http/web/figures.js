// Numbers, times and quantiles in words.

export function time(seconds) {
  if (!seconds) return "0";
  return seconds < 1 ? `${Number((1000 * seconds).toPrecision(2))} ms` : `${Number(seconds.toPrecision(2))} s`;
}

export function bytes(count) {
  if (count < 1e6) return `${Math.round(count / 1e3)} kB`;
  return count < 1e9 ? `${Math.round(count / 1e6).toLocaleString("en")} MB` : `${(count / 1e9).toFixed(1)} GB`;
}

/** A duration, roughly: the largest unit that is at least one. */
export function span(seconds) {
  const units = [[86400, "d"], [3600, "h"], [60, "min"], [1, "s"]];
  const [size, unit] = units.find(([size]) => seconds >= size) || [1, "s"];
  return `${Math.round(seconds / size)} ${unit}`;
}

export function ago(moment, now) {
  return now - moment < 2 ? "just now" : `${span(now - moment)} ago`;
}

/** The seconds within which a share of the requests was done, as [bound, is exact]; null without any.
 *  As Prometheus estimates it: evenly spread within a bucket; from the last bound on, only that is known. */
export function estimate(share, buckets) {
  const all = [...buckets].sort(([a], [b]) => a - b), rank = share * (all.length ? all.at(-1)[1] : 0);
  let lower = 0, below = 0;
  for (const [upper, count] of rank ? all : []) {
    if (count >= rank) return upper === Infinity ? [lower, false] :
      [lower + (upper - lower) * (rank - below) / (count - below), true];
    [lower, below] = [upper, count];
  }
  return null;
}

export function quantile(share, buckets) {
  const found = estimate(share, buckets);
  return found ? `${found[1] ? "≈" : ">"} ${time(found[0])}` : "–";
}

const REQUESTS = "akidb_requests_total", SECONDS = "akidb_request_seconds_bucket";

/** What the page shows of Prometheus's text. Loading and unloading are no requests of clients. */
export function parse(text) {
  const found = {time: performance.now() / 1000, requests: 0, failed: 0, tokens: 0, age: 0, memory: 0, buckets: new Map()};
  for (const line of text.split("\n")) {
    const [, name, labels = "", number] = line.match(/^(\w+)(?:\{(.*)\})? (\S+)/) || [];
    const label = (wanted) => (labels.match(new RegExp(`(?:^|,)${wanted}="([^"]*)"`)) || [])[1];
    const value = Number(number);
    if (name === "akidb_queue_tokens") found.tokens += value;
    else if (name === "akidb_queue_age_seconds") found.age = Math.max(found.age, value);
    else if (name === "akidb_memory_bytes") found.memory = value;
    else if (label("protocol") === "admin") continue;
    else if (name === REQUESTS) {
      found.requests += value;
      if (!["ok", "cancelled"].includes(label("outcome"))) found.failed += value;
    } else if (name === SECONDS) {
      const limit = label("le") === "+Inf" ? Infinity : Number(label("le"));
      found.buckets.set(limit, (found.buckets.get(limit) || 0) + value);
    }
  }
  return found;
}

/** What has been counted between two samples. */
export function between(before, after) {
  return {
    requests: after.requests - before.requests, failed: after.failed - before.failed, seconds: after.time - before.time,
    buckets: new Map([...after.buckets].map(([limit, count]) => [limit, count - (before.buckets.get(limit) || 0)])),
  };
}
