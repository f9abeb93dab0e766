"use strict";
// Texts beside the marks of a chart: each at the nearest place that covers no other text and no mark, and fewest lines.
class Labels {
  constructor(context, area) {
    Object.assign(this, { context, area, taken: [], spots: [] });
  }

  mark(x, y) { this.taken.push([x - 6, y - 6, 12, 12]); }

  // A drawn line through [x, y] points: texts keep off it where they can.
  line(points) {
    points.slice(1).forEach(([x, y], i) => {
      const [left, top] = points[i];
      const steps = Math.max(1, Math.round(Math.hypot(x - left, y - top) / 6));
      for (let k = 0; k <= steps; k++) this.spots.push([left + ((x - left) * k) / steps, top + ((y - top) * k) / steps]);
    });
  }

  // `tries`: [side, drop] from (x, y) to the text's baseline, the nearest first; a side of -1 is left of the mark.
  place(text, x, y, colour, tries) {
    const { context, area } = this;
    const width = context.measureText(text).width;
    const open = tries.map(([side, drop]) => {
      const left = side < 0 ? x - width - 9 : x + 9;
      return [Math.max(area.left + 2, Math.min(left, area.right - width - 2)), Math.max(area.top + 10, Math.min(y + drop, area.bottom - 4))];
    }).filter(([left, base]) => !this.taken.some((t) => left < t[0] + t[2] && t[0] < left + width && base - 10 < t[1] + t[3] && t[1] < base + 3));
    if (!open.length) return;
    const over = open.map(([left, base]) => this.spots.filter(([px, py]) => left < px && px < left + width && base - 10 < py && py < base + 3).length);
    const [left, base] = open[over.indexOf(Math.min(...over))];
    this.taken.push([left, base - 10, width, 13]);
    Object.assign(context, { strokeStyle: variable("--bg"), lineWidth: 3, lineJoin: "round", fillStyle: colour });
    context.strokeText(text, left, base); // a rim in the background's colour, where it does cross a line
    context.fillText(text, left, base);
  }
}
