// A card for each score: histogram, sliders, and the clips nearest to the thresholds.

const BINS = 80;
const NEAREST = 6;
const SVG = "http://www.w3.org/2000/svg";

const cards = scores.map((score) => ({ score, parts: null }));
const isJudged = (score) => score.limits.some((limit) => limit.value !== null);
const nameOf = (limit) => (limit.side === "at_least" ? "Minimum" : "Maximum");

function bars(score) {
  const { low, high } = score.view;
  const kept = new Uint32Array(BINS);
  const all = new Uint32Array(BINS);
  for (let row = 0; row < count; row++) {
    const value = score.values[row];
    if (Number.isNaN(value) || isFixed[row]) continue;
    const bin = Math.floor(((value - low) / (high - low)) * BINS);
    const at = Math.max(0, Math.min(BINS - 1, bin));
    all[at]++;
    if (isKept(row)) kept[at]++;
  }
  return { kept, all };
}

// The height that stands for the top. One bar that towers over the rest is cut off and says so.
function top(all) {
  const sorted = Array.from(all).sort((a, b) => b - a);
  return sorted[0] > 3 * sorted[1] && sorted[1] > 0 ? sorted[1] * 1.25 : Math.max(1, sorted[0]);
}

function place(score, value) {
  const { low, high } = score.view;
  return `${Math.max(0, Math.min(100, (100 * (value - low)) / (high - low)))}%`;
}

function histogram(score) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", `0 0 ${BINS} 100`);
  svg.setAttribute("preserveAspectRatio", "none");
  svg.setAttribute("aria-hidden", "true");
  const { all } = bars(score);
  const most = top(all);
  const rects = [];
  let tower = null;
  for (let bin = 0; bin < BINS; bin++) {
    const pair = ["dropped", "kept"].map((kind) => {
      const rect = document.createElementNS(SVG, "rect");
      rect.setAttribute("class", kind);
      rect.setAttribute("x", bin + 0.06);
      rect.setAttribute("width", 0.88);
      svg.append(rect);
      return rect;
    });
    rects.push(pair);
    if (all[bin] > most) tower = bin;
  }
  const plot = make("div", { class: "plot", role: "img" }, svg);
  if (tower !== null) {
    const label = make("span", { class: "tower" }, `\u2191 ${clips(all[tower])}`);
    if (tower > BINS / 2) label.style.right = `${100 - (100 * tower) / BINS}%`;
    else label.style.left = `${(100 * (tower + 1)) / BINS}%`;
    plot.append(label);
  }
  return { plot, rects, most };
}

function card(entry) {
  const { score } = entry;
  const { low, high, digits, beyond, measured } = score.view;
  const { plot, rects, most } = histogram(score);
  const lines = score.limits.map((limit) => {
    const line = make("span", { class: "line" });
    const was = make("span", { class: "was" });
    if (limit.value === null) was.hidden = true;
    else was.style.left = place(score, limit.value);
    plot.append(was, line);
    return line;
  });
  const axis = make("div", { class: "axis", "aria-hidden": "true" },
    make("span", {}, low.toFixed(digits)),
    make("span", {}, score.unit),
    make("span", {}, high.toFixed(digits) + (beyond ? " and more" : "")));
  // Without a key it is not a setting that refilter moves.
  const sliders = score.limits.filter((limit) => limit.key !== null).map((limit) => slider(score, limit));
  const effect = make("p", { class: "effect" });
  const near = make("div", { class: "near" });
  const id = `score-${score.index}`;
  const element = make("article", { class: "card", "aria-labelledby": id },
    make("div", { class: "head" },
      make("h3", { id }, score.what, make("span", { class: "stage" }, score.stage)),
      make("p", { class: "about" }, score.about)),
    make("div", { class: "chart" }, plot, axis, ...sliders.map((slider) => slider.element), effect),
    near);
  entry.parts = { plot, rects, most, lines, sliders, effect, near, measured };
  return element;
}

