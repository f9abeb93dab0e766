"use strict";
// One set of filters for the whole page: backbone, space, guidance and runs, kept in the address.
(() => {
  const bar = $("filters");
  if (!bar || !DATA.cells.length) return;
  const spaces = [...new Set(DATA.axes.map((a) => a.key.split("@")[1]).filter(Boolean))];
  for (const [key, name, values] of [["backbone", "Backbone", DATA.backbones], ["space", "Space", spaces], ["guidance", "Guidance", DATA.guidances]]) {
    if (values.length < 2) continue;
    const label = element("label", `${name} `);
    const select = element("select", null, { id: `only-${key}` });
    options(select, [["", "all"], ...values.map((v) => [v, v])], kept[key]);
    select.addEventListener("change", () => keep({ [key]: select.value }));
    label.append(select);
    bar.append(label);
  }
  const runs = element("span", null, { class: "buttons", role: "group", "aria-label": "Runs shown" });
  bar.append(runs);
  onTheme(() => runs.replaceChildren(...DATA.order.map((run) => {
    const button = element("button", null, { type: "button", class: "family", "aria-pressed": String(!kept.hidden.has(run)) });
    const swatch = element("span", null, { class: "swatch" });
    swatch.style.background = familyColour(run);
    button.append(swatch, run);
    button.addEventListener("click", () => {
      const hidden = new Set(kept.hidden);
      if (!hidden.delete(run)) hidden.add(run);
      button.setAttribute("aria-pressed", String(!hidden.has(run)));
      keep({ hidden });
    });
    return button;
  })));
  const sections = document.querySelectorAll("[data-guidance]");
  onKept.push(() => sections.forEach((s) => { s.hidden = Boolean(kept.guidance) && s.dataset.guidance !== kept.guidance; }));
  onKept.forEach((f) => f());
})();
