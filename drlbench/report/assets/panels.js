"use strict";
// The reward-hacking panel and the training curves.
(() => {
  const rows = DATA.hacking;
  if (!rows.length) {
    if ($("hacking-family")) {
      $("hacking-family").closest(".controls").hidden = true;
      $("hacking-chart").parentElement.hidden = true;
    }
    return;
  }
  const select = $("hacking-family");
  const families = rows.map((r) => (DATA.backbones.length > 1 ? `${r.backbone}: ${r.run}` : r.run));
  options(select, families.map((name, i) => [String(i), name]), String(Math.max(0, families.indexOf(address.get("hacking")))));
  let chart = null;
  const dashes = [[6, 4], [2, 3], [9, 3, 2, 3]];
  const shades = () => (isDark() ? ["#e3c440", "#62bbf0", "#ec9fcb", "#3dcf9f"] : ["#7a6000", "#0067a3", "#9c3f77", "#00704f"]);
  // Both axes put zero at the same height: each has the room above and below zero that either needs, as shares of its size.
  function limits(sets) {
    const spans = ["y", "y2"].map((id) => {
      const values = sets.filter((s) => s.yAxisID === id).flatMap((s) => s.data.map((p) => p.y)).filter(Number.isFinite);
      const [low, high] = [Math.min(0, ...values), Math.max(0, ...values)];
      return { low, high, size: Math.max(high, -low) || 1 };
    });
    const below = 1.1 * Math.max(...spans.map((s) => -s.low / s.size));
    const above = 1.1 * Math.max(...spans.map((s) => s.high / s.size));
    return spans.map((s) => ({ min: -below * s.size, max: above * s.size }));
  }

  function draw() {
    if (chart) chart.destroy();
    const row = rows[Number(select.value)];
    const paid = new Set(row.optimised);
    let hidden = 0;
    const sets = Object.entries(row.gains).map(([name, values]) => {
      const own = paid.has(name);
      return {
        label: `${name} (${own ? "optimised" : "held out"}), gain in σ of base`, yAxisID: "y",
        data: values.map((v, i) => ({ x: row.lambda[i], y: v })), borderColor: own ? familyColour(row.run) : variable("--text"),
        backgroundColor: "transparent", borderWidth: own ? 3 : 2, borderDash: own ? [] : dashes[hidden % 3], pointRadius: 5,
        pointStyle: own ? "circle" : ["crossRot", "cross", "dash"][hidden++ % 3],
      };
    });
    hidden = 0;
    for (const [name, values] of Object.entries(row.distances)) {
      sets.push({
        label: `FD ${name}, log2(base / run)`, yAxisID: "y2", data: values.map((v, i) => ({ x: row.lambda[i], y: v })),
        borderColor: shades()[hidden % 4], backgroundColor: shades()[hidden % 4], borderWidth: 1.5, borderDash: dashes[hidden % 3],
        pointStyle: ["triangle", "rect", "rectRot", "star"][hidden++ % 4], pointRadius: 5,
      });
    }
    const [left, right] = limits(sets);
    chart = new Chart($("hacking-chart"), {
      type: "line",
      data: { datasets: sets },
      options: {
        animation: false, maintainAspectRatio: false, parsing: false,
        plugins: { legend: { position: "bottom", labels: { color: variable("--text"), usePointStyle: true } } },
        scales: {
          x: { ...axisStyle("λ, the weight of the reward"), type: "logarithmic", ticks: { color: variable("--muted"), callback: (v) => (row.lambda.includes(v) ? shortNumber(v) : "") }, afterBuildTicks: (axis) => { axis.ticks = row.lambda.map((value) => ({ value })); } },
          y: { ...axisStyle("gain, σ of base (up is better)"), ...left },
          y2: { ...axisStyle("FD, log2(base / run) (up is better)"), ...right, position: "right", grid: { drawOnChartArea: false } },
        },
      },
    });
  }
  select.addEventListener("change", () => { address.set("hacking", families[Number(select.value)]); draw(); });
  onTheme(draw);
  svgButton(select.closest(".controls"), "reward-hacking", () => chart);
})();

