// The rest of the page: funnel, failures, work, lineage, theme; and the start of everything.

const total = (kind) => data.verdicts.filter((line) => line.status === kind).reduce((sum, line) => sum + line.clips, 0);

function table(head, lines, kind = "") {
  const cell = (tag, value, index) => {
    const isNumber = head[index].startsWith("#");
    const attributes = { class: isNumber ? "number" : "", scope: tag === "th" ? "col" : null };
    return make(tag, attributes, ...(Array.isArray(value) ? value : [value]));
  };
  return make("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "Table" },
    make("table", { class: kind },
      make("thead", {}, make("tr", {}, ...head.map((name, index) => cell("th", name.replace(/^#/, ""), index)))),
      make("tbody", {}, ...lines.map((line) => make("tr", {}, ...line.map((value, index) => cell("td", value, index)))))));
}

function facts(entries) {
  return make("dl", { class: "facts" }, ...entries.map(([name, value, note]) =>
    make("div", {}, make("dt", {}, name), make("dd", {}, value, note ? make("span", { class: "note" }, note) : null))));
}

// A bar of parts of a whole; their widths are the only thing that it says, numbers stand beside it.
function stack(parts, all) {
  const bar = make("span", { class: "stack", "aria-hidden": "true" });
  for (const [kind, value] of parts) {
    if (!(value > 0)) continue;
    const part = make("span", { class: kind });
    part.style.width = `${(100 * value) / all}%`;
    bar.append(part);
  }
  return bar;
}

function funnel() {
  const [kept, dropped, failed] = ["kept", "dropped", "failed"].map(total);
  const all = kept + dropped + failed;
  if (all === 0) {
    byId("funnel-body").append(make("p", { class: "quiet" }, "The table has no clips yet."));
    return;
  }
  let length = 0;
  for (let row = 0; row < count; row++) if (wasKept[row]) length += rows.ends[row] - rows.starts[row];
  const hours = (length * data.every) / 3.6e6;
  const spoken = hours >= 1 ? [`${hours.toFixed(1)} h`, "kept"] : [`${(hours * 60).toFixed(1)} min`, "kept"];
  byId("funnel-body").append(facts([
    ["clips split", number(all)],
    ["kept", number(kept), percent(kept, all)],
    ["dropped", number(dropped), percent(dropped, all)],
    ["failed", number(failed), percent(failed, all)],
    ["length", ...spoken],
  ]));
  if (kept === 0) byId("funnel-body").append(make("p", { class: "notice" }, "No clip was kept. The thresholds below show which values there are."));
  const kinds = data.stages.map((stage) => stage.kind);
  for (const line of data.verdicts) if (line.status !== "kept" && !kinds.includes(line.stage)) kinds.push(line.stage);
  let left = all;
  const steps = kinds.map((kind) => {
    const lines = data.verdicts.filter((line) => line.stage === kind && line.status !== "kept").sort((a, b) => b.clips - a.clips);
    const [gone, broken] = ["dropped", "failed"].map((status) =>
      lines.filter((line) => line.status === status).reduce((sum, line) => sum + line.clips, 0));
    const reached = left;
    left -= gone + broken;
    const why = lines.map((line) => make("button", { type: "button", class: `reason ${line.status}`,
      onclick: () => showOnly(line.status, `${line.stage}: ${line.reason}`) },
    make("span", { "aria-hidden": "true" }, mark[line.status] ?? ""), `${line.reason || "no reason"} `, make("b", {}, number(line.clips))));
    const summary = data.stages.find((stage) => stage.kind === kind)?.summary ?? "";
    return make("li", {},
      make("div", { class: "name", title: summary }, kind || "unknown"),
      make("div", { class: "shape" }, stack([["kept", left], ["dropped", gone], ["failed", broken]], all)),
      make("div", { class: "number" }, make("b", {}, number(left)), ` of ${number(reached)} pass`),
      make("div", { class: "why" }, ...why));
  });
  byId("funnel-body").append(make("ol", { class: "funnel" }, ...steps));
}

function failures() {
  const body = byId("failures-body");
  const lines = data.verdicts.filter((line) => line.status === "failed").sort((a, b) => b.clips - a.clips);
  const units = data.units.filter(([status]) => status !== "ok");
  if (lines.length === 0 && units.length === 0) {
    body.append(make("p", { class: "quiet" }, "None: every clip could be measured and every unit is whole."));
    return;
  }
  if (lines.length > 0) {
    const example = (line) => {
      for (let row = 0; row < count; row++) {
        if (status(row) === "failed" && reasonOf(row) === `${line.stage}: ${line.reason}`) return `${word(rows.message, row)} (${fileName(row)})`;
      }
      return "";
    };
    body.append(table(["Stage", "Error", "#Clips", "For instance"], lines.map((line) => [line.stage, line.reason, number(line.clips), example(line)]), "wide"));
  }
  if (data.units.length > 0) {
    body.append(make("p", {}, `Units of sources: ${data.units.map(([status, units]) => `${number(units)} ${status}`).join(", ")}.`));
  }
  if (data.bad_units.length > 0) {
    body.append(table(["Unit", "Error", "Source", "Message"], data.bad_units.map((unit) => [unit.status, unit.kind, unit.source, unit.message]), "wide"));
  }
}

function work() {
  const body = byId("work-body");
  const run = data.runs.find((run) => run.stages.length > 0);
  if (run === undefined) {
    body.append(make("p", { class: "quiet" }, "No run has recorded where its time went."));
    return;
  }
  const took = run.took_s ?? 0;
  const known = [];
  if (took > 0) known.push(["time", took >= 600 ? `${(took / 60).toFixed(1)} min` : `${took.toFixed(1)} s`]);
  if (took > 0 && run.frames_decoded !== null) known.push(["throughput", `${number(run.frames_decoded / took)} frames/s`, `${(run.clips / took).toFixed(2)} clips/s`]);
  if (run.frames_decoded !== null && run.frames_source > 0) {
    known.push(["decode amplification", (run.frames_decoded / run.frames_source).toFixed(2),
      `${number(run.frames_decoded)} frames decoded of ${number(run.frames_source)}`]);
  }
  if (run.frames_again !== null) known.push(["decoded again to write clips", number(run.frames_again), "frames"]);
  if (run.peak_memory_bytes !== null) known.push(["peak memory", `${number(run.peak_memory_bytes / 2 ** 20)} MiB`]);
  const shares = run.stages.map((stage) => {
    const all = took * stage.workers;
    const part = (value) => (all > 0 ? value / all : 0);
    return { ...stage, busy: part(stage.busy_s), waiting: part(stage.waiting_s), blocked: part(stage.blocked_s) };
  });
  const busiest = shares.reduce((a, b) => (b.busy > a.busy ? b : a));
  const share = (value) => `${(100 * value).toFixed(0)} %`;
  if (took > 0) known.push(["bottleneck", busiest.kind, `${share(busiest.busy)} busy`]);
  body.append(facts(known));
  body.append(
    make("p", { class: "key" }, ...[["busy", "busy"], ["waiting", "waiting for clips"], ["blocked", "blocked by the next stage"]].map(([kind, text]) =>
      make("span", {}, make("span", { class: `swatch ${kind}` }), text))),
    table(["Stage", "Time of its workers", "#Busy", "#Waiting", "#Blocked", "#Workers", "#Clips", "#ms/clip"], shares.map((stage) => [
      stage.kind,
      [stack([["busy", stage.busy], ["waiting", stage.waiting], ["blocked", stage.blocked]], Math.max(1, stage.busy + stage.waiting + stage.blocked))],
      share(stage.busy), share(stage.waiting), share(stage.blocked), number(stage.workers), number(stage.clips),
      stage.clips > 0 ? ((1e3 * stage.busy_s) / stage.clips).toFixed(1) : "",
    ]), "work"),
    make("p", { class: "quiet" }, `Run ${run.id}, ${run.started_at}.`));
}

function lineage() {
  const body = byId("lineage-body");
  const versions = [...new Set(data.runs.map((run) => run.curate_version))].filter((version) => version !== "");
  body.append(facts([
    ["version of the clips", number(data.version)],
    ["curate", versions.join(", ") || data.curate_version, `report by ${data.curate_version}`],
    ["split", make("code", {}, data.split_id)],
  ]));
  const settings = (value) => make("code", {}, value === null ? "" : typeof value === "string" ? value : JSON.stringify(value));
  if (data.stages.length > 0) {
    body.append(make("h3", {}, "Stages"), table(["Stage", "Measures by", "Judges by", "Key"], data.stages.map((stage) => [
      stage.kind, [settings(stage.measuring)], [settings(stage.judging)], [make("code", {}, stage.key)]]), "wrap"));
  }
  if (data.models.length > 0) {
    body.append(make("h3", {}, "Models"), table(["Model", "Used by", "Hash"], data.models.map((model) => [model.id, model.used_by, [make("code", {}, model.hash)]])));
  }
  if (data.runs.length > 0) {
    body.append(make("h3", {}, "Runs"), table(["Run", "Started", "curate", "#Clips", "#Seconds"], data.runs.map((run) => [
      [make("code", {}, run.id)], run.started_at, run.curate_version, number(run.clips), run.took_s === null ? "" : run.took_s.toFixed(1)])));
  }
  if (data.recipe !== null) {
    body.append(make("details", {}, make("summary", {}, "Recipe of the newest run"), make("pre", { tabindex: 0 }, data.recipe)));
  }
}

function theme() {
  const button = byId("theme");
  const names = ["system", "light", "dark"];
  const read = () => { try { return localStorage.getItem("curate-theme"); } catch { return null; } };
  let now = names.includes(read()) ? read() : "system";
  const show = () => {
    document.documentElement.dataset.theme = now;
    button.textContent = `Theme: ${now}`;
  };
  button.addEventListener("click", () => {
    now = names[(names.indexOf(now) + 1) % names.length];
    try { localStorage.setItem("curate-theme", now); } catch { /* It lasts until the page is left. */ }
    show();
  });
  show();
}

function notices() {
  const words = [];
  if (data.every > 1) words.push(`The table is large: what is counted below the funnel is estimated from every ${data.every}th clip.`);
  const sum = judge();
  if (sum.added + sum.gone > 0) {
    words.push(`${clips(sum.added + sum.gone)} clips have another verdict than their values and the table's thresholds give; curate refilter judges them again.`);
  }
  byId("notice").hidden = words.length === 0;
  byId("notice").textContent = words.join(" ");
  byId("made").textContent = `${number(total("kept"))} of ${number(total("kept") + total("dropped") + total("failed"))} clips kept \u00b7 ${data.made_at}`;
}

theme();
notices();
funnel();
startScores();
startClips();
failures();
work();
lineage();
draw();
