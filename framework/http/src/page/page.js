// The live page. It follows two streams of the server: summaries, and the tail of the program's
// predictions. What comes from outside is set as text only.

import { draw } from "./topology.js";

const ROWS = 12;             // predictions shown
const COLUMNS = 7;           // fields of a prediction shown
const INPUTS = 99;           // records read back to show what was predicted
const LONG = 28;             // characters from which a text may take two lines
const TASKS = 200;           // tasks shown
const RATE_SAMPLES = 180;    // as the server keeps them
const QUALITY_POINTS = 240;  // as the server keeps them
const PAINT_MS = 400;        // how often the predictions are redrawn at most

const $ = (id) => document.getElementById(id);
const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const short = new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 });
const count = (n) => (n == null ? "–" : n < 100000 ? whole.format(n) : short.format(n));
const grade = (n) => (n == null ? "–" : n.toFixed(Math.abs(n) < 10 ? 3 : 1));
const rate = (n) => (n > 0 && n < 10 ? n.toFixed(1) : count(n));

function make(tag, className, text) {
  const element = document.createElement(tag);
  if (className) element.className = className;
  if (text != null) element.textContent = text;
  return element;
}

// Light or dark: the visitor's choice, or else the system's.
const dark = matchMedia("(prefers-color-scheme: dark)");
let chosen = null;
try { chosen = localStorage.getItem("theme"); } catch { /* storage may be forbidden */ }
function paintTheme() {
  const isDark = chosen ? chosen === "dark" : dark.matches;
  document.documentElement.classList.toggle("dark", isDark);
  $("theme").textContent = isDark ? "Light" : "Dark";
}
dark.addEventListener("change", paintTheme);
$("theme").addEventListener("click", () => {
  chosen = document.documentElement.classList.contains("dark") ? "light" : "dark";
  try { localStorage.setItem("theme", chosen); } catch { /* then it lasts for this visit */ }
  paintTheme();
});
paintTheme();

// A line over its area, stretched to its container. The values' range is what it shows.
function plot(container, values, from, to) {
  const NS = "http://www.w3.org/2000/svg";
  let svg = container.firstElementChild;
  if (!svg) {
    svg = document.createElementNS(NS, "svg");
    svg.setAttribute("viewBox", "0 0 100 100");
    svg.setAttribute("preserveAspectRatio", "none");
    svg.setAttribute("aria-hidden", "true");
    for (const name of ["area", "plot"]) {
      const path = document.createElementNS(NS, "path");
      path.setAttribute("class", name);
      path.setAttribute("vector-effect", "non-scaling-stroke");
      svg.append(path);
    }
    container.append(svg);
  }
  const span = to - from || 1;
  const step = values.length > 1 ? 100 / (values.length - 1) : 0;
  const points = values.map((value, number) => {
    const y = 98 - (96 * (value - from)) / span;
    return `${(number * step).toFixed(2)} ${y.toFixed(2)}`;
  });
  if (points.length === 1) points.push(points[0].replace(/^\S+/, "100"));
  const line = points.length ? "M" + points.join("L") : "";
  svg.children[0].setAttribute("d", line && `${line}L100 100L0 100Z`);
  svg.children[1].setAttribute("d", line);
}

// Rates and lag.
const series = { in: [], out: [], lag: [] };
function follow(name, value) {
  const values = series[name];
  values.push(value ?? 0);
  if (values.length > RATE_SAMPLES) values.shift();
  plot($(`${name}-chart`), values, 0, Math.max(1, ...values));
}

// Grades over the whole run, ever further apart, thinned as the server thins them.
let points = [];
let stride = 1;
function keepGrades(sample, grades) {
  const newest = points[points.length - 1];
  if (sample % stride || newest?.sample === sample) return;
  points.push({ sample, grades });
  if (points.length > QUALITY_POINTS) {
    stride *= 2;
    points = points.filter((point) => point.sample % stride === 0);
  }
}

const NAMES = { log_loss: "Log-loss", auc: "AUC", mae: "MAE", rmse: "RMSE", f1: "F1" };
const title = (name) => {
  const plain = name.replaceAll("_", " ");
  return NAMES[name] || plain.charAt(0).toUpperCase() + plain.slice(1);
};

let shownModels = "";
const gradeParts = new Map();
const modelParts = new Map();