function slider(score, limit) {
  const { low, step, steps, digits } = score.view;
  const label = `${nameOf(limit)} of ${score.what}`;
  const range = make("input", { type: "range", min: 0, max: steps, step: 1, "aria-label": label });
  const exact = make("input", { type: "number", step: "any", "aria-label": `${label}, exact` });
  const set = (value) => {
    limit.now = value;
    changed();
  };
  range.addEventListener("input", () => set(Number((low + Number(range.value) * step).toFixed(digits))));
  exact.addEventListener("change", () => {
    const value = exact.valueAsNumber;
    if (Number.isFinite(value)) set(value);
    else if (limit.is_optional) set(null);
    else changed();
  });
  const back = make("button", { type: "button", class: "small", "aria-label": `Undo: ${label}`, onclick: () => set(limit.value) }, "Undo");
  const off = make("button", { type: "button", class: "small", "aria-label": `None: no ${label.toLowerCase()}`, onclick: () => set(null) }, "None");
  off.hidden = !limit.is_optional;
  const element = make("div", { class: "slider" },
    range, make("span", { class: "side", "aria-hidden": "true" }, nameOf(limit)), exact, off, back);
  const show = () => {
    const rest = limit.side === "at_least" ? 0 : steps;
    range.value = limit.now === null ? rest : Math.round((limit.now - low) / step);
    range.setAttribute("aria-valuetext", limit.now === null ? "none" : `${limit.now} ${score.unit}`.trim());
    if (document.activeElement !== exact || Number(exact.value) !== limit.now) {
      exact.value = limit.now === null ? "" : limit.now;
    }
    exact.placeholder = "none";
    off.disabled = limit.now === null;
    back.disabled = limit.now === limit.value;
    element.classList.toggle("moved", limit.now !== limit.value);
  };
  return { element, show };
}

function drawCard({ score, parts }) {
  const { kept, all } = bars(score);
  parts.rects.forEach(([dropped, keep], bin) => {
    const height = (value) => (value === 0 ? 0 : Math.max(1, Math.min(100, (100 * value) / parts.most)));
    const full = height(all[bin]);
    // A tower that is cut off still shows which part of it is kept.
    const part = all[bin] > parts.most ? (full * kept[bin]) / all[bin] : Math.min(full, height(kept[bin]));
    dropped.setAttribute("y", 100 - full);
    dropped.setAttribute("height", full);
    keep.setAttribute("y", 100 - part);
    keep.setAttribute("height", part);
  });
  score.limits.forEach((limit, index) => {
    parts.lines[index].hidden = limit.now === null;
    if (limit.now !== null) parts.lines[index].style.left = place(score, limit.now);
  });
  for (const slider of parts.sliders) slider.show();
  let passing = 0;
  let alone = 0;
  let judged = 0;
  for (let row = 0; row < count; row++) {
    if (isFixed[row] || (Number.isNaN(score.values[row]) && !score.nan.has(row))) continue;
    judged++;
    let failed = 0;
    for (const limit of score.limits) if (!passes(score, limit, row)) failed++;
    if (failed === 0) passing++;
    else if (fails[row] === failed) alone++;
  }
  const active = score.limits.some((limit) => limit.now !== null);
  const text = active
    ? `${clips(passing)} of ${clips(judged)} measured clips pass${judged > 0 ? ` (${percent(passing, judged)})` : ""}; ${clips(alone)} are dropped by this alone`
    : `${clips(judged)} clips measured; no threshold`;
  parts.effect.textContent = text;
  parts.plot.setAttribute("aria-label", `Histogram of ${score.what}, ${score.view.low} to ${score.view.high} ${score.unit}. ${text}.`);
  parts.near.replaceChildren(...score.limits.filter((limit) => limit.now !== null).map((limit) => nearest(score, limit)));
}

