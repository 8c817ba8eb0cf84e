// Plots of group.html: one point for each run, drawn as SVG from the JSON in the page.
"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const byId = (id) => document.getElementById(id);
  const WIDTH = 420, LEFT = 8, RIGHT = 412;
  // Okabe and Ito's colours, and viridis for numbers: told apart without red and green.
  const COLOURS = ["#0072b2", "#e69f00", "#009e73", "#cc79a7", "#d55e00", "#56b4e9", "#b8a900", "#777777"];
  const RAMP = [[68, 1, 84], [59, 82, 139], [33, 145, 140], [94, 201, 98], [220, 205, 37]];
  function ramp(share) {
    const at = share * (RAMP.length - 1), n = Math.min(RAMP.length - 2, Math.floor(at));
    return `rgb(${RAMP[n].map((v, k) => Math.round(v + (at - n) * (RAMP[n + 1][k] - v)))})`;
  }

  function make(name, attributes, parent) {
    const element = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    if (parent) parent.append(element);
    return element;
  }

  function number(text) {
    const value = text === null || text === undefined || String(text).trim() === "" ? NaN : Number(text);
    return Number.isFinite(value) ? value : null;
  }

  const show = (value) => String(Number(value.toPrecision(4)));

  function median(values) {
    const sorted = [...values].sort((a, b) => a - b), half = sorted.length >> 1;
    return sorted.length % 2 ? sorted[half] : (sorted[half - 1] + sorted[half]) / 2;
  }

  // A scale from values to pixels; a constant lies in the middle.
  function scale(values, from, to) {
    let low = Infinity, high = -Infinity;
    for (const value of values) { low = Math.min(low, value); high = Math.max(high, value); }
    const span = high - low;
    return Object.assign((v) => (span > 0 ? from + ((v - low) / span) * (to - from) : (from + to) / 2), { low, high });
  }

  // The same run has the same height in every strip.
  const jitter = data.runs.map((_, run) => ((run * 0.6180339887) % 1) * 2 - 1);

  function numeric(trait) {
    const values = data.traits[trait].map(number);
    return values.filter((v) => v !== null).length >= 0.5 * values.length && new Set(values).size > 2;
  }

  function colours(trait) {
    const key = byId("key");
    key.replaceChildren();
    if (!trait) return () => null;
    const values = data.traits[trait];
    const entry = (colour, text) => {
      const span = document.createElement("span"), dot = document.createElement("i");
      dot.style.background = colour;
      span.append(dot, text);
      key.append(span);
    };
    if (numeric(trait)) {
      const known = values.map(number);
      const place = scale(known.filter((v) => v !== null), 0, 1);
      const colour = (v) => ramp(place(v));
      entry(colour(place.low), show(place.low));
      entry(colour(place.high), show(place.high));
      return (run) => (known[run] === null ? "#999" : colour(known[run]));
    }
    const kinds = [...new Set(values.map((v) => v ?? "n/a"))].sort();
    kinds.forEach((kind, i) => entry(COLOURS[i % COLOURS.length], kind));
    return (run) => COLOURS[kinds.indexOf(values[run] ?? "n/a") % COLOURS.length];
  }

  function heading(parent, title, detail) {
    const box = document.createElement("div"), head = document.createElement("h4"), small = document.createElement("span");
    box.className = "plot";
    small.textContent = ` ${detail}`;
    head.append(title, small);
    box.append(head);
    parent.append(box);
    return box;
  }

  // Of a large group a plot is drawn when it is about to be seen, or the page to be printed.
  const pending = new Map(), large = data.runs.length * (data.quality.length + data.regions.length) > 5000;
  const fill = (svg) => { const drawn = pending.get(svg); pending.delete(svg); drawn?.(); };
  const watcher = new IntersectionObserver((seen) => {
    for (const { target } of seen.filter((entry) => entry.isIntersecting)) {
      watcher.unobserve(target);
      fill(target);
    }
    if (byId("find").value) find();
  }, { rootMargin: "400px" });
  window.addEventListener("beforeprint", () => [...pending.keys()].forEach(fill));

  // points: [{run, value, flagged}], limits: [number], against: values by run or null.
  function draw(parent, plot, points, limits, against, colour) {
    const box = heading(parent, plot.title, plot.detail);
    box.title = plot.text;
    const height = against ? 150 : 56;
    const svg = make("svg", { viewBox: `0 0 ${WIDTH} ${height}`, role: "img", "aria-label": plot.title }, box);
    pending.set(svg, () => drawPoints(svg, height, plot, points, limits, against, colour));
    if (large) watcher.observe(svg); else fill(svg);
  }

  function drawPoints(svg, height, plot, points, limits, against, colour) {
    const usable = points.filter((p) => p.value !== null && (!against || against[p.run] !== null));
    const base = height - 16;
    if (!usable.length) {
      make("text", { x: LEFT, y: 20 }, svg).textContent = "no value";
      return;
    }
    const values = usable.map((p) => p.value);
    const range = scale(values, 0, 1), span = range.high - range.low;
    // A limit far from all values would squeeze them; the heading tells it anyway.
    const near = limits.filter((v) => v > range.low - span && v < range.high + span);
    const value = against ? scale(values, base - 6, 8) : scale([...values, ...near], LEFT, RIGHT);
    const other = against ? scale(usable.map((p) => against[p.run]), LEFT + 34, RIGHT) : null;
    make("line", { class: "axis", x1: LEFT, x2: RIGHT, y1: base, y2: base }, svg);
    const middle = median(values);
    if (against) {
      make("line", { class: "median", x1: LEFT + 30, x2: RIGHT, y1: value(middle), y2: value(middle), "stroke-opacity": 0.3 }, svg);
      for (const v of new Set([value.low, value.high])) make("text", { x: 0, y: value(v) + 4 }, svg).textContent = show(v);
      make("text", { x: LEFT + 30, y: height - 2 }, svg).textContent = show(other.low);
      make("text", { x: RIGHT, y: height - 2, "text-anchor": "end" }, svg).textContent = show(other.high);
    } else {
      make("line", { class: "median", x1: value(middle), x2: value(middle), y1: 4, y2: base }, svg);
      for (const limit of near) {
        const x = value(limit), end = x > (LEFT + RIGHT) / 2;
        make("line", { class: "limit", x1: x, x2: x, y1: 2, y2: base }, svg);
        make("text", { class: "limit-text", x: x + (end ? -4 : 4), y: 9, "text-anchor": end ? "end" : "start" }, svg).textContent = `limit ${show(limit)}`;
      }
      make("text", { class: "end", x: LEFT, y: height - 2 }, svg).textContent = show(value.low);
      make("text", { class: "end", x: RIGHT, y: height - 2, "text-anchor": "end" }, svg).textContent = show(value.high);
    }
    const radius = usable.length > 300 ? 2.2 : 3.6;
    for (const p of [...usable.filter((q) => !q.flagged), ...usable.filter((q) => q.flagged)]) {
      const link = make("a", { href: encodeURI(data.runs[p.run].page) }, svg);
      const place = against
        ? { cx: other(against[p.run]), cy: value(p.value) }
        : { cx: value(p.value), cy: base / 2 + jitter[p.run] * (base / 2 - 6) };
      const name = { class: p.flagged ? "point flagged" : "point", "data-run": p.run }, wide = radius * 1.6;
      const point = p.flagged
        ? make("path", { ...place, ...name, d: `M${place.cx} ${place.cy - wide}l${wide} ${wide} ${-wide} ${wide} ${-wide} ${-wide}z` }, link)
        : make("circle", { ...place, ...name, r: radius }, link);
      const fill = colour(p.run);
      if (fill) point.style.fill = fill;
      point.dataset.text = `${data.runs[p.run].name}: ${plot.title} ${show(p.value)} ${plot.units}` + (p.flagged ? " (outlier)" : "");
      link.setAttribute("aria-label", point.dataset.text);
    }
  }

  const unit = (units) => (units && units !== "1" ? units : "");

  function drawAll() {
    const colour = colours(byId("colour").value);
    const trait = byId("against").value;
    const against = trait ? data.traits[trait].map(number) : null;
    const quality = byId("quality-plots");
    watcher.disconnect();
    pending.clear();
    quality.replaceChildren();
    for (const metric of data.quality) {
      const flagged = new Set(metric.flagged);
      const points = metric.values.map((value, run) => ({ run, value, flagged: flagged.has(run) }));
      const limits = [metric.minimum, metric.maximum].filter((v) => v !== null);
      const bounds = [["at least", metric.minimum], ["at most", metric.maximum]];
      const words = bounds.filter(([, v]) => v !== null).map(([what, v]) => `${what} ${v}`);
      const detail = [metric.title, unit(metric.units), words.join(", ")].filter(Boolean).join("; ");
      const plot = { title: metric.name, detail, units: unit(metric.units), text: `${metric.text} ${metric.reference}` };
      draw(quality, plot, points, limits, against, colour);
    }
    const regions = byId("region-plots");
    if (!regions) return;
    regions.replaceChildren();
    const statistic = byId("statistic").value, column = Object.keys(data.statistics).indexOf(statistic);
    const about = data.statistics[statistic];
    byId("statistic-text").textContent = `${about.text} (${about.units})`;
    for (const region of data.regions) {
      const points = region.runs.map((run, i) => ({ run, value: region.values[i][column], flagged: region.flagged[i][column] }));
      const plot = { title: region.name, detail: region.seg, units: about.units, text: about.text };
      draw(regions, plot, points, [], against, colour);
    }
  }

  function mark(run) {
    for (const point of document.querySelectorAll(".point.same")) point.classList.remove("same");
    if (run === null) return;
    for (const point of document.querySelectorAll(`[data-run="${run}"]`)) {
      point.classList.add("same");
      point.closest("svg").append(point.parentNode);
    }
  }

  function find() {
    const wanted = byId("find").value.trim().toLowerCase();
    const run = wanted ? data.runs.findIndex((r) => r.name.toLowerCase().includes(wanted)) : -1;
    mark(run < 0 ? null : run);
  }

  // The table of all runs: those with a map, and what is missing.
  const STATES = { done: "good", look: "look", wrong: "wrong", missing: "no result" };
  function rows() {
    const found = data.runs.map((run, n) => {
      const reasons = [...run.warnings, ...(run.outliers.length ? [`outlier in ${run.outliers.join(", ")}`] : [])];
      const state = run.verdict === "wrong" ? "wrong" : reasons.length ? "look" : "done";
      return { ...run, state, reason: reasons.join("; "), values: data.quality.map((m) => m.values[n]) };
    });
    return [...found, ...data.missing.map((m) => ({ ...m, state: "missing", values: data.quality.map(() => null) }))];
  }

  function table() {
    const all = rows(), head = document.querySelector("#runs-table thead"), body = document.querySelector("#runs-table tbody");
    const columns = [
      ["Run", (r) => r.name], ["Verdict", (r) => r.state], ["Why", (r) => r.reason],
      ...data.quality.map((m, n) => [`${m.title}${unit(m.units) ? ` (${unit(m.units)})` : ""}`, (r) => r.values[n], m]),
    ];
    // Rows are grids of a fixed width, which of a large table are laid out when they are about to be
    // seen: that is most of the time. As they are no rows to the browser any more, each has its role.
    const whole = byId("runs-table"), place = whole.style;
    whole.classList.toggle("large", all.length > 300);
    const name = Math.min(26, 2.5 + 0.55 * Math.max(5, ...all.map((r) => r.name.length)));
    const why = all.some((r) => r.reason) ? 22 : 5;
    place.setProperty("--columns", `6rem ${name}rem 6rem ${why}rem repeat(${data.quality.length}, 8rem)`);
    place.setProperty("--row", all.some((r) => r.picture) ? "6.5rem" : "2rem");
    const element = (name, role, parent) => {
      const made = document.createElement(name);
      made.setAttribute("role", role);
      parent?.append(made);
      return made;
    };
    const cell = (row, content) => { const td = element("td", "cell", row); td.append(content); return td; };
    for (const r of all) {
      const tr = (r.row = element("tr", "row")), picture = document.createElement("span");
      if (r.picture) {
        const img = document.createElement("img");
        Object.assign(img, { loading: "lazy", alt: "", src: encodeURI(r.picture) });
        img.addEventListener("error", () => picture.remove());
        picture.className = "thumb";
        picture.append(img);
      }
      cell(tr, picture);
      const link = document.createElement(r.page ? "a" : "span");
      if (r.page) link.href = encodeURI(r.page);
      link.textContent = r.name;
      cell(tr, link);
      const state = document.createElement("span");
      state.className = `state ${{ look: "warned", wrong: "failed", missing: "failed" }[r.state] ?? ""}`;
      state.textContent = STATES[r.state];
      cell(tr, state);
      cell(tr, r.reason).className = "reason";
      for (const v of r.values) cell(tr, v === null ? "" : show(v));
    }
    const top = element("tr", "row");
    element("th", "columnheader", top).textContent = "Map";
    for (const [title, key, metric] of columns) {
      const th = element("th", "columnheader", top), button = document.createElement("button");
      button.type = "button";
      button.textContent = title;
      if (metric) button.title = `${metric.name}: ${metric.text}`;
      th.append(button);
      button.addEventListener("click", () => {
        const up = th.getAttribute("aria-sort") !== "ascending";
        for (const other of top.children) other.removeAttribute("aria-sort");
        th.setAttribute("aria-sort", up ? "ascending" : "descending");
        const order = (a, b) => {
          const x = key(a), y = key(b);
          if (x === y) return 0;
          if (x === null || x === "") return 1;  // what is not known comes last either way
          if (y === null || y === "") return -1;
          return (typeof x === "number" ? x - y : String(x).localeCompare(String(y), "en", { numeric: true })) * (up ? 1 : -1);
        };
        body.replaceChildren(...all.sort(order).map((r) => r.row));
      });
    }
    head.append(top);
    body.append(...all.map((r) => r.row));
    const filter = () => {
      const state = byId("state").value, words = byId("filter").value.trim().toLowerCase();
      let count = 0;
      for (const r of all) {
        const there = (!state || r.state === state) && `${r.name} ${r.reason}`.toLowerCase().includes(words);
        r.row.hidden = !there;
        count += there;
      }
      byId("shown").textContent = `${count} of ${all.length}`;
    };
    byId("state").addEventListener("change", filter);
    byId("filter").addEventListener("input", filter);
    filter();
  }
  table();

  const tip = byId("tip");
  document.addEventListener("pointerover", (event) => {
    const point = event.target.closest?.(".point");
    if (!point) return;
    tip.textContent = point.dataset.text;
    tip.hidden = false;
    tip.style.left = `${Math.min(event.clientX + 14, window.innerWidth - 340)}px`;
    tip.style.top = `${event.clientY + 14}px`;
    for (const other of document.querySelectorAll(".point.same")) other.classList.remove("same");
    for (const same of document.querySelectorAll(`[data-run="${point.dataset.run}"]`)) same.classList.add("same");
  });
  document.addEventListener("pointerout", (event) => {
    if (!event.target.closest?.(".point")) return;
    tip.hidden = true;
    find();
  });

  function choices(select, names) {
    for (const name of names) select.append(new Option(name, name));
    select.addEventListener("change", () => { drawAll(); find(); });
  }
  const traits = Object.keys(data.traits), numbers = traits.filter(numeric);
  choices(byId("colour"), traits);
  choices(byId("against"), numbers);
  byId("colour-label").hidden = !traits.length;
  byId("against-label").hidden = !numbers.length;
  if (byId("statistic")) choices(byId("statistic"), Object.keys(data.statistics));
  byId("find").addEventListener("input", find);
  drawAll();
})();
