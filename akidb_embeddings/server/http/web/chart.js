// A small chart of the last minutes: bars and lines, on an axis at each side. The figures are in a table besides.

const SPACE = "http://www.w3.org/2000/svg";
const HEIGHT = 150, MARGIN = {top: 12, right: 46, bottom: 22, left: 56};

/**
 * Draw.
 * @param svg The element, as wide as it is on the screen.
 * @param chart.seconds How much time is shown, up to `now`.
 * @param chart.axes By name, "left" and "right": `least` that its end shows, and `format` of its values.
 * @param chart.series For each: its `axis`, `kind` ("bars" or "line"), the class `name`, and `points`: [begin, end, value]
 *     each; without a value, the line has a gap.
 */
export function draw(svg, {seconds, now, axes, series}) {
  const width = svg.clientWidth || 320;
  svg.setAttribute("viewBox", `0 0 ${width} ${HEIGHT}`);
  const inner = {width: width - MARGIN.left - MARGIN.right, height: HEIGHT - MARGIN.top - MARGIN.bottom};
  const x = (moment) => MARGIN.left + inner.width * Math.max(0, 1 - (now - moment) / seconds);
  const tops = Object.fromEntries(Object.entries(axes).map(([name, {least}]) => [name, top(Math.max(least,
    ...series.filter((one) => one.axis === name).flatMap((one) => one.points.map(([, , value]) => value ?? 0))))]));
  const y = (axis, value) => MARGIN.top + inner.height * (1 - value / tops[axis]);
  svg.replaceChildren(...frame(axes, tops, inner, width, seconds), ...series.flatMap((one) => one.kind === "bars"
    ? bars(one, x, (value) => y(one.axis, value)) : line(one, x, (value) => y(one.axis, value))));
}

/** The end of an axis: 1, 2 or 5 times a power of ten. */
export function top(most) {
  const power = 10 ** Math.floor(Math.log10(most));
  return [1, 2, 5, 10].map((step) => step * power).find((end) => end >= most * (1 - 1e-9));
}

function frame(axes, tops, {width, height}, whole, seconds) {
  const parts = [];
  for (const share of [0, .5, 1]) {
    const y = MARGIN.top + height * (1 - share);
    parts.push(shape("line", {x1: MARGIN.left, x2: MARGIN.left + width, y1: y, y2: y, class: share ? "grid" : "base"}));
    parts.push(label(axes.left.format(share * tops.left), MARGIN.left - 8, y + 4, "end"));
    parts.push(label(axes.right.format(share * tops.right), MARGIN.left + width + 8, y + 4, "start"));
  }
  for (let before = 60; before < seconds; before += 60) {
    const x = MARGIN.left + width * (1 - before / seconds);
    parts.push(shape("line", {x1: x, x2: x, y1: MARGIN.top + height, y2: MARGIN.top + height + 4, class: "base"}));
  }
  parts.push(label(`${seconds / 60} min ago`, MARGIN.left, HEIGHT - 4, "start"));
  parts.push(label("now", whole - MARGIN.right, HEIGHT - 4, "end"));
  return parts;
}

function bars({points, name}, x, y) {
  return points.filter(([, , value]) => value).map(([begin, end, value]) => shape("rect", {
    x: x(begin), width: Math.max(x(end) - x(begin) - .5, .5), y: y(value), height: y(0) - y(value), class: name}));
}

function line({points, name}, x, y) {
  const parts = [[]];
  for (const [, end, value] of points) {
    if (value === null) parts.push([]);
    else parts.at(-1).push(`${x(end).toFixed(1)},${y(value).toFixed(1)}`);
  }
  return parts.filter((part) => part.length).map((part) => part.length > 1
    ? shape("polyline", {points: part.join(" "), class: name})
    : shape("circle", {cx: part[0].split(",")[0], cy: part[0].split(",")[1], r: 2, class: name}));
}

function shape(tag, attributes) {
  const node = document.createElementNS(SPACE, tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  return node;
}

function label(text, x, y, anchor) {
  const node = shape("text", {x, y, "text-anchor": anchor});
  node.textContent = text;
  return node;
}
