"use strict";
// What every part of the page uses: the data, elements made from text (never markup), numbers, colours, theme, tables.
const DATA = JSON.parse(document.getElementById("data").textContent);
const $ = (id) => document.getElementById(id);

function element(tag, text, attributes) {
  const made = document.createElement(tag);
  if (text !== undefined && text !== null) made.textContent = text;
  for (const [name, value] of Object.entries(attributes || {})) made.setAttribute(name, value);
  return made;
}

function options(select, choices, chosen) {
  select.replaceChildren(...choices.map(([value, label]) => element("option", label, { value })));
  if (chosen !== undefined) select.value = chosen;
}

function shortNumber(value) {
  if (value === null || value === undefined || !Number.isFinite(value)) return "–";
  const size = Math.abs(value);
  if (size !== 0 && (size >= 1e6 || size < 1e-4)) return value.toExponential(2);
  return String(Number(value.toPrecision(4))).replace("-", "−");
}

function variable(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

function isDark() {
  const chosen = document.documentElement.dataset.theme;
  return chosen ? chosen === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
}

function familyColour(run) {
  const style = DATA.runs[run];
  return style ? style[isDark() ? "dark" : "light"] : variable("--text");
}

function axisStyle(title) {
  return {
    title: { display: true, text: title, color: variable("--text"), font: { size: 13 } },
    grid: { color: variable("--grid") },
    ticks: { color: variable("--muted"), maxTicksLimit: 8 },
  };
}

// Charts are drawn again when the theme changes: a canvas does not follow the style sheet.
const redraws = [];
function onTheme(draw) {
  redraws.push(draw);
  draw();
}

function showTheme() {
  const dark = isDark();
  $("theme").setAttribute("aria-pressed", String(dark));
  $("theme").textContent = dark ? "Light" : "Dark";
}

$("theme").addEventListener("click", () => {
  document.documentElement.dataset.theme = isDark() ? "light" : "dark";
  showTheme();
  redraws.forEach((draw) => draw());
});
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
  showTheme();
  redraws.forEach((draw) => draw());
});
showTheme();

// A cell such as "−1.50 ± 0.09", "2.8x" or "over 99 %" sorts by its number, anything else as text, empty cells last.
function sortKey(text) {
  const clean = text.replaceAll("−", "-").trim();
  const found = clean.match(/^(?:over |under )?(-?\d+(?:\.\d+)?(?:e[+-]?\d+)?)/);
  return found ? Number(found[1]) : clean === "" || clean === "–" ? null : clean.toLowerCase();
}

function compareKeys(a, b) {
  if (a === null || b === null) return (a === null) - (b === null);
  if (typeof a !== typeof b) return typeof a === "number" ? -1 : 1;
  return a < b ? -1 : a > b ? 1 : 0;
}

for (const table of document.querySelectorAll("table.sortable")) {
  const headings = [...table.tHead.rows[0].cells];
  headings.forEach((heading, column) => {
    const button = element("button", heading.textContent, { type: "button" });
    heading.replaceChildren(button);
    button.addEventListener("click", () => {
      const falling = heading.getAttribute("aria-sort") === "ascending";
      headings.forEach((h) => h.removeAttribute("aria-sort"));
      heading.setAttribute("aria-sort", falling ? "descending" : "ascending");
      const body = table.tBodies[0];
      const rows = [...body.rows].filter((r) => !r.classList.contains("real"));
      const keyed = rows.map((row) => [sortKey(row.cells[column].textContent), row]);
      keyed.sort(([a], [b]) => (falling && a !== null && b !== null ? compareKeys(b, a) : compareKeys(a, b)));
      body.prepend(...keyed.map(([, row]) => row));
    });
  });
}
