"use strict";
// The interactive frontier: choose axes, backbone and guidance; point at a cell to see it; click to pin two.
(() => {
  if (!DATA.cells.length) {
    for (const id of ["controls", "plot", "detail", "plot-help", "pins"]) $(id).hidden = true;
    return;
  }
  const linked = (key, valid, otherwise) => (valid.includes(address.get(key)) ? address.get(key) : otherwise);
  const keys = DATA.axes.map((a) => a.key);
  const state = {
    x: linked("x", keys, DATA.x), y: linked("y", keys, DATA.y),
    backbone: linked("backbone", DATA.backbones, DATA.backbones[0]), guidance: linked("guidance", DATA.guidances, DATA.guidance),
  };
  let chart = null;
  let order = []; // the points the arrow keys walk through
  let current = -1;

  const numbers = (cell) => numbersUnder(cell, state.guidance);
  const at = (cell) => {
    const row = numbers(cell);
    return row[state.x] && row[state.y] ? { x: row[state.x][0], y: row[state.y][0], cell } : null;
  };
  const known = (p) => p && Number.isFinite(p.x) && Number.isFinite(p.y);
  const mean = (points) => ({
    x: points.reduce((sum, p) => sum + p.x, 0) / points.length,
    y: points.reduce((sum, p) => sum + p.y, 0) / points.length,
  });
  // The exact optimum of a family's reward at its lambdas: weighted samples, so without guidance only.
  const optimum = (family) => (state.guidance === DATA.guidance ? family.tilt : [])
    .map((p) => ({ x: p.at[state.x], y: p.at[state.y] })).filter(known);
  // The values an axis must hold: every shown point, both ends of its interval, and the optimum.
  function range(key, shown) {
    const rows = shown.flatMap((f) => f.points.flat()).map((c) => numbers(c)[key]).filter(Boolean);
    const side = key === state.x ? "x" : "y";
    const best = shown.flatMap((f) => optimum(f).map((p) => p[side]));
    const values = [...rows.flatMap((r) => r.slice(0, 3)), ...best].filter((v) => v !== null && Number.isFinite(v));
    return values.length ? [Math.min(...values), Math.max(...values)] : [0, 1];
  }
  // A distance whose largest value is many times the smallest would cram the good ones: logarithmic.
  function scale(axis) {
    const shown = DATA.families.filter((f) => f.backbone === state.backbone && !kept.hidden.has(f.run));
    const [low, high] = range(axis.key, shown);
    const log = axis.kind === "fd" && low > 0 && high / low > 3;
    const style = { ...axisStyle(title(axis) + (log ? ", log scale" : "")), type: log ? "logarithmic" : "linear" };
    if (log) return { ...style, min: low / 1.12, max: high * 1.12, afterBuildTicks: (made) => { made.ticks = logTicks(made.min, made.max); }, ticks: { ...style.ticks, callback: shortNumber } };
    const room = 0.07 * (high - low || Math.abs(high) || 1);
    return { ...style, min: low - room, max: high + room };
  }
  // One digit and zeros, as in the figures 1, 2 and 5 only where there would be many: Chart.js' own begin at odd numbers.
  function logTicks(low, high) {
    const decades = Array.from({ length: Math.floor(Math.log10(high)) - Math.floor(Math.log10(low)) + 1 }, (_, i) => Math.floor(Math.log10(low)) + i);
    const made = (digits) => decades.flatMap((d) => digits.map((k) => Number(`${k}e${d}`))).filter((v) => low <= v && v <= high).map((value) => ({ value }));
    const all = made([1, 2, 3, 4, 5, 6, 7, 8, 9]);
    return all.length > 9 ? made([1, 2, 5]) : all;
  }
  const title = (axis) => {
    const arrow = { lower: " — lower is better", higher: " — higher is better", closer: "" }[axis.better];
    return axis.label + arrow;
  };

  function path(family) {
    const points = family.points.map((cells) => {
      const found = cells.map(at).filter(known);
      if (!found.length) return null;
      const first = DATA.cells[found[0].cell];
      return { ...mean(found), lambda: first.run === family.run ? weight(first) : "" };
    });
    return points.filter(known);
  }

  function beats(a, b) {
    const worse = (axis, u, v) => (axis.better === "higher" ? u < v : u > v);
    const x = axesByKey.get(state.x);
    const y = axesByKey.get(state.y);
    const none = !worse(x, a.x, b.x) && !worse(y, a.y, b.y);
    return none && (worse(x, b.x, a.x) || worse(y, b.y, a.y));
  }

  function datasets() {
    const shown = DATA.families.filter((f) => f.backbone === state.backbone && !kept.hidden.has(f.run));
    const made = [];
    order = [];
    const means = [];
    for (const family of shown) {
      const colour = familyColour(family.run);
      const line = path(family);
      if (!line.length) continue;
      const { marker, turned, rim } = DATA.runs[family.run];
      const shape = { pointStyle: marker, pointRotation: turned };
      means.push(...line);
      made.push({
        data: line, showLine: true, label: family.run, borderColor: colour, backgroundColor: colour, borderWidth: 2,
        ...shape, pointBorderWidth: rim, pointRadius: 6, pointHoverRadius: 6, kind: "mean",
      });
      const best = optimum(family);
      if (best.length) {
        made.push({
          data: best, showLine: true, label: family.run, borderColor: colour, backgroundColor: "transparent", borderWidth: 1.5,
          borderDash: [2, 4], pointStyle: "circle", pointRadius: 4, pointHoverRadius: 4, kind: "tilt",
        });
      }
      const cells = family.points.flat().filter((c) => DATA.cells[c].run === family.run);
      const seeds = cells.map(at).filter(known);
      order.push(...seeds.map((p) => ({ dataset: made.length, cell: p.cell, x: p.x, y: p.y })));
      made.push({
        data: seeds, label: family.run, borderColor: colour, backgroundColor: colour + "55", ...shape,
        pointRadius: 3.5, pointHoverRadius: 8, kind: "seed",
      });
    }
    const front = means.filter((p) => !means.some((q) => beats(q, p))).sort((a, b) => a.x - b.x);
    if (front.length > 1) {
      made.push({
        data: front, showLine: true, stepped: axesByKey.get(state.x).better === "higher" ? "after" : "before",
        borderColor: variable("--muted"), borderDash: [5, 4], borderWidth: 1, pointRadius: 0, pointHitRadius: 0, kind: "front",
      });
    }
    return made;
  }

  // Intervals, the real images' values, lambdas and run names: drawn straight on, so that no legend is needed.
  const annotations = {
    id: "annotations",
    beforeDatasetsDraw({ ctx, chartArea: area, scales: { x, y } }) {
      ctx.save();
      ctx.strokeStyle = variable("--muted");
      ctx.setLineDash([1, 3]);
      for (const [axis, scale, vertical] of [[state.x, x, true], [state.y, y, false]]) {
        const real = DATA.real[axis];
        if (real === null || real === undefined || real < scale.min || real > scale.max) continue;
        const pixel = scale.getPixelForValue(real);
        ctx.beginPath();
        vertical ? ctx.moveTo(pixel, area.top) : ctx.moveTo(area.left, pixel);
        vertical ? ctx.lineTo(pixel, area.bottom) : ctx.lineTo(area.right, pixel);
        ctx.stroke();
      }
      ctx.restore();
    },
    afterDatasetsDraw({ ctx, data, chartArea: area, scales: { x, y } }) {
      ctx.save();
      for (const set of data.datasets.filter((s) => s.kind === "seed")) {
        ctx.strokeStyle = set.borderColor + "77";
        for (const point of set.data) {
          const row = numbers(point.cell);
          const [px, py] = [x.getPixelForValue(point.x), y.getPixelForValue(point.y)];
          ctx.beginPath();
          const [xl, xh] = [row[state.x][1], row[state.x][2]];
          const [yl, yh] = [row[state.y][1], row[state.y][2]];
          if (xl !== null && xh !== null) { ctx.moveTo(x.getPixelForValue(xl), py); ctx.lineTo(x.getPixelForValue(xh), py); }
          if (yl !== null && yh !== null) { ctx.moveTo(px, y.getPixelForValue(yl)); ctx.lineTo(px, y.getPixelForValue(yh)); }
          ctx.stroke();
        }
      }
      const pixels = (set) => set.data.map((p) => [x.getPixelForValue(p.x), y.getPixelForValue(p.y)]);
      const labels = new Labels(ctx, area);
      const lines = data.datasets.filter((s) => s.kind === "mean");
      for (const set of data.datasets.filter((s) => s.kind === "mean" || s.kind === "tilt")) {
        labels.line(pixels(set));
        pixels(set).forEach(([px, py]) => labels.mark(px, py));
      }
      for (const set of data.datasets.filter((s) => s.kind === "front")) {
        const corners = pixels(set).flatMap((p, i, all) => (i ? [set.stepped === "before" ? [all[i - 1][0], p[1]] : [p[0], all[i - 1][1]], p] : [p]));
        labels.line(corners);
      }
      ctx.font = "600 13px system-ui, sans-serif";
      for (const set of lines) {
        const last = set.data[set.data.length - 1];
        const tries = [[0, -9], [0, 18], [0, 4], [-1, -9], [-1, 18], [-1, 4], [0, -24], [0, 33], [-1, -24], [-1, 33], [0, -40], [0, 48]];
        labels.place(set.label, x.getPixelForValue(last.x), y.getPixelForValue(last.y), set.borderColor, tries);
      }
      ctx.font = "11px system-ui, sans-serif";
      const beside = [[0, 14], [0, -6], [-1, 14], [-1, -6], [0, 4], [-1, 4]];
      for (const set of lines) for (const p of set.data) if (p.lambda) labels.place(p.lambda, x.getPixelForValue(p.x), y.getPixelForValue(p.y), set.borderColor, beside);
      for (const pin of sideBySide.pins) {
        const point = pin && at(pin.cell);
        if (!known(point) || DATA.cells[pin.cell].backbone !== state.backbone) continue;
        ctx.strokeStyle = variable("--text");
        ctx.lineWidth = 2;
        ctx.beginPath();
        ctx.arc(x.getPixelForValue(point.x), y.getPixelForValue(point.y), 11, 0, 7);
        ctx.stroke();
      }
      ctx.restore();
    },
  };

  function sentence(cell) {
    const row = numbers(cell);
    const one = DATA.cells[cell];
    const said = [state.x, state.y].map((key) => `${axesByKey.get(key).label} ${shortNumber(row[key] && row[key][0])}`);
    return `${one.run} ${weight(one)} seed ${one.seed}: ${said.join(", ")}`;
  }

  function show(index, speak) {
    current = index;
    const point = order[index];
    cellCard($("detail"), point.cell, state);
    const element = chart.data.datasets[point.dataset].data.findIndex((p) => p.cell === point.cell);
    chart.setActiveElements([{ datasetIndex: point.dataset, index: element }]);
    chart.update("none");
    tip(point);
    if (speak) $("live").textContent = sentence(point.cell);
  }

  // The point's own two numbers, beside it.
  function tip(point) {
    const [one, row] = [DATA.cells[point.cell], numbers(point.cell)];
    const lines = [state.x, state.y].map((key) => {
      const [value, low, high] = row[key];
      return element("span", `${axesByKey.get(key).label}: ${shortNumber(value)}${low === null || high === null ? "" : ` (${shortNumber(low)} to ${shortNumber(high)})`}`, { class: "line" });
    });
    const box = $("tip");
    box.replaceChildren(element("strong", `${one.run} ${weight(one)} seed ${one.seed}`), ...lines);
    box.hidden = false;
    const [px, py] = [chart.scales.x.getPixelForValue(point.x), chart.scales.y.getPixelForValue(point.y)];
    const room = $("plot").clientWidth - box.offsetWidth;
    box.style.left = `${Math.max(0, Math.min(room, px - box.offsetWidth / 2))}px`;
    box.style.top = `${py > box.offsetHeight + 16 ? py - box.offsetHeight - 14 : py + 14}px`;
  }

  function choose(changes) {
    Object.assign(state, changes);
    for (const [key, value] of Object.entries(changes)) {
      address.set(key, value);
      $({ x: "axis-x", y: "axis-y" }[key] || key).value = value;
    }
    $("question").value = asked();
    if (changes.guidance) fillSeeds(state.guidance);
  }

  function nearest(event) {
    let best = -1;
    let distance = 28;
    order.forEach((point, i) => {
      const d = Math.hypot(chart.scales.x.getPixelForValue(point.x) - event.x, chart.scales.y.getPixelForValue(point.y) - event.y);
      if (d < distance) [best, distance] = [i, d];
    });
    return best;
  }

  function draw() {
    if (chart) chart.destroy();
    const [x, y] = [axesByKey.get(state.x), axesByKey.get(state.y)];
    chart = new Chart($("frontier-chart"), {
      type: "scatter",
      data: { datasets: datasets() },
      plugins: [annotations],
      options: {
        animation: false, maintainAspectRatio: false, responsive: true, events: ["mousemove", "mouseout", "click", "touchstart"],
        layout: { padding: { top: 14, right: 26 } },
        plugins: { legend: { display: false }, tooltip: { enabled: false } },
        scales: { x: scale(x), y: scale(y) },
        interaction: { mode: "nearest", intersect: true },
        onHover: (event) => {
          const found = nearest(event);
          if (found >= 0 && found !== current) show(found, false);
          if (found < 0) [$("tip").hidden, current] = [true, -1];
          event.native.target.classList.toggle("hit", found >= 0);
        },
        onClick: (event) => {
          const found = nearest(event);
          if (found < 0) return;
          show(found, false);
          sideBySide.toggle({ cell: order[found].cell, guidance: state.guidance });
        },
      },
    });
    current = -1;
    $("tip").hidden = true;
    window.frontierPoints = () => order.map((p) => ({ id: DATA.cells[p.cell].id, x: chart.scales.x.getPixelForValue(p.x), y: chart.scales.y.getPixelForValue(p.y) }));
  }

  $("plot").addEventListener("keydown", (event) => {
    if (!order.length) return;
    const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    if (step) show((current + step + order.length) % order.length, true);
    else if ((event.key === "Enter" || event.key === " ") && current >= 0) sideBySide.toggle({ cell: order[current].cell, guidance: state.guidance });
    else if (event.key === "Escape") sideBySide.clear();
    else return;
    event.preventDefault();
  });

  const kinds = { fd: "Distances (FD)", reward: "Rewards", drift: "Image drift", kl: "KL and velocity norms", other: "Other metrics" };
  const lists = Object.entries(kinds).map(([kind, label]) => [label, DATA.axes.filter((a) => a.kind === kind).map((a) => [a.key, a.label])]).filter(([, group]) => group.length);
  options($("axis-x"), lists, state.x);
  options($("axis-y"), lists, state.y);
  options($("backbone"), DATA.backbones.map((b) => [b, b]), state.backbone);
  options($("guidance"), DATA.guidances.map((g) => [g, g]), state.guidance);
  for (const [id, key] of [["axis-x", "x"], ["axis-y", "y"], ["backbone", "backbone"], ["guidance", "guidance"]]) {
    $(id).addEventListener("change", () => { choose({ [key]: $(id).value }); draw(); });
  }
  for (const [id, many] of [["backbone", DATA.backbones], ["guidance", DATA.guidances]]) $(id).parentElement.hidden = many.length < 2;
  // A question chooses both axes; axes of a reader's own answer none of them.
  const asked = () => String(DATA.presets.findIndex((p) => p.x === state.x && p.y === state.y));
  options($("question"), [...DATA.presets.map((p, i) => [String(i), p.label]), ["-1", "own axes"]], asked());
  $("question").addEventListener("change", () => {
    const preset = DATA.presets[Number($("question").value)];
    if (preset) { choose({ x: preset.x, y: preset.y }); draw(); }
  });
  // The page's filters choose for the frontier too.
  let followed = { ...kept };
  onKept.push(() => {
    const wanted = {};
    for (const key of ["backbone", "guidance"]) if (kept[key] && kept[key] !== followed[key]) wanted[key] = kept[key];
    if (kept.space && kept.space !== followed.space && axesByKey.has(`fd@${kept.space}`)) wanted.x = `fd@${kept.space}`;
    followed = { ...kept };
    choose(wanted);
    draw();
  });
  onTheme(draw);
  svgButton($("controls"), "frontier", () => chart);
  fillSeeds(state.guidance);
  sideBySide.open(state, () => chart.update("none"));
})();