function buildModels(models) {
  gradeParts.clear();
  modelParts.clear();
  const cards = models.map((model) => {
    const card = make("article", "card model");
    const head = make("div", "model-head");
    const about = make("span", "muted");
    const counts = make("span", "muted counts");
    head.append(make("h3", "", model.name), about, counts);
    const grades = make("div", "grades");
    for (const { metric, window } of model.quality) {
      const part = make("div", "grade");
      const line = make("div", "grade-head");
      const value = make("b");
      const [low, high] = [make("span"), make("span")];
      const chart = make("div", "chart");
      const ends = make("div", "ends");
      line.append(make("span", "", title(metric)), make("span", "muted", window), value);
      ends.append(low, high);
      part.append(line, chart, ends);
      grades.append(part);
      gradeParts.set(`${model.name}/${metric}/${window}`, { value, chart, low, high });
    }
    modelParts.set(model.name, { about, counts });
    card.append(head, grades);
    return card;
  });
  $("models").replaceChildren(...cards);
}

function showModels(models) {
  const signature = JSON.stringify(
    models.map((model) => [model.name, model.quality.map((q) => [q.metric, q.window])]));
  if (signature !== shownModels) {
    shownModels = signature;
    buildModels(models);
  }
  $("models-section").hidden = models.length === 0;
  for (const model of models) {
    const { about, counts } = modelParts.get(model.name);
    about.textContent = `${model.kind} · version ${model.version}`;
    const made = `${count(model.predictions)} predictions`;
    counts.textContent = `${made} · ${count(model.learned)} learned`;
    for (const { metric, window, value } of model.quality) {
      const key = `${model.name}/${metric}/${window}`;
      const part = gradeParts.get(key);
      const values = points.map((point) => point.grades[key]).filter((v) => v != null);
      part.value.textContent = grade(value);
      if (!values.length) continue;
      const [low, high] = [Math.min(...values), Math.max(...values)];
      const margin = Math.max((high - low) * 0.1, 0.002);
      plot(part.chart, values, low - margin, high + margin);
      part.low.textContent = `low ${grade(low)}`;
      part.high.textContent = `high ${grade(high)}`;
    }
  }
}

const MOODS = {
  RUNNING: "good", CREATED: "wait", REBALANCING: "wait", RESTORING: "wait", SUSPENDED: "wait",
  PENDING_SHUTDOWN: "wait", PENDING_ERROR: "bad", ERROR: "bad", NOT_RUNNING: "bad",
};
const pill = (state) => make("span", `pill ${MOODS[state] || ""}`, state.replaceAll("_", " "));

function restoreCell(task) {
  const cell = make("td");
  if (!task.restore.length) {
    cell.append(make("span", "muted", "up to date"));
    return cell;
  }
  for (const progress of task.restore) {
    const { store, restored, total, bytes, why } = progress;
    const row = make("div", "restore");
    const bar = make("progress");
    bar.max = Math.max(1, total);
    bar.value = restored;
    bar.setAttribute("aria-label", `restore of ${store}`);
    const share = Math.floor((100 * restored) / Math.max(1, total));
    let figures = `${share} % of ${count(total)}, ${count(bytes)} B`;
    const [speed, left] = [progress.records_per_second, progress.seconds_left];
    if (speed != null) figures += `, ${count(speed)}/s`;
    if (left) figures += `, ${count(left)} s left`;
    if (why) row.title = `from the first record: ${why}`;
    row.append(make("span", "", store), make("span", "muted", figures), bar);
    cell.append(row);
  }
  return cell;
}

let shownTasks = "";
function showTasks(tasks) {
  const signature = JSON.stringify(tasks);
  if (signature === shownTasks) return;
  shownTasks = signature;
  const rows = tasks.slice(0, TASKS).map((task) => {
    const row = make("tr");
    const id = make("td", "short");
    id.append(make("code", "", task.id));
    const state = make("td");
    state.append(pill(task.state));
    row.append(id, make("td", "", task.role), state, make("td", "number", count(task.lag)),
      restoreCell(task));
    return row;
  });
  const more = tasks.length - rows.length;
  if (more > 0 || !tasks.length) {
    const cell = make("td", "empty", more > 0 ? `and ${more} more` : "No task is assigned here.");
    cell.colSpan = 5;
    const row = make("tr");
    row.append(cell);
    rows.push(row);
  }
  $("tasks").replaceChildren(...rows);
}

function notice(text) {
  if ($("notice").textContent !== text) $("notice").textContent = text;
  $("notice").hidden = !text;
}

