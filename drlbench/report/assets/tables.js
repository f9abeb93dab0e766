"use strict";
// Tables: sort by a heading, keep the rows and columns a reader asks for, take them away as CSV.
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

// Columns that stay in sight: each begins where those before it end.
function stick(table) {
  let left = 0;
  [...table.rows[0].cells].slice(0, Number(table.dataset.sticky)).forEach((cell, i) => {
    table.style.setProperty(`--stick${i + 1}`, `${left}px`);
    left += cell.offsetWidth;
  });
}
const stuck = [...document.querySelectorAll("table[data-sticky]")].filter((t) => t.rows.length);
new ResizeObserver(() => stuck.forEach(stick)).observe(document.body);

[...document.querySelectorAll("table.sortable")].forEach((table, number) => {
  if (!table.tHead) return;
  const headings = [...table.tHead.rows[0].cells];
  const titles = headings.map((h) => h.textContent);
  headings.forEach((heading, column) => {
    const button = element("button", heading.textContent, { type: "button" });
    heading.replaceChildren(button);
    heading.dataset.title = titles[column]; // for paper
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

  const region = table.closest(".scroll");
  const bar = element("div", null, { class: "controls beside" });
  const inputs = (table.classList.contains("short") ? [] : ["rows", "columns"]).map((what) => {
    const label = element("label", `Only ${what} with `);
    const input = element("input", null, { type: "search", size: "14" });
    label.append(input);
    bar.append(label);
    const key = `t${number}${what[0]}`;
    input.value = address.get(key) || "";
    input.addEventListener("input", () => { address.set(key, input.value); filter(); });
    return input;
  });
  const csv = element("button", "CSV", { type: "button", class: "small", "aria-label": `Download ${region.getAttribute("aria-label")} as CSV` });
  csv.addEventListener("click", () => download(`${region.getAttribute("aria-label").replace(/[^\w]+/g, "-").toLowerCase()}.csv`, "text/csv", tableAsCsv(table)));
  bar.append(csv);
  if (!inputs.length) bar.classList.add("raised"); // a button alone stands beside the heading
  region.before(bar);

  // Words are alternatives: "drl sft" keeps rows with either.
  function filter() {
    const [rows = [], columns = []] = inputs.map((input) => input.value.toLowerCase().split(/\s+/).filter(Boolean));
    const has = (words, text) => !words.length || words.some((w) => text.toLowerCase().includes(w));
    const other = (of) => Boolean(of) && kept.space !== "" && of !== kept.space;
    const gone = headings.map((cell, i) => i > 0 && (!has(columns, titles[i]) || other(cell.dataset.space)));
    for (const row of table.tBodies[0].rows) {
      const { backbone, run, rival, space } = row.dataset;
      const elsewhere = backbone !== undefined && kept.backbone !== "" && backbone !== kept.backbone;
      const unwanted = elsewhere || kept.hidden.has(run) || kept.hidden.has(rival) || other(space);
      row.hidden = !row.classList.contains("real") && (unwanted || !has(rows, row.textContent));
      [...row.cells].forEach((cell, i) => { cell.hidden = gone[i]; });
    }
    headings.forEach((cell, i) => { cell.hidden = gone[i]; });
  }
  filter();
  onKept.push(filter);
  table.addEventListener("filled", () => { headings.forEach((h) => h.removeAttribute("aria-sort")); filter(); stick(table); });
});
