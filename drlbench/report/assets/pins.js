"use strict";
// Cells as cards: the one that is pointed at, and two that a reader keeps side by side, their samples taking turns.
const axesByKey = new Map(DATA.axes.map((a) => [a.key, a]));
const weight = (cell) => (cell.lambda === null ? "" : `λ ${shortNumber(cell.lambda)}`);

const knownRows = new Map();
// The numbers of a cell by axis: [value, low, high, index of n and signature].
function numbersUnder(cell, guidance) {
  const key = `${cell}|${guidance}`;
  if (!knownRows.has(key)) {
    const pairs = (DATA.rows[key] || []).map((row, i) => [DATA.axes[i].key, row]);
    knownRows.set(key, Object.fromEntries(pairs.filter(([, row]) => row)));
  }
  return knownRows.get(key);
}

// Its numbers, those of the chosen axes `x` and `y` first, its samples and its signature.
function cellCard(target, cell, { x, y, guidance }) {
  const one = DATA.cells[cell];
  const row = numbersUnder(cell, guidance);
  const list = element("dl");
  const keys = [...new Set([x, y, ...DATA.axes.filter((a) => a.kind !== "other").map((a) => a.key)])];
  for (const key of keys.filter((k) => row[k])) {
    const [value, low, high] = row[key];
    const range = low === null || high === null ? "" : ` (${shortNumber(low)} to ${shortNumber(high)})`;
    list.append(element("dt", axesByKey.get(key).label), element("dd", shortNumber(value) + range));
  }
  const name = element("h4", `${one.run} ${weight(one)}`);
  const about = element("p", `${one.backbone}, seed ${one.seed}, guidance ${guidance}` + (one.optimised.length ? `, optimised: ${one.optimised.join(", ")}` : ""), { class: "muted" });
  const parts = [name, about];
  const picture = one.grids[guidance];
  if (picture !== undefined) {
    const open = element("button", null, { type: "button", class: "picture", "aria-label": `Samples of ${one.id} at full size` });
    open.append(labelled(element("img", null, { src: DATA.pictures[picture], alt: `Samples of ${one.id}, guidance ${guidance}; the same tile is the same class and noise in every cell` }), "thumb"));
    open.addEventListener("click", () => sideBySide.enlarge({ cell, guidance }));
    parts.push(open);
  } else parts.push(element("p", "No sample grid was kept.", { class: "muted" }));
  parts.push(list);
  const first = row[x] || row[y];
  if (first && first[3] !== null) {
    const [n, signature] = DATA.origins[first[3]];
    parts.push(element("p", `n = ${n}; ${axesByKey.get(row[x] ? x : y).label}: ${signature}`, { class: "signature" }));
  }
  target.replaceChildren(...parts);
}

const sideBySide = (() => {
  const asPin = (text) => {
    const [id, guidance] = (text || "").split("|");
    const cell = DATA.cells.findIndex((c) => c.id === id);
    return cell < 0 || !DATA.guidances.includes(guidance) ? null : { cell, guidance };
  };
  const pins = [0, 1].map((i) => {
    if (address.get(`pin${i}`) !== null) return asPin(address.get(`pin${i}`));
    return i in DATA.opening ? { cell: DATA.opening[i], guidance: DATA.guidance } : null;
  });
  const picked = [$("pick-0"), $("pick-1")];
  let state = null; // the frontier's axes and guidance
  let told = () => {};

  const pictured = () => pins.filter((p) => p && DATA.cells[p.cell].grids[p.guidance] !== undefined);
  const named = ({ cell }) => `${DATA.cells[cell].backbone} ${DATA.cells[cell].run} ${weight(DATA.cells[cell])} seed ${DATA.cells[cell].seed}`;

  function show() {
    pins.forEach((entry, i) => {
      const target = $(`pin-${i}`);
      picked[i].value = entry ? String(entry.cell) : "";
      target.parentElement.hidden = !pins[0] && !pins[1];
      if (entry) cellCard(target, entry.cell, { ...state, guidance: entry.guidance });
      else target.replaceChildren(element("p", "Choose a second cell to compare.", { class: "muted" }));
    });
    $("blink").hidden = pictured().length < 2;
    told();
  }

  function keep(i, entry) {
    pins[i] = entry;
    pins.forEach((p, k) => address.set(`pin${k}`, p ? `${DATA.cells[p.cell].id}|${p.guidance}` : "none"));
    show();
  }

  function toggle(entry) {
    const same = pins.findIndex((p) => p && p.cell === entry.cell && p.guidance === entry.guidance);
    if (same >= 0) keep(same, null);
    else if (!pins[0]) keep(0, entry);
    else {
      if (pins[1]) pins[0] = pins[1];
      keep(1, entry);
    }
  }

  // A grid at full size; from a pinned cell, the other pinned one takes turns with it.
  function enlarge(entry, blinking = false) {
    const others = pins.some((p) => p && p.cell === entry.cell) ? pictured().filter((p) => p.cell !== entry.cell || p.guidance !== entry.guidance) : [];
    const shown = [entry, ...others];
    showLarge(shown.map((p) => DATA.pictures[DATA.cells[p.cell].grids[p.guidance]]), shown.map(named), blinking);
  }

  function open(chosen, after) {
    [state, told] = [chosen, after];
    const groups = DATA.backbones.map((b) => [b, DATA.cells.map((c, i) => [c, i]).filter(([c]) => c.backbone === b)
      .map(([, i]) => [String(i), named({ cell: i })])]).filter(([, cells]) => cells.length);
    picked.forEach((select, i) => {
      options(select, [["", "none"], ...groups]);
      select.addEventListener("change", () => keep(i, select.value === "" ? null : { cell: Number(select.value), guidance: state.guidance }));
    });
    $("blink").addEventListener("click", () => enlarge(pins[0], true));
    show();
  }

  return { pins, toggle, enlarge, open, clear: () => { pins[0] = null; keep(1, null); } };
})();
