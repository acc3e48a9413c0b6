"use strict";
const page = JSON.parse(document.getElementById("data").textContent);
const byId = (id) => document.getElementById(id);

function make(tag, text, kind) {
  const made = document.createElement(tag);
  if (text !== undefined) made.textContent = text;
  if (kind) made.className = kind;
  return made;
}

/* Charts: a specification for every choice, drawn by Vega without evaluating strings as code. */

function chosenKey(figure, chart) {
  return chart.choices.map((name) => figure.querySelector(`[data-choice="${name}"]`).value).join("|");
}

function configFor(width) {
  const config = structuredClone(page.config);
  config.legend.columns = Math.max(1, Math.min(4, Math.floor(width / 230)));
  config.legend.labelLimit = Math.max(120, Math.min(260, width - 60));
  config.axis.titleLimit = width - 24;
  if (width < 560) {
    config.axis.tickCount = 4;
    config.text.opacity = 0;
  }
  return config;
}

async function draw(figure) {
  const chart = page.charts[figure.dataset.chart];
  const key = chosenKey(figure, chart);
  const place = figure.querySelector(".drawing");
  const spec = structuredClone({ ...chart.base, ...chart.specs[key] });
  spec.datasets = { [spec.data.name]: chart.datasets[spec.data.name] };
  figure.querySelector(".undrawn").textContent = (chart.notes[key] || []).join(" ");
  if (figure.view) figure.view.finalize();
  const options = { mode: "vega-lite", renderer: "svg", actions: false, ast: true, defaultStyle: false };
  options.tooltip = { disableDefaultStyle: true };
  options.config = configFor(place.clientWidth);
  figure.view = await vegaEmbed(place, spec, options);
  /* The place is one image with a text of its own; its parts say nothing more. */
  place.querySelectorAll("svg").forEach((svg) => svg.setAttribute("aria-hidden", "true"));
  figure.dataset.drawn = key;
}

async function drawAll() {
  for (const figure of document.querySelectorAll("figure[data-chart]")) {
    try {
      await draw(figure);
    } catch (error) {
      figure.querySelector(".undrawn").textContent = "The chart could not be drawn; its table holds the same.";
      console.error(error);
    }
    for (const select of figure.querySelectorAll("select")) select.addEventListener("change", () => draw(figure));
  }
  let width = document.documentElement.clientWidth;
  let waiting = 0;
  window.addEventListener("resize", () => {
    if (document.documentElement.clientWidth === width) return;
    width = document.documentElement.clientWidth;
    clearTimeout(waiting);
    waiting = setTimeout(() => document.querySelectorAll("figure[data-chart]").forEach(draw), 200);
  });
  document.documentElement.dataset.charts = "drawn";
}

/* Examples: rows that pass the filters, a page at a time; texts are set as text, never as markup. */

const PAGE_ROWS = 20;
const ASKED = -2;