function showSummary(summary) {
  const { status, rates, records } = summary;
  $("application").textContent = status.application_id;
  $("version").textContent = status.version;
  document.title = `${status.application_id} · Millstream`;
  const state = $("state");
  const words = status.state.replaceAll("_", " ");
  if (state.textContent !== words) state.textContent = words;
  state.className = `pill ${MOODS[status.state] || ""}`;
  notice(summary.ready ? "" : `Not ready: ${(summary.reasons || []).join("; ")}`);
  $("in-rate").textContent = rate(rates.in);
  $("out-rate").textContent = rate(rates.out);
  $("in-total").textContent = count(records.in);
  $("out-total").textContent = count(records.out);
  $("lag").textContent = count(summary.lag);
  $("dropped").textContent = count(records.dropped);
  for (const name of ["in", "out"]) follow(name, rates[name]);
  follow("lag", summary.lag);
  const grades = {};
  for (const model of summary.models) {
    for (const { metric, window, value } of model.quality) {
      if (value != null) grades[`${model.name}/${metric}/${window}`] = value;
    }
  }
  keepGrades(summary.sample, grades);
  showModels(summary.models);
  showTasks(status.tasks);
  followPredictions(status.predictions_topic);
}

function followSummaries() {
  const live = new EventSource("api/v1/live");
  live.addEventListener("history", (event) => {
    const history = JSON.parse(event.data);
    // The newest sample comes again as the first summary.
    series.in = history.rates.slice(0, -1).map((sample) => sample.in);
    series.out = history.rates.slice(0, -1).map((sample) => sample.out);
    series.lag = history.rates.slice(0, -1).map((sample) => sample.lag ?? 0);
    points = [];
    stride = 1;
    for (const { sample, grades } of history.quality) keepGrades(sample, grades);
    if (points.length > 1) stride = Math.max(stride, points[1].sample - points[0].sample);
    showTopology();
  });
  live.addEventListener("summary", (event) => showSummary(JSON.parse(event.data)));
  live.onerror = () => {
    $("state").textContent = "connection lost";
    $("state").className = "pill bad";
    notice("The program does not answer. Trying again.");
    // A stream that was refused, as when too many are open, is not tried again by the browser.
    if (live.readyState === EventSource.CLOSED) setTimeout(followSummaries, 5000);
  };
}

// Predictions: a table whose columns are the fields of the newest record.
let tail = null;
let latest = [];
let columns = "";
let painting = false;
let paused = false;

function followPredictions(topic) {
  if (!topic || tail) return;
  $("predictions-section").hidden = false;
  $("predictions-topic").textContent = topic;
  tail = new EventSource(`topics/${encodeURIComponent(topic)}/tail?last=${ROWS}&most=${ROWS}`);
  tail.addEventListener("record", (event) => {
    if (paused) return;
    const record = flat(JSON.parse(event.data));
    const place = placeOf({ topic, ...record });
    if (latest.some((one) => placeOf({ topic, ...one }) === place)) return;
    latest.unshift(record);
    latest.length = Math.min(latest.length, ROWS);
    if (painting) return;
    painting = true;
    setTimeout(paintPredictions, PAINT_MS);
  });
  tail.onerror = () => {
    if (tail.readyState === EventSource.CLOSED) tail = null;
  };
}

$("pause").addEventListener("click", () => {
  paused = !paused;
  $("pause").setAttribute("aria-pressed", String(paused));
  $("pause").textContent = paused ? "Go on" : "Pause";
});

const isRow = (value) => value !== null && typeof value === "object" && !Array.isArray(value);

// What a model said is the prediction; beside it stands which record it was said of. The fields of
// the first become columns, and the second is where the text is looked up.
function flat(record) {
  const { prediction, topic, partition, offset, index } = isRow(record.value) ? record.value : {};
  if (!isRow(prediction)) return record;
  const of = typeof topic === "string" ? { topic, partition, offset, index } : null;
  return { ...record, of, value: { input: "", ...prediction } };
}

// Records of the program's inputs by their place, for as long as predictions of them are shown.
let inputs = new Map();
const placeOf = ({ topic, partition, offset, index = 0 }) =>
  `${topic}/${partition}/${offset}/${index}`;

// Newest predictions mostly are of neighbours, so one page of each partition has nearly all. Of
// records that share their offset each page may have no more than those.
async function lookUpInputs() {
  const missing = new Map();
  for (const { of } of latest) {
    if (!of || inputs.has(placeOf(of))) continue;
    const key = `${of.topic}/${of.partition}`;
    if (!missing.has(key)) missing.set(key, []);
    missing.get(key).push(of);
  }
  for (const places of missing.values()) {
    const { topic, partition } = places[0];
    const newest = Math.max(...places.map((place) => place.offset));
    let rest = places.filter((place) => place.offset >= newest - INPUTS);
    while (rest.length > 0) {
      const first = Math.max(0, Math.min(...rest.map((place) => place.offset)));
      const query = `partition=${partition}&offset=${first}&limit=${newest - first + 1}`;
      const answer = await fetch(`topics/${encodeURIComponent(topic)}/records?${query}`);
      if (!answer.ok) break;
      const { records, next } = await answer.json();
      if (!(next > first)) break;
      // What the page has passed is on it, or is gone and need not be looked for again.
      for (const place of rest.filter((place) => place.offset < next)) {
        inputs.set(placeOf(place), "");
      }
      for (const record of records) {
        inputs.set(placeOf({ topic, ...record }), inputText(record.value));
      }
      rest = rest.filter((place) => place.offset >= next);
    }
  }
  const shown = new Set(latest.filter((record) => record.of).map((record) => placeOf(record.of)));
  inputs = new Map([...inputs].filter(([place]) => shown.has(place)));
}