(() => {
  const withCurves = Object.keys(DATA.curves).map(Number);
  if (!withCurves.length) return;
  $("no-curves").hidden = true;
  $("curve-panel").hidden = false;
  const groups = new Map();
  for (const i of withCurves) {
    const c = DATA.cells[i];
    const name = `${c.backbone}: ${c.run}${c.lambda === null ? "" : ` λ ${shortNumber(c.lambda)}`}`;
    groups.set(name, [...(groups.get(name) || []), i]);
  }
  let chart = null;
  const partName = (p) => `round ${p.round}: ${p.kind}`;
  const chosen = () => groups.get($("curve-cell").value);
  const part = (cell) => DATA.curves[cell].find((p) => partName(p) === $("curve-part").value);
  const unique = (values) => [...new Set(values)];
  // What a reader looks for first: a reward, else a loss, else whatever there is.
  const telling = (names) => names.find((n) => n.includes("reward")) || names.find((n) => n.includes("loss")) || names[0];

  function parts() {
    const before = $("curve-part").value || address.get("curve-part");
    const names = unique(chosen().flatMap((c) => DATA.curves[c].map(partName)));
    options($("curve-part"), names.map((n) => [n, n]), names.includes(before) ? before : names[names.length - 1]);
    series();
  }

  function series() {
    const before = $("curve-series").value || address.get("curve-series");
    const names = unique(chosen().flatMap((c) => Object.keys((part(c) || { series: {} }).series)));
    const wanted = names.includes(before) ? before : telling(names);
    options($("curve-series"), names.map((n) => [n, n]), wanted);
    draw();
  }

  function draw() {
    if (chart) chart.destroy();
    const name = $("curve-series").value;
    const dashes = [[], [6, 4], [2, 3], [9, 3, 2, 3]];
    const sets = chosen().filter((c) => part(c) && part(c).series[name]).map((c, i) => {
      const p = part(c);
      return {
        label: `seed ${DATA.cells[c].seed}`, data: p.step.map((s, k) => ({ x: s, y: p.series[name][k] })), borderDash: dashes[i % 4],
        borderColor: familyColour(DATA.cells[c].run), backgroundColor: "transparent", borderWidth: 2, pointRadius: 0,
      };
    });
    chart = new Chart($("curve-chart"), {
      type: "line",
      data: { datasets: sets },
      options: {
        animation: false, maintainAspectRatio: false, parsing: false,
        plugins: { legend: { position: "bottom", labels: { color: variable("--text"), usePointStyle: true, pointStyle: "line", pointStyleWidth: 34 } } },
        scales: { x: { ...axisStyle("step"), type: "linear" }, y: axisStyle(name) },
      },
    });
    const words = chosen().map((c) => part(c)).filter((p) => p && Object.keys(p.summary).length);
    $("curve-summary").textContent = words.map((p, i) => `seed ${DATA.cells[chosen()[i]].seed}: ` + Object.entries(p.summary).map(([k, v]) => `${k} ${typeof v === "number" ? shortNumber(v) : v}`).join(", ")).join("; ");
  }

  const rewarded = (cells) => cells.some((c) => DATA.curves[c].some((p) => Object.keys(p.series).some((n) => n.includes("reward"))));
  const opening = [...groups].find(([, cells]) => rewarded(cells)) || [...groups][0];
  const linked = address.get("curve-cell");
  options($("curve-cell"), [...groups.keys()].map((n) => [n, n]), groups.has(linked) ? linked : opening[0]);
  for (const [id, follow] of [["curve-cell", parts], ["curve-part", series], ["curve-series", draw]]) {
    $(id).addEventListener("change", () => { address.set(id, $(id).value); follow(); });
  }
  onTheme(parts);
  svgButton($("curve-cell").closest(".controls"), "training-curves", () => chart);
})();
