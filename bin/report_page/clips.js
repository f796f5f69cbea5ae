// The list of clips: filters, order, search, and every value of a clip on request.

const PAGE = 25;
let found = [];
let page = 0;
let texts = null;

const opened = new Set();

function haystack(row) {
  const words = [rows.caption, rows.source, rows.reason, rows.stage, rows.flags, rows.message];
  return `${rows.ids[row]} ${words.map((column) => word(column, row)).join(" ")}`.toLowerCase();
}

const statusFilters = {
  all: ["all", () => true],
  kept: ["kept", (row) => status(row) === "kept"],
  dropped: ["dropped", (row) => status(row) === "dropped"],
  failed: ["failed", (row) => status(row) === "failed"],
  added: ["newly kept by these thresholds", (row) => isKept(row) && !wasKept[row]],
  gone: ["newly dropped by these thresholds", (row) => wasKept[row] === 1 && !isKept(row)],
};

const reasonOf = (row) => (rows.stage.at[row] === 0 ? "" : `${word(rows.stage, row)}: ${word(rows.reason, row)}`);

function captionFilters() {
  const filters = { any: ["any", () => true] };
  if (rows.caption.words.length === 0) return filters;
  filters.with = ["with a caption", (row) => rows.caption.at[row] !== 0];
  filters.without = ["without a caption", (row) => rows.caption.at[row] === 0];
  if (rows.flags.words.length > 0) filters.flagged = ["with any flag", (row) => rows.flags.at[row] !== 0];
  const flags = new Set(rows.flags.words.flatMap((words) => words.split(" ")));
  for (const flag of [...flags].sort()) {
    filters[`flag ${flag}`] = [`flag: ${flag}`, (row) => word(rows.flags, row).split(" ").includes(flag)];
  }
  return filters;
}

const captionChoice = captionFilters();

function choose() {
  const byStatus = (statusFilters[byId("f-status").value] ?? statusFilters.all)[1];
  const byCaption = (captionChoice[byId("f-flag").value] ?? captionChoice.any)[1];
  const reason = byId("f-reason").value;
  const terms = byId("search").value.toLowerCase().split(/\s+/).filter((term) => term !== "");
  if (terms.length > 0 && texts === null) texts = Array.from({ length: count }, (_, row) => haystack(row));
  found = [];
  for (let row = 0; row < count; row++) {
    if (!byStatus(row) || !byCaption(row) || (reason !== "" && reasonOf(row) !== reason)) continue;
    if (terms.every((term) => texts[row].includes(term))) found.push(row);
  }
  const order = byId("f-order").value;
  if (order !== "") {
    const { values } = scores[Number(order.slice(1))];
    const sign = order[0] === "+" ? 1 : -1;
    // What was not measured comes last either way.
    const key = (row) => (Number.isNaN(values[row]) ? Infinity : sign * values[row]);
    found.sort((a, b) => (key(a) === key(b) ? a - b : key(a) - key(b)));
  }
}

function listAgain(keepPage = true) {
  choose();
  const pages = Math.max(1, Math.ceil(found.length / PAGE));
  page = keepPage ? Math.min(page, pages - 1) : 0;
  const text = `${number(found.length)} of ${number(count)} clips`;
  if (byId("found").textContent !== text) byId("found").textContent = text;
  byId("page").textContent = `page ${number(page + 1)} of ${number(pages)}`;
  byId("previous").disabled = page === 0;
  byId("next").disabled = page >= pages - 1;
  const shown = found.slice(page * PAGE, (page + 1) * PAGE);
  const list = shown.length > 0
    ? make("ol", { start: page * PAGE + 1 }, ...shown.map(item))
    : make("p", { class: "quiet" }, count === 0 ? "The table has no clips." : "No clip is like that.");
  byId("list").replaceChildren(list);
}

// What a clip's verdict is, in words and a sign, never by colour alone.
function verdict(row) {
  const kind = status(row);
  const now = isFixed[row] ? kind : isKept(row) ? "kept" : "dropped";
  const parts = [make("span", { class: "mark", "aria-hidden": "true" }, mark[kind] ?? "?"), kind];
  const element = make("span", { class: `verdict ${kind}` }, ...parts);
  return make("div", { class: "what" }, element,
    reasonOf(row) !== "" ? make("span", { class: "reason" }, reasonOf(row)) : null,
    now !== kind ? make("span", { class: "now" }, `\u2192 ${now} by these thresholds`) : null);
}

// A value against its thresholds.
function limitsText(score) {
  const sign = (limit) => `${limit.side === "at_least" ? "\u2265" : "\u2264"} ${limit.now}`;
  return score.limits.filter((limit) => limit.now !== null).map(sign).join(", ");
}

