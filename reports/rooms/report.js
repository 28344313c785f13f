// Charts, tabs, t-SNE and the theme of the report. No library and no network: it runs from a file on a disk.
"use strict";
(() => {
  const SVG = "http://www.w3.org/2000/svg";
  const read = (id) => JSON.parse(document.getElementById(id)?.textContent ?? "null");

  function svg(name, attributes, parent, text) {
    const node = document.createElementNS(SVG, name);
    for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
    if (text !== undefined) node.textContent = text;
    parent?.append(node);
    return node;
  }

  function html(name, attributes, parent, text) {
    const node = document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
    if (text !== undefined) node.textContent = text;
    parent?.append(node);
    return node;
  }

  // --- theme: the system's, until the button says otherwise ----------------------------------------------------------

  function theme() {
    const button = document.getElementById("theme");
    if (!button) return;
    const system = matchMedia("(prefers-color-scheme: dark)");
    const root = document.documentElement;
    let stored = null;
    try { stored = localStorage.getItem("otoc-theme"); } catch { /* a browser may forbid it for files */ }
    if (stored) root.dataset.theme = stored;
    const isDark = () => (root.dataset.theme ? root.dataset.theme === "dark" : system.matches);
    const show = () => { button.textContent = isDark() ? "Light" : "Dark"; };
    button.addEventListener("click", () => {
      root.dataset.theme = isDark() ? "light" : "dark";
      try { localStorage.setItem("otoc-theme", root.dataset.theme); } catch { /* then it lasts for this page */ }
      show();
      document.dispatchEvent(new Event("otoc-theme"));
    });
    system.addEventListener("change", () => { show(); document.dispatchEvent(new Event("otoc-theme")); });
    button.hidden = false;
    show();
  }

  // --- line charts ---------------------------------------------------------------------------------------------------

  // Round numbers that divide low..high into about `count` steps.
  function ticks(low, high, count, whole) {
    const rough = (high - low) / count || 1;
    const power = 10 ** Math.floor(Math.log10(rough));
    let step = power * [1, 2, 5, 10].find((factor) => factor * power >= rough * 0.999);
    if (whole) step = Math.max(1, Math.round(step));
    const found = [];
    for (let value = Math.ceil(low / step - 1e-9) * step; value <= high + step * 1e-9; value += step) found.push(+value.toPrecision(12));
    return found;
  }

  function lineChart(box, data) {
    box.querySelector("svg")?.remove();
    box.querySelector(".legend")?.remove();
    const width = Math.max(260, box.clientWidth - 30), height = data.square ? Math.min(width, 430) : 270;
    const left = 44, right = 10, top = 8, bottom = 40;
    const all = (key) => data.lines.flatMap((line) => line[key] ?? []), y = [...all("y"), ...all("low"), ...all("high")];
    const [x0, x1] = data.xrange ?? [Math.min(...all("x")), Math.max(...all("x"))];
    let [y0, y1] = data.yrange ?? [Math.min(...y), Math.max(...y)];
    if (!data.yrange) { const pad = 0.06 * (y1 - y0 || 1); y1 += pad; y0 = y0 >= 0 ? Math.max(0, y0 - pad) : y0 - pad; }
    const px = (x) => left + ((x - x0) / (x1 - x0 || 1)) * (width - left - right);
    const py = (y) => height - bottom - ((y - y0) / (y1 - y0 || 1)) * (height - top - bottom);
    const image = svg("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": box.querySelector("h3").textContent + ": " + data.lines.map((line) => `${line.name} ends at ${line.y.at(-1)}`).join("; ") }, box);
    for (const y of ticks(y0, y1, 5, false)) {
      svg("line", { x1: left, x2: width - right, y1: py(y), y2: py(y), class: "grid" }, image);
      svg("text", { x: left - 7, y: py(y) + 4, "text-anchor": "end" }, image, y.toLocaleString("en"));
    }
    for (const x of ticks(x0, x1, Math.min(8, width / 70), data.whole)) svg("text", { x: px(x), y: height - bottom + 17, "text-anchor": "middle" }, image, x.toLocaleString("en"));
    svg("line", { x1: left, x2: width - right, y1: height - bottom, y2: height - bottom, class: "axis" }, image);
    svg("text", { x: (left + width - right) / 2, y: height - 4, "text-anchor": "middle" }, image, data.xlabel);
    if (data.diagonal) svg("line", { x1: px(x0), y1: py(x0), x2: px(x1), y2: py(x1), class: "diagonal" }, image);
    const few = data.lines.every((line) => line.x.length <= 20);
    const points = (line, key) => line.x.map((x, i) => `${px(x).toFixed(1)} ${py(line[key][i]).toFixed(1)}`);
    for (const line of data.lines.filter((line) => line.low)) { // one standard deviation to each side of the mean
      svg("path", { d: `M${[...points(line, "high"), ...points(line, "low").reverse()].join("L")}Z`, fill: line.color, "fill-opacity": 0.16, class: "band" }, image);
    }
    for (const line of data.lines) {
      svg("path", { d: `M${points(line, "y").join("L")}`, fill: "none", stroke: line.color, "stroke-width": 2, "stroke-linejoin": "round", ...(line.dash ? { "stroke-dasharray": "6 4" } : {}) }, image);
      if (few) line.x.forEach((x, i) => svg("circle", { cx: px(x), cy: py(line.y[i]), r: line.shares ? 1 + 1.1 * Math.sqrt(line.shares[i]) : 3.2, fill: line.color }, image));
    }
    const mark = svg("circle", { r: 5, fill: "none", "stroke-width": 2, visibility: "hidden" }, image);
    const legend = html("div", { class: "legend" }, box);
    for (const line of data.lines) {
      const item = html("span", { style: `--color: ${line.color}` }, legend);
      html("i", line.dash ? { class: "dash" } : {}, item);
      item.append(line.seeds ? `${line.name} (${line.seeds} seeds)` : line.name);
    }
    image.addEventListener("pointermove", (event) => {
      const frame = image.getBoundingClientRect(), scale = width / frame.width;
      const u = (event.clientX - frame.left) * scale, v = (event.clientY - frame.top) * scale;
      let best = null, least = 60 ** 2;
      for (const line of data.lines) line.x.forEach((x, i) => {
        const distance = (px(x) - u) ** 2 + (py(line.y[i]) - v) ** 2;
        if (distance < least) { least = distance; best = { line, i }; }
      });
      if (!best) return hide();
      const { line, i } = best, cx = px(line.x[i]), cy = py(line.y[i]);
      for (const [key, value] of Object.entries({ cx, cy, stroke: line.color, visibility: "visible" })) mark.setAttribute(key, value);
      const spread = line.seeds ? ` ± ${line.deviation[i].toLocaleString("en")}` : "";
      const more = line.shares ? `\n${line.shares[i]} % of the points` : line.seeds ? `\n${line.seeds} seeds` : "";
      tip(box, `${line.name}\n${data.xname ?? data.xlabel} ${line.x[i].toLocaleString("en")}: ${line.y[i].toLocaleString("en")}${spread}${more}`, cx / scale + frame.left - box.getBoundingClientRect().left, cy / scale + frame.top - box.getBoundingClientRect().top);
    });
    const hide = () => { mark.setAttribute("visibility", "hidden"); tip(box, null); };
    image.addEventListener("pointerleave", hide);
  }

  // A label beside (x, y) of a box, or none; returns its element.
  function tip(box, text, x, y) {
    let label = box.querySelector(".tip");
    if (text === null) { label?.remove(); return null; }
    label ??= html("div", { class: "tip" }, box);
    label.textContent = text;
    label.style.left = `${Math.max(4, Math.min(x + 12, box.clientWidth - label.offsetWidth - 4))}px`;
    label.style.top = `${y + 14}px`;
    return label;
  }

  // --- tabs: arrow keys move between them ------------------------------------------------------------------------------

  function tabs(box, names, label, show) {
    const list = html("div", { role: "tablist", "aria-label": label }, box);
    const panel = html("div", { role: "tabpanel", id: `${box.id}-panel`, tabindex: "0", class: "scroll" }, box);
    const buttons = names.map((name, i) => html("button", { role: "tab", type: "button", id: `${box.id}-${i}`, "aria-controls": panel.id }, list, name));
    const select = (chosen) => {
      buttons.forEach((button, i) => { button.setAttribute("aria-selected", i === chosen); button.tabIndex = i === chosen ? 0 : -1; });
      panel.setAttribute("aria-labelledby", buttons[chosen].id);
      show(panel, chosen);
    };
    buttons.forEach((button, i) => {
      button.addEventListener("click", () => select(i));
      button.addEventListener("keydown", (event) => {
        const step = { ArrowRight: 1, ArrowLeft: -1, Home: -i, End: buttons.length - 1 - i }[event.key];
        if (step === undefined) return;
        event.preventDefault();
        const next = (i + step + buttons.length) % buttons.length;
        buttons[next].focus();
        select(next);
      });
    });
    return select;
  }

  function confusionTable(panel, matrix, names) {
    panel.replaceChildren();
    const table = html("table", { class: "confusion" }, panel);
    const head = html("tr", {}, html("thead", {}, table));
    html("th", {}, head, "true \\ predicted");
    for (const name of names) html("th", { scope: "col" }, head, name);
    const body = html("tbody", {}, table);
    matrix.forEach((row, i) => {
      const total = row.reduce((a, b) => a + b, 0), line = html("tr", {}, body);
      html("th", { scope: "row" }, line, names[i]);
      row.forEach((count, j) => {
        const share = total ? count / total : 0;
        const text = total === 0 ? "" : share >= 0.005 ? Math.round(100 * share) : "";
        const cell = html("td", { style: `--share: ${(75 * share).toFixed(1)}%`, title: `${names[i]} as ${names[j]}: ${count.toLocaleString("en")} points, ${(100 * share).toFixed(1)} %` }, line, text);
        if (i === j) cell.className = "diagonal";
      });
    });
  }

  function curves() {
    const charts = read("charts");
    if (!charts) return;
    const draw = () => { for (const box of document.querySelectorAll("[data-chart]")) lineChart(box, charts[box.dataset.chart]); };
    draw();
    let width = innerWidth;
    addEventListener("resize", () => { if (innerWidth !== width) { width = innerWidth; draw(); } });
    const box = document.getElementById("confusion-tabs");
    if (box) {
      const { matrices, names } = charts.confusion;
      tabs(box, matrices.map((found) => found.name), "Prediction", (panel, i) => confusionTable(panel, matrices[i].points, names))(matrices.length - 1);
    }
  }

  // --- t-SNE -----------------------------------------------------------------------------------------------------------

  function tsne() {
    const data = read("points");
    if (!data) return;
    const { tsne: found, names, colors, linked } = data;
    const boxes = [...document.querySelectorAll("#tsne .chart")], canvases = boxes.map((box) => box.querySelector("canvas"));
    const css = (c) => `rgb(${colors[c].join(" ")})`;
    let only = null, marked = -1;
    const place = (canvas, panel, i) => { const size = canvas.clientWidth - 16; return [8 + (panel.x[i] / 1000) * size, 8 + (1 - panel.y[i] / 1000) * size]; };

    function draw(p) {
      const canvas = canvases[p], panel = found.panels[p], ratio = devicePixelRatio || 1;
      canvas.width = canvas.height = Math.round(canvas.clientWidth * ratio);
      const pen = canvas.getContext("2d");
      pen.scale(ratio, ratio);
      const ink = getComputedStyle(canvas).color;
      found.classes.forEach((c, i) => {
        if (only !== null && c !== only) return;
        const [x, y] = place(canvas, panel, i);
        pen.fillStyle = pen.strokeStyle = css(c);
        if (c % 2) { pen.lineWidth = 1.4; pen.beginPath(); pen.moveTo(x - 3, y); pen.lineTo(x + 3, y); pen.moveTo(x, y - 3); pen.lineTo(x, y + 3); pen.stroke(); }
        else { pen.beginPath(); pen.arc(x, y, 2.3, 0, 7); pen.fill(); }
      });
      if (marked >= 0) {
        const [x, y] = place(canvas, panel, marked);
        pen.lineWidth = 2; pen.strokeStyle = ink; pen.beginPath(); pen.arc(x, y, 7, 0, 7); pen.stroke();
      }
    }
    const drawAll = () => canvases.forEach((_, p) => draw(p));

    function plan(label, i) {
      const room = found.plans[found.rooms[i]], at = found.at[i];
      if (!at || !room.x.length) return;
      const scale = 120 / Math.max(...room.size), canvas = html("canvas", { width: 136, height: Math.round(room.size[1] * scale) + 16 }, label);
      const pen = canvas.getContext("2d"), v = (y) => canvas.height - 8 - y * scale;
      pen.fillStyle = "#8a94a6";
      room.x.forEach((x, k) => pen.fillRect(8 + x * scale, v(room.y[k]), 1.6, 1.6));
      pen.fillStyle = "#f0961e";
      pen.beginPath(); pen.arc(8 + 100 * at[0] * scale, v(100 * at[1]), 4.5, 0, 7); pen.fill();
    }

    function nearest(p, event) {
      const canvas = canvases[p], frame = canvas.getBoundingClientRect(), u = event.clientX - frame.left, v = event.clientY - frame.top;
      let best = -1, least = 12 ** 2;
      found.classes.forEach((c, i) => {
        if (only !== null && c !== only) return;
        const [x, y] = place(canvas, found.panels[p], i), distance = (x - u) ** 2 + (y - v) ** 2;
        if (distance < least) { least = distance; best = i; }
      });
      return best;
    }

    canvases.forEach((canvas, p) => {
      const leave = () => { if (marked >= 0) { marked = -1; drawAll(); } boxes.forEach((box) => tip(box, null)); };
      canvas.addEventListener("pointermove", (event) => {
        const i = nearest(p, event);
        if (i < 0) return leave();
        if (i === marked) return;
        marked = i;
        drawAll();
        const at = found.at[i], [x, y] = place(canvas, found.panels[p], i);
        const where = at ? `\n${at[0].toFixed(1)} m, ${at[1].toFixed(1)} m, height ${at[2].toFixed(1)} m` : "";
        plan(tip(boxes[p], `${names[found.classes[i]]}\n${found.plans[found.rooms[i]].name}${where}`, x, y + canvas.offsetTop), i);
      });
      canvas.addEventListener("pointerleave", leave);
      canvas.addEventListener("click", (event) => {
        const i = nearest(p, event), room = i < 0 ? "" : found.plans[found.rooms[i]].name;
        if (linked.includes(room)) location.href = `viewer.html#${room}`;
      });
    });
    const legend = document.getElementById("tsne-classes");
    names.forEach((name, c) => {
      const count = found.classes.filter((other) => other === c).length;
      if (!count) return;
      const button = html("button", { type: "button", "aria-pressed": "false" }, legend);
      html("span", { class: "swatch", style: `background: ${css(c)}` }, button);
      button.append(`${name} ${count}`);
      button.addEventListener("click", () => {
        only = only === c ? null : c;
        for (const other of legend.children) other.setAttribute("aria-pressed", String(only !== null && other === button));
        drawAll();
      });
    });
    drawAll();
    addEventListener("resize", drawAll);
    document.addEventListener("otoc-theme", drawAll);
  }

  theme(); // whose button takes room of the row of pages
  const current = document.querySelector("nav [aria-current]"); // on a phone that row scrolls
  if (current) current.parentElement.scrollLeft = current.offsetLeft - 16;
  curves();
  tsne();
})();
