// The picture of a topology: one drawing for each subtopology, in layers from left to right.
// Sources and sinks are shown as their topics, outside the box of the work between them.

const NS = "http://www.w3.org/2000/svg";
const GAP = { column: 56, row: 18, store: 6 };
const NODE = { height: 42, store: 24, pad: 14, min: 92, max: 320, letter: 8.4 };
const SWEEPS = 6;

function make(tag, attributes = {}, ...children) {
  const element = document.createElementNS(NS, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

// A line of text no wider than it may be; the whole is in the tooltip.
function label(text, x, y, className, width) {
  const most = Math.floor(width / NODE.letter);
  const shown = text.length > most ? text.slice(0, most - 1) + "…" : text;
  const element = make("text", { x, y, class: className, "text-anchor": "middle" });
  element.textContent = shown;
  return element;
}

function tooltip(text) {
  const title = make("title");
  title.textContent = text;
  return title;
}

// Nodes with their layer: the longest way from a source. Sinks stand together in the last layer.
function prepare(sub) {
  const items = new Map();
  for (const node of sub.nodes) {
    const text = node.kind === "operator" ? node.name : node.topic || node.name;
    const stores = node.kind === "operator" ? node.stores || [] : [];
    const longest = Math.max(text.length, ...stores.map((name) => name.length + 2));
    const width = Math.min(NODE.max, Math.max(NODE.min, longest * NODE.letter + 2 * NODE.pad));
    items.set(node.name, { node, text, stores: [], width, layer: 0, above: [], below: [] });
  }
  for (const { node } of items.values()) {
    for (const name of node.successors || []) {
      if (items.has(name)) items.get(name).above.push(items.get(node.name));
    }
  }
  const placed = new Set();
  for (const item of items.values()) {
    for (const store of item.node.stores || []) {
      if (!placed.has(store)) item.stores.push(store);
      placed.add(store);
    }
  }
  const seen = new Map();
  const depth = (item) => {
    if (seen.has(item)) return seen.get(item);
    seen.set(item, 0);
    const layers = item.above.map((parent) => depth(parent) + 1);
    seen.set(item, Math.max(0, ...layers));
    return seen.get(item);
  };
  const all = [...items.values()];
  for (const item of all) item.layer = depth(item);
  const inner = Math.max(0, ...all.filter((i) => i.node.kind !== "sink").map((i) => i.layer));
  for (const item of all) {
    if (item.node.kind === "sink") item.layer = inner + 1;
    if (item.node.kind === "operator" && item.layer === 0) item.layer = 1;
    item.height = NODE.height + item.stores.length * (NODE.store + GAP.store);
  }
  return all;
}

// Edges that pass a layer get a place in it, so that they do not run through nodes.
function route(all) {
  const layers = [];
  const put = (item) => (layers[item.layer] ||= []).push(item);
  all.forEach(put);
  const routes = [];
  for (const item of all) {
    for (const parent of item.above) {
      const way = [parent];
      for (let layer = parent.layer + 1; layer < item.layer; layer++) {
        const bend = { layer, width: 0, height: 12, above: [], below: [], stores: [] };
        put(bend);
        way.push(bend);
      }
      way.push(item);
      routes.push(way);
    }
    item.above = [];
  }
  for (const way of routes) {
    for (let at = 1; at < way.length; at++) {
      way[at].above.push(way[at - 1]);
      way[at - 1].below.push(way[at]);
    }
  }
  return { layers: Array.from(layers, (layer) => layer || []), routes };
}

const middle = (item) => item.y + (item.node ? NODE.height : item.height) / 2;
const mean = (values) => values.reduce((sum, value) => sum + value, 0) / values.length;

// Sorts each layer by where its neighbours are, and moves nodes towards them without overlap.
function arrange(layers) {
  for (const layer of layers) {
    let y = 0;
    for (const item of layer) {
      item.y = y;
      y += item.height + GAP.row;
    }
  }
  for (let sweep = 0; sweep < SWEEPS; sweep++) {
    const forward = sweep % 2 === 0;
    for (const layer of forward ? layers : [...layers].reverse()) {
      for (const item of layer) {
        const near = forward ? item.above : item.below;
        const half = (item.node ? NODE.height : item.height) / 2;
        item.wish = near.length ? mean(near.map(middle)) - half : item.y;
      }
      layer.sort((a, b) => a.wish - b.wish);
      let floor = -Infinity;
      for (const item of layer) {
        item.y = Math.max(item.wish, floor);
        floor = item.y + item.height + GAP.row;
      }
      const drift = layer.length ? mean(layer.map((item) => item.y - item.wish)) : 0;
      for (const item of layer) item.y -= drift;
    }
  }
}

function shape(item) {
  const group = make("g");
  const { x, y, width, node, text } = item;
  const isTopic = node.kind !== "operator";
  const rounding = isTopic ? NODE.height / 2 : 8;
  const size = { x, y, width, height: NODE.height, rx: rounding };
  const says = isTopic ? `${node.kind}: ${text}` : `${node.label || "operator"}: ${text}`;
  group.append(tooltip(says), make("rect", { ...size, class: isTopic ? "topic" : "node" }));
  const center = x + width / 2;
  const room = width - NODE.pad;
  group.append(label(text, center, y + 18, "label", room));
  group.append(label(isTopic ? "topic" : node.label || "operator", center, y + 33, "kind", room));
  item.stores.forEach((store, number) => {
    const top = y + NODE.height + GAP.store + number * (NODE.store + GAP.store);
    const body = make("g");
    const [left, right, bow] = [x + 8, x + width - 8, 4];
    const outline = `M${left} ${top + bow}a${(right - left) / 2} ${bow} 0 0 1 ${right - left} 0`
      + `v${NODE.store - 2 * bow}a${(right - left) / 2} ${bow} 0 0 1 ${left - right} 0z`;
    body.append(tooltip(`store: ${store}`), make("path", { d: outline, class: "store" }));
    body.append(label(store, center, top + 16, "store-label", room - 12));
    group.append(body);
    item.node.where ||= {};
    item.node.where[store] = { x: right, y: top + NODE.store / 2 };
  });
  return group;
}

function curve(way) {
  let from = { x: way[0].x + way[0].width, y: middle(way[0]) };
  let path = `M${from.x} ${from.y}`;
  for (const item of way.slice(1)) {
    const last = item === way[way.length - 1];
    const to = { x: last ? item.x - 6 : item.x, y: middle(item) };
    const bend = (from.x + to.x) / 2;
    path += `C${bend} ${from.y} ${bend} ${to.y} ${to.x} ${to.y}`;
    if (item.width === 0 && item.span) path += `H${(to.x += item.span)}`;
    from = to;
  }
  const tip = `M${from.x + 6} ${from.y}l-8 -4v8z`;
  return [make("path", { d: path, class: "edge" }), make("path", { d: tip, class: "tip" })];
}

function drawing(sub) {
  const all = prepare(sub);
  const { layers, routes } = route(all);
  arrange(layers);
  const everything = layers.flat();
  const top = Math.min(...everything.map((item) => item.y));
  let x = 12;
  for (const layer of layers) {
    const width = Math.max(0, ...layer.map((item) => item.width));
    for (const item of layer) {
      item.y += 40 - top;
      item.x = item.node ? x + (width - item.width) / 2 : x;
      if (!item.node) item.span = width;
    }
    if (width > 0) x += width + GAP.column;
  }
  const total = { width: x - GAP.column + 12 };
  total.height = Math.max(...everything.map((item) => item.y + item.height)) + 20;
  const svg = make("svg", { viewBox: `0 0 ${total.width} ${total.height}`, role: "img" });
  svg.setAttribute("aria-label", `Subtopology ${sub.id}: ${all.map((i) => i.text).join(", ")}`);

  const inside = all.filter((item) => item.node.kind === "operator");
  if (inside.length) {
    const left = Math.min(...inside.map((item) => item.x)) - 18;
    const right = Math.max(...inside.map((item) => item.x + item.width)) + 18;
    const box = { x: left, y: 8, width: right - left, height: total.height - 14, rx: 12 };
    const title = make("text", { x: left + 12, y: 26, class: "sub-title" });
    title.textContent = `Subtopology ${sub.id}`;
    svg.append(make("rect", { ...box, class: "sub" }), title);
  }
  const shapes = all.map(shape);
  for (const way of routes) svg.append(...curve(way));
  // A store that a second node shares hangs under the first; a dashed line tells of the other.
  for (const item of inside) {
    for (const store of item.node.stores || []) {
      if (item.stores.includes(store)) continue;
      const at = inside.map((other) => other.node.where?.[store]).find(Boolean);
      if (!at) continue;
      const from = { x: item.x, y: item.y + NODE.height - 8 };
      const bend = at.x + 28;
      const d = `M${from.x} ${from.y}C${bend} ${from.y} ${bend} ${at.y} ${at.x} ${at.y}`;
      svg.append(make("path", { d, class: "edge state" }));
    }
  }
  svg.append(...shapes);
  return { svg, ...total };
}

// Draws a topology; a wide one shrinks to fit as long as it stays legible, and then scrolls.
export function draw(container, topology) {
  const drawings = topology.subtopologies.filter((sub) => sub.nodes.length).map(drawing);
  const widest = Math.max(1, ...drawings.map((each) => each.width));
  const room = container.clientWidth - 34;
  const scale = Math.min(1, Math.max(0.72, room / widest));
  for (const { svg, width, height } of drawings) {
    svg.setAttribute("width", Math.round(width * scale));
    svg.setAttribute("height", Math.round(height * scale));
  }
  container.replaceChildren(...drawings.map((each) => each.svg));
}
