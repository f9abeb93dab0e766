"use strict";
// What every part of the page uses: the data, elements made from text (never markup), numbers, colours, theme, address.
const DATA = JSON.parse(document.getElementById("data").textContent);
const $ = (id) => document.getElementById(id);

function element(tag, text, attributes) {
  const made = document.createElement(tag);
  if (text !== undefined && text !== null) made.textContent = text;
  for (const [name, value] of Object.entries(attributes || {})) made.setAttribute(name, value);
  return made;
}

// Choices are [value, label] or, for a heading with choices of its own, [label, [[value, label], ...]].
function options(select, choices, chosen) {
  select.replaceChildren(...choices.map(([value, label]) => {
    if (!Array.isArray(label)) return element("option", label, { value });
    const group = element("optgroup", null, { label: value });
    group.append(...label.map(([v, l]) => element("option", l, { value: v })));
    return group;
  }));
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
    ticks: { color: variable("--muted"), maxTicksLimit: 8, includeBounds: false },
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

// What a reader chose stands in the address, so that a link shows the same view.
const address = {
  values: new URLSearchParams(location.hash.slice(1).includes("=") ? location.hash.slice(1) : ""),
  get(key) { return this.values.get(key); },
  set(key, value) {
    if (value === "" || value === null || value === undefined) this.values.delete(key);
    else this.values.set(key, value);
    history.replaceState(null, "", `#${this.values}`);
  },
};

// What a reader keeps in sight on the whole page; every part follows when it changes.
const kept = {
  backbone: address.get("only-backbone") || "", space: address.get("only-space") || "", guidance: address.get("only-guidance") || "",
  hidden: new Set((address.get("hide") || "").split(",").filter(Boolean)),
};
const onKept = [];
function keep(changes) {
  Object.assign(kept, changes);
  for (const key of ["backbone", "space", "guidance"]) address.set(`only-${key}`, kept[key]);
  address.set("hide", [...kept.hidden].join(","));
  onKept.forEach((f) => f());
}

// Printing: light colours, everything unfolded, charts drawn anew at the paper's width.
let before = null;
addEventListener("beforeprint", () => {
  before = { theme: document.documentElement.dataset.theme, closed: [...document.querySelectorAll("details:not([open])")] };
  document.documentElement.dataset.theme = "light";
  document.documentElement.classList.add("printing");
  before.closed.forEach((d) => { d.open = true; });
  redraws.forEach((draw) => draw());
});
addEventListener("afterprint", () => {
  if (!before) return;
  if (before.theme) document.documentElement.dataset.theme = before.theme;
  else delete document.documentElement.dataset.theme;
  document.documentElement.classList.remove("printing");
  before.closed.forEach((d) => { d.open = false; });
  before = null;
  redraws.forEach((draw) => draw());
});

// A sample grid with the name of each row's class.
function labelled(image, kind) {
  const body = element("div", null, { class: `labelled ${kind}` });
  const labels = element("ol", null, { class: "labels" });
  labels.append(...DATA.classes.map((name) => element("li", name, { title: name })));
  if (DATA.classes.length <= 24) body.append(labels);
  body.append(image);
  return body;
}

// A sample grid at its full size, with its classes; two grids of the same seeds take turns.
function showLarge(sources, names, blinking = false) {
  const box = $("large");
  const image = element("img", null, { src: sources[0], alt: names[0] });
  image.addEventListener("load", () => {
    const fit = Math.min((0.82 * innerWidth) / image.naturalWidth, (0.74 * innerHeight) / image.naturalHeight);
    image.style.width = `${fit * image.naturalWidth}px`;
  });
  const title = element("h3", names[0]);
  const close = element("button", "Close", { type: "button" });
  close.addEventListener("click", () => box.close());
  const buttons = element("div", null, { class: "buttons" });
  buttons.append(close);
  let now = 0;
  let timer = null;
  const turn = () => { now = 1 - now; image.src = sources[now]; image.alt = names[now]; title.textContent = names[now]; };
  if (sources.length > 1) {
    const blink = element("button", "Blink", { type: "button", "aria-pressed": "false" });
    blink.addEventListener("click", () => {
      if (timer) { clearInterval(timer); timer = null; } else { turn(); timer = setInterval(turn, 700); }
      blink.setAttribute("aria-pressed", String(Boolean(timer)));
    });
    const swap = element("button", "Swap", { type: "button" });
    swap.addEventListener("click", turn);
    buttons.prepend(swap, blink);
  }
  box.replaceChildren(title, buttons, labelled(image, "whole"));
  box.addEventListener("close", () => clearInterval(timer), { once: true });
  box.showModal();
  if (blinking) buttons.querySelector("[aria-pressed]").click();
}
