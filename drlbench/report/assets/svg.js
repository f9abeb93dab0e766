"use strict";
// What the page shows as files: charts and pictures as SVG, tables as CSV.
// Records the canvas calls Chart.js makes as SVG elements; only what it calls is here.
class SvgRecorder {
  constructor(canvasContext, width, height) {
    Object.assign(this, { real: canvasContext, width, height, parts: [], stack: [], path: "", matrix: [1, 0, 0, 1, 0, 0], dash: [] });
    this.clips = 0;
    this.clipId = "";
    Object.assign(this, { fillStyle: "#000", strokeStyle: "#000", lineWidth: 1, font: "12px sans-serif", textAlign: "start", textBaseline: "alphabetic", globalAlpha: 1 });
  }
  state() { return { matrix: [...this.matrix], dash: this.dash, clipId: this.clipId, fillStyle: this.fillStyle, strokeStyle: this.strokeStyle, lineWidth: this.lineWidth, font: this.font, textAlign: this.textAlign, textBaseline: this.textBaseline, globalAlpha: this.globalAlpha }; }
  save() { this.stack.push(this.state()); }
  restore() { Object.assign(this, this.stack.pop() || {}); }
  translate(x, y) { const m = this.matrix; m[4] += m[0] * x + m[2] * y; m[5] += m[1] * x + m[3] * y; }
  rotate(a) { const [p, q, r, s, e, f] = this.matrix; const [c, n] = [Math.cos(a), Math.sin(a)]; this.matrix = [p * c + r * n, q * c + s * n, r * c - p * n, s * c - q * n, e, f]; }
  scale(x, y) { const m = this.matrix; m[0] *= x; m[1] *= x; m[2] *= y; m[3] *= y; }
  setTransform() { this.matrix = [1, 0, 0, 1, 0, 0]; }
  resetTransform() { this.setTransform(); }
  at(x, y) { const m = this.matrix; return `${(m[0] * x + m[2] * y + m[4]).toFixed(2)} ${(m[1] * x + m[3] * y + m[5]).toFixed(2)}`; }
  beginPath() { this.path = ""; }
  moveTo(x, y) { this.path += `M${this.at(x, y)}`; }
  lineTo(x, y) { this.path += `${this.path ? "L" : "M"}${this.at(x, y)}`; }
  bezierCurveTo(a, b, c, d, x, y) { this.path += `C${this.at(a, b)} ${this.at(c, d)} ${this.at(x, y)}`; }
  closePath() { this.path += "Z"; }
  rect(x, y, w, h) { this.moveTo(x, y); this.lineTo(x + w, y); this.lineTo(x + w, y + h); this.lineTo(x, y + h); this.closePath(); }
  arc(x, y, r, from, to) { this.ellipse(x, y, r, r, 0, from, to); }
  ellipse(x, y, across, up, turned, from, to) { // unturned is all that Chart.js asks for
    const steps = 24;
    for (let i = 0; i <= steps; i++) { const a = from + ((to - from) * i) / steps; this.lineTo(x + across * Math.cos(a), y + up * Math.sin(a)); }
  }
  clip() { this.clipId = `clip${this.clips++}`; this.parts.push(`<clipPath id="${this.clipId}"><path d="${this.path}"/></clipPath>`); }
  paint(attributes) { if (this.path) this.parts.push(`<path d="${this.path}" opacity="${this.globalAlpha}"${this.clipId ? ` clip-path="url(#${this.clipId})"` : ""} ${attributes}/>`); }
  fill() { this.paint(`fill="${this.fillStyle}"`); }
  stroke() { this.paint(`fill="none" stroke="${this.strokeStyle}" stroke-width="${this.lineWidth}" stroke-dasharray="${this.dash.join(" ")}"`); }
  fillRect(x, y, w, h) { const kept = this.path; this.path = ""; this.rect(x, y, w, h); this.fill(); this.path = kept; }
  strokeRect(x, y, w, h) { const kept = this.path; this.path = ""; this.rect(x, y, w, h); this.stroke(); this.path = kept; }
  clearRect() {}
  setLineDash(dash) { this.dash = dash; }
  getLineDash() { return this.dash; }
  measureText(text) { this.real.font = this.font; return this.real.measureText(text); }
  fillText(text, x, y) { this.write(text, x, y, `fill="${this.fillStyle}"`); }
  strokeText(text, x, y) { this.write(text, x, y, `fill="none" stroke="${this.strokeStyle}" stroke-width="${this.lineWidth}" stroke-linejoin="round"`); }
  write(text, x, y, colours) {
    const anchor = { center: "middle", right: "end", end: "end" }[this.textAlign] || "start";
    const base = { middle: "central", top: "hanging", bottom: "text-after-edge", hanging: "hanging" }[this.textBaseline] || "auto";
    const safe = String(text).replace(/[&<>]/g, (c) => ({ "&": "&amp;", "<": "&lt;", ">": "&gt;" })[c]);
    const font = this.font.match(/^(?:(bold|\d{3}|normal) )?.*?([\d.]+)px/) || [null, "normal", "12"];
    this.parts.push(`<text x="${x}" y="${y}" transform="matrix(${this.matrix.join(" ")})" ${colours} font-family="sans-serif" font-size="${font[2]}" font-weight="${font[1] || "normal"}" text-anchor="${anchor}" dominant-baseline="${base}">${safe}</text>`);
  }
  text() { return `<svg xmlns="http://www.w3.org/2000/svg" width="${this.width}" height="${this.height}" viewBox="0 0 ${this.width} ${this.height}"><rect width="100%" height="100%" fill="${variable("--bg")}"/>${this.parts.join("\n")}</svg>\n`; }
}