// Clips whose fate this threshold decides, nearest first, among those that have a picture.
function nearest(score, limit) {
  const sides = [[], []];
  for (const key of Object.keys(pictures)) {
    const row = Number(key);
    const value = score.values[row];
    if (isFixed[row] || !Number.isFinite(value)) continue;
    const fine = passes(score, limit, row);
    if (fails[row] === (fine ? 0 : 1)) sides[fine ? 0 : 1].push([Math.abs(value - limit.now), row]);
  }
  const strip = (side, title, kind) => {
    const chosen = side.sort((a, b) => a[0] - b[0] || a[1] - b[1]).slice(0, NEAREST);
    const figures = chosen.map(([, row]) =>
      make("figure", { class: kind },
        picture(row, `${kind} clip of ${fileName(row)}, ${score.what} ${short(score.values[row])}`),
        make("figcaption", { title: `${word(rows.source, row)} ${span(row)}` }, make("span", { "aria-hidden": "true" }, mark[kind]), short(score.values[row]))));
    return make("div", { class: "strip" },
      make("h4", {}, title),
      figures.length > 0 ? make("div", { class: "figures" }, ...figures) : make("p", { class: "quiet" }, "no clip with a picture"));
  };
  const bound = `${limit.side === "at_least" ? "minimum" : "maximum"} ${limit.now}`;
  return make("div", { class: "pair", role: "group", "aria-label": `Clips nearest to the ${bound} of ${score.what}` },
    strip(sides[0], `Just kept by the ${bound}`, "kept"),
    strip(sides[1], "Just dropped, by this alone", "dropped"));
}

let isAsked = false;

// Thresholds have moved: everything that depends on them is drawn again, once a frame.
function changed() {
  if (isAsked) return;
  isAsked = true;
  requestAnimationFrame(() => {
    isAsked = false;
    draw();
  });
}

function draw() {
  const sum = judge();
  const isMoved = moved().length > 0;
  const all = count - isFixed.reduce((a, b) => a + b, 0);
  byId("kept").textContent = `${clips(sum.kept)} kept`;
  const parts = isMoved
    ? [`${clips(sum.before)} before`, `${clips(sum.added)} newly kept`, `${clips(sum.gone)} newly dropped`]
    : [`of ${clips(all)} judged`, percent(sum.kept, all)];
  if (isMoved && sum.lacking > 0) parts[1] += ` (${clips(sum.lacking)} incomplete: run with --backfill)`;
  byId("delta").textContent = parts.filter((part) => part !== "").join(" \u00b7 ");
  byId("command").textContent = command() || "The thresholds are those of the table.";
  byId("bar").classList.toggle("idle", !isMoved);
  byId("copy").disabled = !isMoved;
  byId("reset").disabled = !isMoved;
  clearTimeout(draw.timer);
  draw.timer = setTimeout(() => { byId("live").textContent = isMoved ? `${clips(sum.kept)} clips kept` : ""; }, 400);
  for (const entry of cards) {
    if (entry.parts !== null) drawCard(entry);
  }
  listAgain();
}

function startScores() {
  const [judged, others] = [true, false].map((wanted) => cards.filter(({ score }) => isJudged(score) === wanted));
  byId("judged").append(...judged.map(card));
  if (judged.length === 0) byId("judged").append(make("p", { class: "quiet" }, "No threshold judges this table."));
  byId("others").hidden = others.length === 0;
  byId("others-count").textContent = others.length;
  byId("others").addEventListener("toggle", () => {
    if (others.length === 0 || others[0].parts !== null) return;
    byId("unjudged").append(...others.map(card));
    draw();
  });
  byId("reset").addEventListener("click", () => {
    for (const limit of moved()) limit.now = limit.value;
    changed();
  });
  byId("copy").addEventListener("click", async () => {
    const button = byId("copy");
    try {
      await navigator.clipboard.writeText(command());
      button.textContent = "Copied";
    } catch {
      // No clipboard for files in this browser: the text is selected instead.
      getSelection().selectAllChildren(byId("command"));
      button.textContent = "Selected";
    }
    setTimeout(() => { button.textContent = "Copy"; }, 1500);
  });
}