function startBrowser(held) {
  const words = held.words;
  const matched = held.matched;
  const lowered = new Array(held.ids.length);
  let passing = [];
  let start = 0;

  const say = (place) => (place < 0 ? "–" : words[place]);
  const isRight = (own, row) => own.read[row] >= 0 && own.read[row] === held.gold[row];
  const options = (select, entries) => {
    for (const [value, title] of entries) {
      const option = make("option", title);
      option.value = value;
      select.append(option);
    }
  };

  function fillChoices() {
    const names = held.candidates.map((own, place) => [place, own.name]);
    options(byId("browse-first"), names);
    options(byId("browse-second"), names);
    byId("browse-second").value = String(Math.min(1, names.length - 1));
    const outcomes = [["all", "all rows"], ["differ", "answered differently"], ["same", "answered alike"]];
    if (matched) {
      outcomes.push(["gained", "first right, second wrong"], ["lost", "first wrong, second right"]);
      outcomes.push(["wrong", "first wrong"], ["both", "both wrong"], ["none", "all candidates wrong"]);
    }
    outcomes.push(["unread", "first gave no readable answer"]);
    options(byId("browse-outcome"), outcomes);
    const golds = held.labels ? [...new Set(held.gold)].filter((place) => place >= 0) : [];
    options(byId("browse-gold"), [["", "any"], ...golds.map((place) => [place, words[place]]).sort((a, b) => (a[1] < b[1] ? -1 : 1))]);
    options(byId("browse-group"), [["", "any"], ...held.groupNames.map((name, place) => [place, name])]);
    document.querySelector('[data-if="labels"]').hidden = golds.length < 2;
    document.querySelector('[data-if="groups"]').hidden = held.groupNames.length < 2;
  }

  function searched(row) {
    if (lowered[row] === undefined) {
      const said = held.candidates.map((own) => `${say(own.read[row])} ${own.raw.length ? say(own.raw[row]) : ""}`);
      const texts = [held.ids[row], held.texts[row], held.pairs[row], held.origins[row], say(held.gold[row]), ...said];
      lowered[row] = texts.filter(Boolean).join("\n").toLowerCase();
    }
    return lowered[row];
  }

  function passes(row, first, second, outcome) {
    switch (outcome) {
      case "differ": return first.read[row] !== second.read[row];
      case "same": return first.read[row] === second.read[row];
      case "gained": return isRight(first, row) && !isRight(second, row);
      case "lost": return !isRight(first, row) && isRight(second, row);
      case "wrong": return !isRight(first, row);
      case "both": return !isRight(first, row) && !isRight(second, row);
      case "none": return held.candidates.every((own) => !isRight(own, row));
      case "unread": return first.read[row] === -1;
      default: return true;
    }
  }

  function filter() {
    const first = held.candidates[byId("browse-first").value];
    const second = held.candidates[byId("browse-second").value];
    const outcome = byId("browse-outcome").value;
    const gold = byId("browse-gold").value;
    const group = byId("browse-group").value;
    const wanted = byId("browse-search").value.trim().toLowerCase();
    passing = [];
    for (let row = 0; row < held.ids.length; row += 1) {
      if (gold !== "" && held.gold[row] !== Number(gold)) continue;
      if (group !== "" && held.groups[row] !== Number(group)) continue;
      if (!passes(row, first, second, outcome)) continue;
      if (wanted && !searched(row).includes(wanted)) continue;
      passing.push(row);
    }
    start = 0;
    show();
  }

  function answer(own, row, compared) {
    const line = make("tr");
    if (compared) line.className = "compared";
    const head = make("th");
    head.scope = "row";
    head.append(make("bdi", own.name));
    line.append(head);
    if (matched) {
      const right = isRight(own, row);
      const sign = make("td", undefined, right ? "right" : "wrong");
      const drawn = make("span", right ? "✓" : "✗");
      drawn.setAttribute("aria-hidden", "true");
      sign.append(drawn, make("span", right ? "right" : "wrong", "unseen"));
      line.append(sign);
    }
    const cell = make("td", undefined, "answer");
    const read = make("bdi", own.read[row] === ASKED ? "not asked" : own.read[row] < 0 ? "no readable answer" : words[own.read[row]]);
    cell.append(read);
    if (own.raw.length && own.raw[row] >= 0 && own.raw[row] !== own.read[row]) {
      const raw = make("div", words[own.raw[row]], "raw");
      raw.dir = "auto";
      cell.append(raw);
    }
    line.append(cell);
    if (matched) line.append(make("td", own.trainings > 1 ? `${own.right[row]} of ${own.trainings} right` : "", "n"));
    return line;
  }

  function card(row) {
    const made = make("li", undefined, "example");
    const place = held.shown.length ? held.shown[row] : -1;
    if (place >= 0) {
      const picture = make("img");
      picture.src = held.pictures[place];
      picture.alt = `Image of row ${held.ids[row]}`;
      made.append(picture);
    }
    const body = make("div", undefined, "body");
    const head = make("p", undefined, "id");
    head.append(make("bdi", held.ids[row]));
    if (held.groups.length && held.groups[row] >= 0) head.append(" · ", make("bdi", held.groupNames[held.groups[row]]));
    body.append(head);
    for (const text of [held.texts[row], held.pairs.length ? held.pairs[row] : null]) {
      if (!text) continue;
      const told = make("p", text, "text");
      told.dir = "auto";
      body.append(told);
    }
    const gold = make("p", "Gold: ", "gold");
    gold.append(make("bdi", say(held.gold[row])));
    body.append(gold);
    const table = make("table");
    const lines = make("tbody");
    const compared = new Set([Number(byId("browse-first").value), Number(byId("browse-second").value)]);
    held.candidates.forEach((own, at) => lines.append(answer(own, row, compared.has(at))));
    table.append(make("caption", `Answers to row ${held.ids[row]}`, "unseen"), lines);
    const scroll = make("div", undefined, "scroll");
    scroll.append(table);
    body.append(scroll);
    made.append(body);
    return made;
  }

  function show() {
    const shown = passing.slice(start, start + PAGE_ROWS);
    byId("examples-list").replaceChildren(...shown.map(card));
    byId("examples-list").start = start + 1;
    const total = held.ids.length;
    byId("browse-count").textContent = `${passing.length.toLocaleString("en")} of ${total.toLocaleString("en")} rows`;
    byId("browse-where").textContent = passing.length ? `${(start + 1).toLocaleString("en")}–${(start + shown.length).toLocaleString("en")}` : "";
    byId("browse-previous").disabled = start === 0;
    byId("browse-next").disabled = start + PAGE_ROWS >= passing.length;
  }

  function turn(by) {
    start = Math.max(0, start + by * PAGE_ROWS);
    show();
    byId("browse-count").scrollIntoView({ block: "start" });
  }

  fillChoices();
  const form = document.querySelector("#browser form");
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("change", filter);
  let waiting = 0;
  byId("browse-search").addEventListener("input", () => {
    clearTimeout(waiting);
    waiting = setTimeout(filter, 150);
  });
  byId("browse-previous").addEventListener("click", () => turn(-1));
  byId("browse-next").addEventListener("click", () => turn(1));
  byId("browser").hidden = false;
  filter();
}

/* Contents fold on a narrow screen; everything is open on paper. */

const contents = document.querySelector("nav details");
if (window.matchMedia("(max-width: 60rem)").matches) contents.open = false;
let folded = [];
window.addEventListener("beforeprint", () => {
  folded = [...document.querySelectorAll("details:not([open])")];
  for (const one of folded) one.open = true;
});
window.addEventListener("afterprint", () => {
  for (const one of folded) one.open = false;
});

if (page.examples) startBrowser(page.examples);
drawAll();