function chartAsSvg(chart) {
  const recorder = new SvgRecorder(chart.ctx, chart.width, chart.height);
  const controllers = chart.data.datasets.map((_, i) => chart.getDatasetMeta(i).controller);
  const owners = [[chart, "ctx"], ...chart.boxes.filter((b) => b.ctx).map((b) => [b, "ctx"]), ...controllers.map((c) => [c, "_ctx"])];
  // A line with segments is drawn call by call; otherwise as a Path2D, which cannot be read.
  for (const line of chart.data.datasets.map((_, i) => chart.getDatasetMeta(i).dataset).filter(Boolean)) {
    owners.push([line, "options"]);
  }
  const kept = owners.map(([owner, key]) => owner[key]);
  owners.forEach(([owner, key], i) => { owner[key] = key === "options" ? Object.create(kept[i], { segment: { value: {} } }) : recorder; });
  try { chart.draw(); } finally { owners.forEach(([owner, key], i) => { owner[key] = kept[i]; }); }
  return recorder.text();
}

function download(name, type, text) {
  const link = element("a", null, { download: name, href: URL.createObjectURL(new Blob([text], { type })) });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}

// A text cell that a spreadsheet would run as a formula gets an apostrophe.
function tableAsCsv(table) {
  const cell = (node) => {
    const text = node.innerText.replace(/\s*\n\s*/g, "; ").trim();
    const shielded = /^[=+\-@]/.test(text) && !/^-?[\d.]+/.test(text) ? `'${text}` : text;
    return /[",\n]/.test(shielded) ? `"${shielded.replaceAll('"', '""')}"` : shielded;
  };
  const rows = [...table.rows].filter((r) => !r.hidden);
  return rows.map((r) => [...r.cells].filter((c) => !c.hidden).map(cell).join(",")).join("\n") + "\n";
}

function svgButton(beside, name, chart) {
  const button = element("button", "SVG", { type: "button", class: "small", "aria-label": `Download ${name} as SVG` });
  button.addEventListener("click", () => download(`${name}.svg`, "image/svg+xml", chartAsSvg(chart())));
  beside.append(button);
}

for (const picture of document.querySelectorAll("figure[data-name]")) {
  const button = element("button", "SVG", { type: "button", class: "small", "aria-label": `Download ${picture.dataset.name} as SVG` });
  button.addEventListener("click", () => download(`${picture.dataset.name}.svg`, "image/svg+xml", atob(picture.querySelector("img").src.split(",")[1]).replace(/[\x80-\xff]+/g, (bytes) => new TextDecoder().decode(Uint8Array.from(bytes, (c) => c.charCodeAt(0))))));
  picture.querySelector("figcaption").append(" ", button);
}
