"use strict";
// One trained checkpoint a row, from the data the frontier shows: the only table that tells seeds apart.
const fillSeeds = (() => {
  const table = $("seeds-table");
  const axes = DATA.axes.map((a, i) => ({ ...a, i })).filter((a) => a.kind !== "other");
  if (!table || !DATA.cells.length) return () => {};
  $("seeds").hidden = false;
  const head = element("tr");
  head.append(...["backbone", "run", "lambda", "seed"].map((h) => element("th", h, { scope: "col" })));
  head.append(...axes.map((a) => element("th", a.label, { scope: "col", "data-space": a.key.split("@")[1] || "" })));
  table.append(element("thead"), element("tbody"));
  table.tHead.append(head);
  return (guidance) => {
    const rows = DATA.cells.map((cell, i) => {
      const numbers = DATA.rows[`${i}|${guidance}`] || [];
      const row = element("tr", null, { "data-backbone": cell.backbone, "data-run": cell.run });
      const named = [cell.backbone, cell.run, cell.lambda === null ? "" : shortNumber(cell.lambda), cell.seed];
      row.append(...named.map((text) => element("td", text)));
      for (const axis of axes) {
        const [value, low, high] = numbers[axis.i] || [null, null, null];
        const td = element("td", value === null ? "" : shortNumber(value) + " ");
        if (value !== null && low !== null && high !== null) td.append(element("span", `[${shortNumber(low)} to ${shortNumber(high)}]`, { class: "range" }));
        row.append(td);
      }
      return row;
    });
    table.tBodies[0].replaceChildren(...rows);
    table.dispatchEvent(new Event("filled"));
  };
})();