function valuesOf(row) {
  const lines = scores.filter((score) => !Number.isNaN(score.values[row]) || score.nan.has(row)).map((score) => {
    const failed = score.limits.some((limit) => !passes(score, limit, row));
    return make("tr", { class: failed ? "failed" : "" },
      make("th", { scope: "row" }, score.what),
      make("td", { class: "number" }, short(score.values[row])),
      make("td", {}, score.unit),
      make("td", {}, limitsText(score)),
      make("td", {}, failed ? "\u2715 fails" : limitsText(score) !== "" ? "passes" : ""));
  });
  const facts = [
    ["clip", rows.ids[row]],
    ["source", word(rows.source, row)],
    ["error", word(rows.message, row)],
    ["caption by", word(rows.caption_model, row)],
    ["lacks", word(rows.lacks, row)],
    ["in full", `curate why ${shell(data.table)} ${shell(rows.ids[row])}`],
  ].filter(([, value]) => value !== "");
  return make("div", { class: "values" },
    make("dl", {}, ...facts.flatMap(([name, value]) => [make("dt", {}, name), make("dd", {}, value)])),
    lines.length > 0 ? make("table", { class: "numbers" }, make("tbody", {}, ...lines)) : null);
}

function item(row) {
  const more = make("details", { class: "more", ontoggle: () => {
    if (more.open) opened.add(row);
    else opened.delete(row);
    if (more.open && more.childElementCount === 1) more.append(valuesOf(row));
  } }, make("summary", { "aria-label": `Values of clip ${rows.ids[row]}` }, "Values"));
  more.open = opened.has(row);
  if (more.open) more.append(valuesOf(row));
  const flags = word(rows.flags, row).split(" ").filter((flag) => flag !== "");
  const failing = scores.filter((score) => !isFixed[row] && score.limits.some((limit) => !passes(score, limit, row)));
  return make("li", {},
    make("div", { class: "thumb" }, picture(row, "")),
    verdict(row),
    make("div", { class: "text" },
      make("p", { class: "source", title: word(rows.source, row) }, fileName(row), make("span", { class: "quiet" }, ` ${span(row)}`)),
      rows.caption.at[row] !== 0 ? make("p", { class: "caption", dir: "auto" }, word(rows.caption, row)) : null,
      word(rows.message, row) !== "" ? make("p", { class: "quiet message" }, word(rows.message, row)) : null,
      flags.length > 0 ? make("p", { class: "flags" }, ...flags.map((flag) => make("span", {}, flag))) : null,
      failing.length > 0 ? make("p", { class: "fails" }, failing.map((score) => `${score.what} ${short(score.values[row])} (${limitsText(score)})`).join("; ")) : null,
      more));
}

function options(select, entries) {
  select.replaceChildren(...entries.map(([value, text]) => make("option", { value }, text)));
}

// Shows the clips of a verdict: the funnel's numbers lead here.
function showOnly(kind, reason) {
  byId("search").value = "";
  byId("f-flag").value = "any";
  byId("f-status").value = kind;
  byId("f-reason").value = reason;
  listAgain(false);
  byId("clips").scrollIntoView();
  byId("f-reason").focus({ preventScroll: true });
}

function startClips() {
  options(byId("f-status"), Object.entries(statusFilters).map(([value, [text]]) => [value, text]));
  options(byId("f-flag"), Object.entries(captionChoice).map(([value, [text]]) => [value, text]));
  const reasons = new Set();
  for (let row = 0; row < count; row++) reasons.add(reasonOf(row));
  reasons.delete("");
  options(byId("f-reason"), [["", "all"], ...[...reasons].sort().map((reason) => [reason, reason])]);
  const orders = scores.flatMap((score) => [
    [`+${score.index}`, `${score.what} (${score.stage}), lowest first`],
    [`-${score.index}`, `${score.what} (${score.stage}), highest first`],
  ]);
  options(byId("f-order"), [["", "as in the table"], ...orders]);
  for (const id of ["f-status", "f-reason", "f-flag", "f-order"]) {
    byId(id).addEventListener("change", () => listAgain(false));
  }
  let timer = 0;
  byId("search").addEventListener("input", () => {
    clearTimeout(timer);
    timer = setTimeout(() => listAgain(false), 120);
  });
  const turn = (by) => {
    page += by;
    listAgain();
    byId("clips").scrollIntoView();
  };
  byId("previous").addEventListener("click", () => turn(-1));
  byId("next").addEventListener("click", () => turn(1));
  document.addEventListener("keydown", (event) => {
    const search = byId("search");
    const isTyping = event.target instanceof HTMLElement && event.target.matches("input:not([type=range]), select, textarea");
    if (event.key === "/" && !isTyping && !event.ctrlKey && !event.metaKey && !event.altKey) {
      event.preventDefault();
      search.focus();
      search.select();
    } else if (event.key === "Escape" && event.target === search && search.value !== "") {
      event.preventDefault();
      search.value = "";
      listAgain(false);
    }
  });
}
