// The page: a stream of events from /page/live, a table from /page/runs, a time line from /page/upcoming.
// Whatever comes from outside is put in as text, never as markup.
"use strict";

const $ = (id) => document.getElementById(id);
const KEPT = 600;
const CHIPS = [
  "state_type = RUNNING",
  "place in [ready, blocked] and priority >= 5",
  "state_type in [FAILED, CRASHED] and end_time > now - 5m",
  "auto_scheduled and place = scheduled",
  'tags has "hash" and total_run_time > 20ms',
];
const state = { token: "", looks: [], version: -1, open: null, asked: 0, pending: false, minutes: 10, why: { id: null, text: "" } };

/** Makes an element: attributes, then children; texts stay texts. */
function make(name, attributes = {}, ...children) {
  const svg = ["svg", "g", "path", "rect", "line", "circle", "text", "title"].includes(name);
  const made = svg ? document.createElementNS("http://www.w3.org/2000/svg", name) : document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

// ---- asking ----

async function ask(path, body) {
  const options = { headers: { authorization: `Bearer ${state.token}` } };
  if (body) Object.assign(options, { method: "POST", body: JSON.stringify(body) });
  const answer = await fetch(path, options);
  const json = await answer.json();
  if (answer.ok) return json;
  const problem = new Error(json.error.message);
  problem.status = answer.status;
  throw problem;
}

function link(on, text) {
  $("link").dataset.state = on ? "on" : "off";
  $("link").textContent = text;
}

/** Reads the stream until it ends; then tries again, more and more slowly. */
async function follow() {
  let wait = 500;
  for (;;) {
    try {
      const answer = await fetch("page/live", { headers: { authorization: `Bearer ${state.token}` } });
      if (answer.status === 401) return login("this token is not known");
      if (!answer.ok) throw new Error((await answer.json()).error.message);
      link(true, "live");
      wait = 500;
      let text = "";
      const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
      for (;;) {
        const { value, done } = await reader.read();
        if (done) break;
        text += value;
        const events = text.split("\n\n");
        text = events.pop();
        events.forEach(hear);
      }
      link(false, "the host has gone; trying again");
    } catch (problem) {
      link(false, `${problem.message}; trying again`);
    }
    await new Promise((resolve) => setTimeout(resolve, wait));
    wait = Math.min(wait * 2, 8000);
  }
}

function hear(event) {
  const name = /^event: (.*)$/m.exec(event)?.[1];
  const data = /^data: (.*)$/m.exec(event)?.[1];
  if (!name || !data) return;
  const told = JSON.parse(data);
  if (name === "history") {
    state.looks = told.looks;
    $("organisation").textContent = told.organisation;
    $("login").hidden = true;
    $("board").hidden = false;
  } else if (name === "status") {
    show(told);
  }
}

// ---- now ----

const LEVELS = Array.from({ length: 10 }, (_, index) => {
  const level = 10 - index;
  const bar = make("div", { class: "bar" });
  const count = make("span", { class: "count" }, "0");
  const item = make("li", { class: "none" }, make("span", { class: "level" }, String(level)), make("div", { class: "track" }, bar), count);
  return { level, bar, count, item };
});

function show(told) {
  const status = told.status;
  const number = (id, value) => { $(id).textContent = value.toLocaleString("en"); };
  number("n-queued", status.queuedTasks);
  number("n-blocked", told.blocked);
  number("n-processing", status.processingTasks);
  number("n-scheduled", told.scheduled);
  number("n-completed", told.totals.completed);
  number("n-failed", told.totals.failed);

  const waiting = new Map(status.priorityBreakdown.map(({ priority, count }) => [priority, count]));
  const most = Math.max(1, ...waiting.values());
  for (const { level, bar, count, item } of LEVELS) {
    const here = waiting.get(level) ?? 0;
    bar.style.width = `${(100 * here) / most}%`;
    count.textContent = here.toLocaleString("en");
    item.classList.toggle("none", here === 0);
  }
  slots(status);
  document.title = `${status.queuedTasks} waiting · tenfold`;

  const look = told.look;
  const last = state.looks.at(-1);
  if (look && (!last || look[0] > last[0])) {
    state.looks.push(look);
    if (state.looks.length > KEPT) state.looks.shift();
    past();
  }
  if (told.version !== state.version) {
    state.version = told.version;
    refresh();
  }
}

function slots(status) {
  const taken = status.concurrency;
  if (!taken) {
    $("slots-text").textContent = `no limit, ${status.processingTasks} in use`;
    $("slots").replaceChildren();
    return;
  }
  $("slots-text").textContent = `${taken.used} of ${taken.max} in use`;
  // A square a slot, as long as they can be counted.
  const shown = Math.min(taken.max, 64);
  const used = taken.max <= 64 ? taken.used : Math.round((64 * taken.used) / taken.max);
  while ($("slots").children.length > shown) $("slots").lastChild.remove();
  while ($("slots").children.length < shown) $("slots").append(make("i"));
  [...$("slots").children].forEach((slot, index) => slot.classList.toggle("used", index < used));
}

// ---- the past ----

/** A whole number that is at least `value` and easy to read. */
function nice(value) {
  const step = 10 ** Math.floor(Math.log10(Math.max(1, value)));
  return [1, 2, 5, 10].map((factor) => factor * step).find((round) => round >= value) ?? 1;
}

function past() {
  const looks = state.looks;
  if (looks.length < 2) return;
  const until = looks.at(-1)[0];
  const age = until - looks[0][0];
  state.minutes = [1, 2, 5].find((minutes) => age <= minutes * 60) ?? 10;
  $("h-past").firstChild.textContent = state.minutes === 1 ? "The last minute " : `The last ${state.minutes} minutes `;
  const queued = looks.map(([second, waiting]) => [second, waiting]);
  const done = looks.slice(1).map(([second, , , total], index) => [second, (total - looks[index][3]) / Math.max(1, second - looks[index][0])]);
  plot($("plot-queued"), queued, until, "area", (value) => `${value.toLocaleString("en")} waiting`);
  plot($("plot-done"), done, until, "sticks", (value) => `${value.toLocaleString("en", { maximumFractionDigits: 1 })} done in a second`);
  const minute = done.slice(-60);
  const rate = minute.reduce((sum, [, value]) => sum + value, 0) / Math.max(1, minute.length);
  $("past-text").textContent = `${rate.toFixed(1)} done in a second over the last minute`;
}

function plot(place, points, until, kind, say) {
  const [width, height, left, bottom] = [Math.max(240, place.clientWidth), 150, 40, 18];
  const top = nice(Math.max(1, ...points.map(([, value]) => value)));
  const x = (second) => left + (width - left - 4) * (1 - (until - second) / (state.minutes * 60));
  const y = (value) => 8 + (height - 8 - bottom) * (1 - value / top);
  const svg = make("svg", { viewBox: `0 0 ${width} ${height}`, height, role: "img", "aria-label": say(points.at(-1)[1]) });
  for (const part of top === 1 ? [0, 1] : [0, 0.5, 1]) {
    svg.append(
      make("line", { class: "grid", x1: left, x2: width - 4, y1: y(top * part), y2: y(top * part) }),
      make("text", { x: left - 6, y: y(top * part) + 4, "text-anchor": "end" }, (top * part).toLocaleString("en")),
    );
  }
  for (const part of [1, 0.5, 0]) {
    const seconds = part * state.minutes * 60;
    const anchor = { 1: "start", 0: "end" }[part] ?? "middle";
    svg.append(make("text", { x: x(until - seconds), y: height - 4, "text-anchor": anchor }, seconds === 0 ? "now" : `${spell(seconds)} ago`));
  }
  const shape = points.map(([second, value]) => `${x(second).toFixed(1)} ${y(value).toFixed(1)}`).join("L");
  if (kind === "area") {
    const [first, last] = [x(points[0][0]), x(points.at(-1)[0])];
    svg.append(make("path", { class: "area", d: `M${first} ${y(0)}L${shape}L${last} ${y(0)}Z` }), make("path", { class: "curve", d: `M${shape}` }));
  } else {
    const thick = Math.max(1, ((width - left) / (state.minutes * 60)) * 0.8);
    const sticks = points.filter(([, value]) => value > 0);
    svg.append(...sticks.map(([second, value]) => make("rect", { class: "stick", x: x(second) - thick, y: y(value), width: thick, height: y(0) - y(value) })));
  }
  // The value under the pointer.
  const cross = make("line", { class: "cross", y1: 8, y2: y(0), x1: -9, x2: -9 });
  const label = make("text", { y: 18, x: -99 });
  svg.append(cross, label);
  svg.addEventListener("pointermove", (event) => {
    const at = ((event.clientX - svg.getBoundingClientRect().left) / svg.clientWidth) * width;
    const near = points.reduce((best, point) => (Math.abs(x(point[0]) - at) < Math.abs(x(best[0]) - at) ? point : best));
    const right = x(near[0]) > width / 2;
    cross.setAttribute("x1", x(near[0]));
    cross.setAttribute("x2", x(near[0]));
    label.setAttribute("x", x(near[0]) + (right ? -6 : 6));
    label.setAttribute("text-anchor", right ? "end" : "start");
    label.textContent = `${say(near[1])}, ${new Date(near[0] * 1000).toLocaleTimeString()}`;
  });
  place.replaceChildren(svg);
}

// ---- what comes ----

async function upcoming() {
  const { now, count, rows } = await ask("page/upcoming");
  const start = Date.parse(now);
  const due = rows.filter((row) => row.due).map((row) => ({ lane: row.deployment ?? row.type ?? "task", at: (Date.parse(row.due) - start) / 1000, row }));
  const place = $("next");
  if (due.length === 0) {
    $("next-text").textContent = "nothing is scheduled";
    place.replaceChildren();
    return;
  }
  const lanes = [...new Set(due.map(({ lane }) => lane))].slice(0, 6);
  const span = [60, 300, 900, 3600, 6 * 3600, 86400, 7 * 86400].find((span) => span >= due[Math.min(due.length - 1, 11)].at) ?? 365 * 86400;
  const [width, left, step] = [Math.max(240, place.clientWidth), 96, 24];
  const height = lanes.length * step + 20;
  const x = (seconds) => left + (width - left - 8) * (Math.max(0, seconds) / span);
  const svg = make("svg", { viewBox: `0 0 ${width} ${height}`, height });
  lanes.forEach((lane, index) => {
    const y = index * step + 12;
    const short = lane.length > 14 ? `${lane.slice(0, 13)}…` : lane;
    svg.append(make("text", { class: "lane", x: 0, y: y + 4 }, short, make("title", {}, lane)), make("line", { class: "grid", x1: left, x2: width - 4, y1: y, y2: y }));
    for (const { at, row } of due.filter((one) => one.lane === lane && one.at <= span)) {
      const text = `${row.name}, priority ${row.priority}, ${new Date(row.due).toLocaleTimeString()}`;
      svg.append(make("circle", { class: row.state === "AwaitingRetry" ? "late" : "dot", cx: x(at), cy: y, r: 4 }, make("title", {}, text)));
    }
  });
  for (const part of [0, 0.5, 1]) {
    const anchor = part === 0 ? "start" : part === 1 ? "end" : "middle";
    svg.append(make("text", { x: x(span * part), y: height - 4, "text-anchor": anchor }, part === 0 ? "now" : `in ${spell(span * part)}`));
  }
  const first = due[0];
  $("next-text").textContent = `${first.lane} in ${spell(Math.max(0, first.at))}, ${count.toLocaleString("en")} planned`;
  place.replaceChildren(svg);
}

function spell(seconds) {
  if (seconds < 0.9995) return `${Math.round(seconds * 1000)} ms`;
  if (seconds < 10) return `${seconds.toFixed(1)} s`;
  if (seconds < 90) return `${Math.round(seconds)} s`;
  if (seconds < 5400) return `${Number((seconds / 60).toFixed(1))} min`;
  if (seconds < 129600) return `${Number((seconds / 3600).toFixed(1))} h`;
  return `${Number((seconds / 86400).toFixed(1))} d`;
}

// ---- the runs ----

/** Asks at most once a second, and not while nobody looks. */
function refresh() {
  if (state.pending || document.hidden) return;
  state.pending = true;
  const left = Math.max(0, state.asked + 1000 - Date.now());
  setTimeout(async () => {
    state.asked = Date.now();
    state.pending = false;
    await Promise.allSettled([table(), upcoming()]);
  }, left);
}

let turn = 0;
async function table() {
  const mine = ++turn;
  const filter = $("filter").value;
  try {
    const { count, rows } = await ask("page/runs", { filter, limit: 50 });
    if (mine !== turn) return;
    $("filter").removeAttribute("aria-invalid");
    $("filter-problem").hidden = true;
    $("runs-text").textContent = `${count.toLocaleString("en")} match${count > rows.length ? `, the ${rows.length} that changed last` : ""}`;
    fill(rows);
  } catch (problem) {
    if (mine !== turn) return;
    $("filter").setAttribute("aria-invalid", "true");
    $("filter-problem").textContent = problem.message;
    $("filter-problem").hidden = false;
    $("runs-text").textContent = "the filter is not understood";
  }
}

function fill(rows) {
  const focused = document.activeElement?.dataset?.id;
  const lines = rows.flatMap((row) => {
    const work = [row.deployment, row.type].filter(Boolean).join(" · ");
    const open = state.open === row.id;
    const line = make("tr", { class: "run", tabindex: "0", "data-id": row.id, "aria-expanded": String(open) },
      make("td", {}, make("span", { class: `state s-${row.stateType}` }, { ready: "Waiting", blocked: "Blocked" }[row.place] ?? row.state ?? "")),
      make("td", {}, String(row.priority)),
      make("td", {}, row.name),
      make("td", {}, work),
      make("td", {}, row.changed ? new Date(row.changed).toLocaleTimeString() : ""),
      make("td", { class: "right" }, row.tookSeconds > 0 ? spell(row.tookSeconds) : ""));
    return open ? [line, detail(row)] : [line];
  });
  if (lines.length === 0) lines.push(make("tr", {}, make("td", { colspan: "6", class: "empty" }, "no run matches")));
  $("runs").replaceChildren(...lines);
  if (focused) $("runs").querySelector(`[data-id="${CSS.escape(focused)}"]`)?.focus({ preventScroll: true });
}

/** Why the open run is where it is, as the engine says it: asked for with the table, shown when it comes. */
async function explain(id, place) {
  const known = state.why.id === id ? state.why.text : "";
  place.textContent = known || "…";
  try {
    const { text } = await ask(`page/runs/${id}/explain`);
    state.why = { id, text };
    place.textContent = text;
  } catch (problem) {
    place.textContent = problem.message;
  }
}

function detail(row) {
  const facts = { id: row.id, place: row.place, attempts: row.attempts, created: row.created, due: row.due, message: row.message };
  const list = make("dl");
  for (const [key, value] of Object.entries(facts)) {
    if (value !== null && value !== undefined) list.append(make("dt", {}, key), make("dd", {}, String(value)));
  }
  const why = make("dd", { class: "why", "aria-live": "polite" });
  list.prepend(make("dt", {}, "why"), why);
  explain(row.id, why);
  return make("tr", { class: "detail" }, make("td", { colspan: "6" }, list));
}

function toggle(line) {
  state.open = state.open === line.dataset.id ? null : line.dataset.id;
  table();
}

// ---- hands ----

function login(problem = "") {
  $("board").hidden = true;
  $("login").hidden = false;
  $("login-problem").textContent = problem;
  link(false, "not connected");
  $("token").focus();
}

function enter(token) {
  state.token = token;
  sessionStorage.setItem("token", token);
  follow();
}

let typing = 0;
$("filter").addEventListener("input", () => {
  clearTimeout(typing);
  typing = setTimeout(table, 250);
});
$("search").addEventListener("submit", (event) => { event.preventDefault(); table(); });
$("login").addEventListener("submit", (event) => { event.preventDefault(); enter($("token").value); });
$("runs").addEventListener("click", (event) => { const line = event.target.closest("tr.run"); if (line) toggle(line); });
$("runs").addEventListener("keydown", (event) => {
  const line = event.target.closest("tr.run");
  if (!line) return;
  if (event.key === "Enter" || event.key === " ") { event.preventDefault(); toggle(line); }
  const lines = [...$("runs").querySelectorAll("tr.run")];
  const next = { ArrowDown: 1, ArrowUp: -1 }[event.key];
  if (next) { event.preventDefault(); lines[lines.indexOf(line) + next]?.focus(); }
});
document.addEventListener("keydown", (event) => {
  const writes = event.target.matches("input");
  if (event.key === "/" && !writes) { event.preventDefault(); $("filter").focus(); }
  if (event.key === "Escape" && event.target === $("filter")) { $("filter").value = ""; table(); }
});
document.addEventListener("visibilitychange", () => { if (!document.hidden && state.token) refresh(); });
addEventListener("resize", () => { past(); if (state.token) refresh(); });

$("levels").append(...LEVELS.map(({ item }) => item));
$("chips").append(...CHIPS.map((text) => {
  const chip = make("button", { type: "button" }, text);
  chip.addEventListener("click", () => { $("filter").value = text; table(); });
  return chip;
}));

// The token may come behind a `#`, which browsers send to nobody.
const given = /^#token=(.+)$/.exec(location.hash)?.[1];
if (given) history.replaceState(null, "", location.pathname);
const token = given ? decodeURIComponent(given) : sessionStorage.getItem("token");
if (token) enter(token); else login();
