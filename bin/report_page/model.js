// The data, and what thresholds make of it. Nothing here touches the page but for reading it.

const data = JSON.parse(document.getElementById("data").textContent);
const pictures = JSON.parse(document.getElementById("thumbs").textContent);
const count = data.count;
const rows = data.rows;

function floats({ bits, data }) {
  const text = atob(data);
  const bytes = new Uint8Array(text.length);
  for (let at = 0; at < text.length; at++) bytes[at] = text.charCodeAt(at);
  const view = new DataView(bytes.buffer);
  const size = bits / 8;
  const values = bits === 32 ? new Float32Array(count) : new Float64Array(count);
  for (let row = 0; row < count; row++) {
    values[row] = bits === 32 ? view.getFloat32(row * size, true) : view.getFloat64(row * size, true);
  }
  return values;
}

// Words are numbered from 1; 0 is none.
function word(column, row) {
  const at = column.at[row];
  return at === 0 ? "" : column.words[at - 1];
}

const status = (row) => word(rows.status, row);
// Failed clips, and those whose verdict stays whatever the thresholds are.
const isFixed = new Uint8Array(count);
for (const row of rows.unjudged) isFixed[row] = 1;
const wasKept = new Uint8Array(count);
for (let row = 0; row < count; row++) wasKept[row] = status(row) === "kept" ? 1 : 0;

const scores = data.scores.map((score, index) => {
  const values = floats(score.values);
  const nan = new Set(score.values.nan);
  const limits = score.limits.map((limit) => ({ ...limit, now: limit.value }));
  limits.sort((a, b) => (a.side === "at_least" ? 0 : 1) - (b.side === "at_least" ? 0 : 1));
  return { ...score, index, values, nan, limits, view: view(values, limits) };
});

function step125(rough) {
  const power = 10 ** Math.floor(Math.log10(rough));
  const part = rough / power;
  return (part <= 1 ? 1 : part <= 2 ? 2 : part <= 5 ? 5 : 10) * power;
}

// The range that is drawn: nearly all values and every threshold, in steps of round numbers. What lies
// beyond is counted in the last bar.
function view(values, limits) {
  const finite = Float64Array.from(values.filter((value) => Number.isFinite(value))).sort();
  const at = limits.map((limit) => limit.value).filter((value) => value !== null);
  let low = finite.length ? finite[0] : 0;
  let high = finite.length ? finite[Math.ceil((finite.length - 1) * 0.98)] : 1;
  // A few values far beyond the others would squeeze these into one bar; a small rest is just shown.
  const last = finite.length ? finite[finite.length - 1] : 1;
  if (last - low < 1.5 * (high - low)) high = last;
  low = Math.min(low, ...at);
  high = Math.max(high, ...at);
  if (low > 0 && low < 0.25 * high) low = 0;
  if (!(high > low)) high = low + (Math.abs(low) > 0 ? Math.abs(low) * 0.1 : 1);
  const step = step125((high - low) / 400);
  low = Math.floor(low / step + 1e-9) * step;
  high = Math.ceil(high / step - 1e-9) * step;
  const steps = Math.round((high - low) / step);
  const digits = Math.max(0, -Math.floor(Math.log10(step) + 1e-9));
  return { low, high, step, steps, digits, measured: finite.length, beyond: last > high };
}

function passes(score, limit, row) {
  if (limit.now === null) return true;
  const value = score.values[row];
  if (Number.isNaN(value)) return !score.nan.has(row);
  return limit.side === "at_least" ? value >= limit.now : value <= limit.now;
}

// How many thresholds each clip fails, where they stand now.
const fails = new Uint16Array(count);

function judge() {
  fails.fill(0);
  for (const score of scores) {
    for (const limit of score.limits) {
      if (limit.now === null) continue;
      for (let row = 0; row < count; row++) {
        if (!passes(score, limit, row)) fails[row]++;
      }
    }
  }
  const sum = { kept: 0, before: 0, added: 0, gone: 0, lacking: 0 };
  for (let row = 0; row < count; row++) {
    sum.before += wasKept[row];
    if (isFixed[row] || fails[row] > 0) {
      sum.gone += wasKept[row];
      continue;
    }
    sum.kept++;
    if (!wasKept[row]) {
      sum.added++;
      if (rows.lacks.at[row] !== 0) sum.lacking++;
    }
  }
  return sum;
}

const isKept = (row) => !isFixed[row] && fails[row] === 0;

// Whether thresholds stand elsewhere than in the table.
function moved() {
  return scores.flatMap((score) => score.limits.filter((limit) => limit.now !== limit.value));
}

// A word for a shell, which may hold anything.
function shell(text) {
  return /^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`;
}

function command() {
  const limits = moved();
  if (limits.length === 0) return "";
  const sets = limits.map((limit) => ` --set ${limit.key}=${limit.now === null ? "none" : limit.now}`);
  return `curate refilter ${shell(data.table)}${sets.join("")}`;
}

// Numbers for people.
const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0, useGrouping: true });
const number = (value) => whole.format(value).replaceAll(",", "\u202f");
const clips = (value) => `${data.every > 1 ? "\u2248" : ""}${number(value * data.every)}`;
const percent = (part, all) => (all > 0 ? `${((100 * part) / all).toFixed(part === all ? 0 : 1)} %` : "");

function short(value) {
  if (!Number.isFinite(value)) return String(value);
  const size = Math.abs(value);
  if (size >= 1e6) return value.toExponential(2);
  if (size >= 100) return number(value);
  return String(Number(value.toPrecision(3)));
}

// A clip's place in its source; minutes and hours where the end has them.
function span(row) {
  const [start, end] = [rows.starts[row], rows.ends[row]];
  const place = (ms) => {
    const rest = ((ms % 60000) / 1000).toFixed(1);
    const minutes = Math.floor(ms / 60000);
    const hours = Math.floor(minutes / 60);
    if (end < 60000) return rest;
    if (end < 3600000) return `${minutes}:${rest.padStart(4, "0")}`;
    return `${hours}:${String(minutes % 60).padStart(2, "0")}:${rest.padStart(4, "0")}`;
  };
  return `${place(start)}\u2013${place(end)}${end < 60000 ? " s" : ""}`;
}

// An element; children are elements or text, never markup.
function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "class") element.className = value;
    else if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value !== null) element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child !== null));
  return element;
}

const byId = (id) => document.getElementById(id);

function picture(row, alt) {
  const jpeg = pictures[row];
  if (jpeg === undefined) return make("span", { class: "blank", "aria-hidden": "true" });
  return make("img", { src: `data:image/jpeg;base64,${jpeg}`, alt, loading: "lazy", decoding: "async" });
}

const mark = { kept: "\u25cf", dropped: "\u2715", failed: "!" };
const fileName = (row) => {
  const uri = word(rows.source, row);
  return uri.slice(uri.lastIndexOf("/") + 1) || uri;
};