// The longest text of a record, or all of it.
function inputText(value) {
  if (!isRow(value)) return typeof value === "string" ? value : JSON.stringify(value);
  const texts = Object.values(value).filter((field) => typeof field === "string");
  return texts.sort((a, b) => b.length - a.length)[0] || JSON.stringify(value);
}
const isShare = (name, value) =>
  typeof value === "number" && value >= 0 && value <= 1 && /prob|score|confid|share|output/i.test(name);

function fieldCell(name, value) {
  if (value === undefined || value === null) return make("td", "muted", "–");
  if (isShare(name, value)) {
    const cell = make("td", "number");
    const share = make("span", "share");
    const bar = make("progress");
    bar.value = value;
    bar.setAttribute("aria-hidden", "true");
    share.append(bar, make("span", "", value.toFixed(3)));
    cell.append(share);
    return cell;
  }
  if (typeof value === "number") {
    return make("td", "number", Number.isInteger(value) ? String(value) : grade(value));
  }
  if (typeof value === "boolean") {
    const cell = make("td", "short");
    cell.append(make("span", `pill ${value ? "good" : "bad"}`, value ? "✓ yes" : "✗ no"));
    return cell;
  }
  const text = typeof value === "string" ? value : JSON.stringify(value);
  const cell = make("td", text.length > LONG ? "text" : "short");
  const inner = make("div", text.length > LONG ? "clamp" : "", text.slice(0, 600));
  inner.title = text.slice(0, 2000);
  cell.append(inner);
  return cell;
}

// The field with the longest texts first, for it is what people look for; the rest as they come.
function columnsOf(value) {
  const names = Object.keys(value);
  const length = (name) => Math.max(...latest.map((record) => {
    const field = isRow(record.value) ? record.value[name] : null;
    return typeof field === "string" ? field.length : 0;
  }));
  const lengths = new Map(names.map((name) => [name, length(name)]));
  const longest = Math.max(0, ...lengths.values());
  const first = longest > LONG ? names.filter((name) => lengths.get(name) === longest) : [];
  return [...first, ...names.filter((name) => !first.includes(name))].slice(0, COLUMNS);
}

async function paintPredictions() {
  try {
    await lookUpInputs();
  } catch { /* without their inputs the predictions are shown all the same */ }
  for (const record of latest) {
    if (record.of) record.value.input = inputs.get(placeOf(record.of)) || "–";
  }
  painting = false;
  const newest = latest.find((record) => isRow(record.value));
  const fields = newest ? columnsOf(newest.value) : ["value"];
  const signature = JSON.stringify(fields);
  if (signature !== columns) {
    columns = signature;
    const heads = ["time", "key", ...fields].map((name) => {
      const value = newest && newest.value[name];
      return make("th", typeof value === "number" ? "number" : "", title(name));
    });
    $("predictions-head").replaceChildren(...heads);
  }
  const rows = latest.map((record) => {
    const row = make("tr");
    const time = new Date(record.timestamp);
    const clock = Number.isNaN(time.getTime()) ? "–" : time.toISOString().slice(11, 19);
    const cell = make("td", "short muted", clock);
    cell.title = `partition ${record.partition}, offset ${record.offset}`;
    row.append(cell, fieldCell("key", record.key));
    for (const name of fields) {
      row.append(fieldCell(name, isRow(record.value) ? record.value[name] : record.value));
    }
    return row;
  });
  $("predictions").replaceChildren(...rows);
}

// The topology stays the same while a program runs; it is drawn anew when the width changes.
let topology = null;
async function showTopology() {
  try {
    const answer = await fetch("topology?format=json");
    topology = await answer.json();
    draw($("topology"), topology);
  } catch {
    $("topology").replaceChildren(make("p", "muted", "The topology cannot be shown."));
  }
}
let resizing = 0;
addEventListener("resize", () => {
  clearTimeout(resizing);
  resizing = setTimeout(() => topology && draw($("topology"), topology), 150);
});

followSummaries();
