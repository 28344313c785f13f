// A viewer of rooms as points: one WebGL2 canvas, one or two views that turn together, drawn only when something changes.
// Rooms come as scripts (viewer/<room>.js) that call otocRoom, since a page opened from a disk may fetch nothing.
"use strict";
(() => {
  const PLANES = 11, NONE = 255;
  const RIGHT = [168, 175, 186], WRONG = [224, 40, 48], UNKNOWN = [205, 209, 216], DIM = 0.8;
  const ABOVE = 16;
  const $ = (id) => document.getElementById(id);
  const { names, colors } = JSON.parse($("labels").textContent);
  const canvas = $("view"), readout = $("readout");
  const gl = canvas.getContext("webgl2", { antialias: false, alpha: true, premultipliedAlpha: false });
  if (!gl) { $("message").textContent = "This browser has no WebGL2; the same rooms are on the page Rooms as pictures."; return; }

  // --- drawing ---------------------------------------------------------------------------------------------------------

  const VERTEX = `#version 300 es
    layout(location=0) in vec3 place; layout(location=1) in vec4 color; layout(location=2) in uint sides;
    uniform mat4 camera; uniform float scale, size, least; uniform uint hidden; out vec4 shown;
    void main() {
      gl_Position = camera * vec4(place * scale, 1.0);
      gl_PointSize = max(size / gl_Position.w, least);
      shown = color;
      if ((sides & hidden) != 0u) gl_Position = vec4(2.0, 2.0, 2.0, 1.0);
    }`;
  const FRAGMENT = `#version 300 es
    precision mediump float; in vec4 shown; uniform float ring; out vec4 pixel;
    void main() {
      float r = 2.0 * length(gl_PointCoord - 0.5);
      if (r > 1.0) discard;
      vec3 color = shown.rgb * shown.a;
      if (ring > 0.0) color = r > 0.82 ? vec3(0.08) : r > 0.6 ? vec3(1.0) : shown.rgb;
      pixel = vec4(color, 1.0);
    }`;
  const program = gl.createProgram();
  for (const [kind, source] of [[gl.VERTEX_SHADER, VERTEX], [gl.FRAGMENT_SHADER, FRAGMENT]]) {
    const shader = gl.createShader(kind);
    gl.shaderSource(shader, source);
    gl.compileShader(shader);
    if (!gl.getShaderParameter(shader, gl.COMPILE_STATUS)) throw new Error(gl.getShaderInfoLog(shader));
    gl.attachShader(program, shader);
  }
  gl.linkProgram(program);
  gl.useProgram(program);
  const at = Object.fromEntries(["camera", "scale", "size", "least", "hidden", "ring"].map((name) => [name, gl.getUniformLocation(program, name)]));

  function buffer(array, location, size, type, normalized, integer) {
    const made = gl.createBuffer();
    gl.bindBuffer(gl.ARRAY_BUFFER, made);
    gl.bufferData(gl.ARRAY_BUFFER, array, gl.STATIC_DRAW);
    gl.enableVertexAttribArray(location);
    if (integer) gl.vertexAttribIPointer(location, size, type, 0, 0);
    else gl.vertexAttribPointer(location, size, type, normalized, 0, 0);
    return made;
  }

  // Points of a room or of its clicks as something to draw: places uint16 [N, 4], sides uint8 [N], colours on request.
  function drawable(places, sides) {
    const array = gl.createVertexArray();
    gl.bindVertexArray(array);
    const buffers = [buffer(places, 0, 4, gl.UNSIGNED_SHORT, true, false), buffer(sides, 2, 1, gl.UNSIGNED_BYTE, false, true)];
    const color = buffer(new Uint8Array(4 * sides.length), 1, 4, gl.UNSIGNED_BYTE, true, false);
    return {
      array, count: sides.length,
      paint(values) { gl.bindBuffer(gl.ARRAY_BUFFER, color); gl.bufferData(gl.ARRAY_BUFFER, values, gl.DYNAMIC_DRAW); },
      free() { for (const made of [...buffers, color]) gl.deleteBuffer(made); gl.deleteVertexArray(array); },
    };
  }

  // --- camera: turns about `center`, z up --------------------------------------------------------------------------------

  const camera = { yaw: 0, pitch: 0, distance: 1, center: [0, 0, 0] };
  const FOCAL = 1.9;

  function axes() {
    const [cy, sy, cp, sp] = [Math.cos(camera.yaw), Math.sin(camera.yaw), Math.cos(camera.pitch), Math.sin(camera.pitch)];
    return { right: [-sy, cy, 0], up: [-sp * cy, -sp * sy, cp], back: [cp * cy, cp * sy, sp] };
  }

  const dot = (a, b) => a[0] * b[0] + a[1] * b[1] + a[2] * b[2];

  // World to clip coordinates, column by column, for a view of `aspect` width over height.
  function matrix(aspect) {
    const { right, up, back } = axes(), { distance, center } = camera;
    const near = distance * 0.02, far = distance + 4 * room.reach, f = aspect < 1 ? FOCAL * aspect : FOCAL;
    const a = -(far + near) / (far - near), b = (-2 * far * near) / (far - near);
    const [x, y, z] = [-dot(right, center), -dot(up, center), -dot(back, center) - distance];
    const columns = [];
    for (let i = 0; i < 3; i++) columns.push((f / aspect) * right[i], f * up[i], a * back[i], -back[i]);
    columns.push((f / aspect) * x, f * y, a * z + b, -z);
    return columns;
  }

  // Look at the whole room, from a corner or from above: as near as every point that is shown allows.
  function home(above) {
    camera.yaw = room.corner;
    camera.pitch = above ? Math.PI / 2 - 0.001 : 0.8;
    camera.center = room.middle.slice();
    const { right, up, back } = axes(), { places, sides, step } = room, hidden = hiddenSides();
    const { width, height } = windows()[0], aspect = width / height, fy = aspect < 1 ? FOCAL * aspect : FOCAL, fx = fy / aspect;
    for (let round = 0; round < 5; round++) { // odd rounds move the middle into the middle, even ones fit
      const low = [Infinity, Infinity], high = [-Infinity, -Infinity];
      let needed = 0;
      for (let i = 0; i < room.points; i += 3) {
        if (sides[i] & hidden) continue;
        const offset = camera.center.map((value, axis) => places[4 * i + axis] * step - value);
        const x = dot(right, offset), y = dot(up, offset), z = dot(back, offset);
        needed = Math.max(needed, (Math.abs(x) * fx) / 0.95 + z, (Math.abs(y) * fy) / 0.95 + z);
        [x, y].forEach((value, k) => { const seen = value / (camera.distance - z); low[k] = Math.min(low[k], seen); high[k] = Math.max(high[k], seen); });
      }
      if (round % 2) camera.center = camera.center.map((value, axis) => value + camera.distance / 2 * ((low[0] + high[0]) * right[axis] + (low[1] + high[1]) * up[axis]));
      else camera.distance = needed || room.reach;
    }
    redraw();
  }

  // --- rooms -------------------------------------------------------------------------------------------------------------

  let room = null, wanted = "";
  const panels = [{ layer: "truth", errors: false }, { layer: "", errors: true }];
  let highlighted = null;

  async function unpack(packed) {
    const compressed = Uint8Array.from(atob(packed.data), (letter) => letter.charCodeAt(0));
    const stream = new Blob([compressed]).stream().pipeThrough(new DecompressionStream("gzip"));
    const bytes = new Uint8Array(await new Response(stream).arrayBuffer());
    const n = packed.points, plane = (i) => bytes.subarray(i * n, (i + 1) * n);
    const places = new Uint16Array(4 * n), high = [0, 0, 0];
    for (let axis = 0; axis < 3; axis++) {
      const low = plane(2 * axis), upper = plane(2 * axis + 1);
      for (let i = 0; i < n; i++) {
        const value = low[i] | (upper[i] << 8);
        places[4 * i + axis] = value;
        if (value > high[axis]) high[axis] = value;
      }
    }
    for (let i = 0; i < n; i++) places[4 * i + 3] = 65535;
    const size = high.map((value) => value * packed.step);
    const layers = [{ name: "colour", kind: "colour", judged: false }, ...packed.layers.map((layer, i) => ({ ...layer, values: plane(PLANES + i) }))];
    if (packed.clicks.length) layers.splice(2, 0, { name: "clicks", kind: "clicks", judged: false });
    return {
      ...packed, places, size, layers, rgb: [plane(6), plane(7), plane(8)], shade: plane(9), sides: plane(10).slice(),
      truth: layers.find((layer) => layer.name === "truth")?.values,
      middle: [size[0] / 2, size[1] / 2, Math.min(size[2], 2.4) / 2.6], reach: Math.hypot(size[0], size[1], Math.min(size[2], 2.4)),
      corner: Math.PI * 1.28,
    };
  }

  window.otocRoom = async (packed) => {
    if (packed.name !== wanted) return;
    const next = await unpack(packed);
    if (packed.name !== wanted) return;
    if (room) for (const made of [...room.views, ...room.dots]) made.free();
    room = next;
    const marks = new Uint16Array(4 * room.clicks.length), markSides = new Uint8Array(room.clicks.length), markColors = new Uint8Array(4 * room.clicks.length);
    room.clicks.forEach(([point, label], i) => {
      marks.set(room.places.subarray(4 * point, 4 * point + 4), 4 * i);
      markSides[i] = room.sides[point];
      markColors.set([...(colors[label] ?? UNKNOWN), 255], 4 * i); // a click may say: none of the classes
    });
    room.views = panels.map(() => drawable(room.places, room.sides));
    room.dots = room.clicks.length ? [drawable(marks, markSides)] : [];
    for (const dots of room.dots) dots.paint(markColors);
    $("message").hidden = true;
    showLayers();
    showClasses();
    home(false);
  };

  function open(name) {
    wanted = name;
    $("room").value = name;
    $("message").hidden = false;
    $("message").textContent = "Loading …";
    const script = document.createElement("script");
    script.src = `viewer/${name}.js`;
    script.onload = () => script.remove();
    script.onerror = () => { $("message").textContent = `viewer/${name}.js is missing beside this page.`; };
    document.head.append(script);
  }

  // --- what is shown -------------------------------------------------------------------------------------------------------

  const layerOf = (panel) => room.layers.find((layer) => layer.name === panel.layer);
  const ramp = (t) => [68 + 185 * t * t, 20 + 210 * t, 84 + 110 * t * (1 - t) - 50 * t]; // violet, low, to yellow, high

  function repaint(p) {
    const layer = layerOf(panels[p]), { rgb, shade, truth, points } = room, values = new Uint8Array(4 * points);
    const errors = panels[p].errors && layer.judged && truth;
    const table = [...colors, ...Array(256 - colors.length).fill(UNKNOWN)];
    for (let i = 0; i < points; i++) {
      let color;
      if (layer.kind === "colour") color = [rgb[0][i], rgb[1][i], rgb[2][i]];
      else if (layer.kind === "clicks") color = UNKNOWN;
      else if (layer.kind === "values") color = ramp(layer.values[i] / 255);
      else if (errors) color = truth[i] === NONE || layer.values[i] === NONE ? UNKNOWN : truth[i] === layer.values[i] ? RIGHT : WRONG;
      else color = table[layer.values[i]];
      let [r, g, b] = color;
      if (highlighted !== null && (truth ?? layer.values)?.[i] !== highlighted && (layer.kind !== "classes" || layer.values[i] !== highlighted)) {
        const grey = 0.2 * (r + g + b) / 3 + 0.8 * 190;
        r += DIM * (grey - r); g += DIM * (grey - g); b += DIM * (grey - b);
      }
      values[4 * i] = r; values[4 * i + 1] = g; values[4 * i + 2] = b;
      values[4 * i + 3] = layer.kind === "colour" ? 255 : shade[i];
    }
    room.views[p].paint(values);
    $(`name${p}`).textContent = `${errors ? "errors of " : ""}${layer.name}`;
    redraw();
  }

  function showLayers() {
    panels.forEach((panel, p) => {
      const own = room.layers.filter((layer) => layer.judged && layer.name !== "fully supervised").at(-1)?.name;
      if (!layerOf(panel)) panel.layer = (p === 0 || !own ? room.layers.find((layer) => layer.name === "truth")?.name : own) ?? "colour";
      const box = document.querySelector(`[data-panel="${p}"]`);
      box.replaceChildren();
      for (const layer of room.layers) {
        const label = document.createElement("label"), input = document.createElement("input");
        Object.assign(input, { type: "radio", name: `panel${p}`, value: layer.name, checked: layer.name === panel.layer });
        input.addEventListener("change", () => { panel.layer = layer.name; update(p); });
        label.append(input, layer.name);
        box.append(label);
        if (input.checked) box.scrollLeft = label.offsetLeft - box.offsetLeft - 40; // on a phone the row scrolls
      }
      update(p);
    });
  }

  function update(p) {
    const box = document.querySelector(`[data-errors="${p}"]`);
    box.disabled = !(layerOf(panels[p]).judged && room.truth);
    repaint(p);
  }

  function showClasses() {
    const counts = new Map(), box = $("classes"), counted = room.truth ?? room.layers.find((layer) => layer.kind === "classes")?.values ?? [];
    for (const value of counted) if (value !== NONE) counts.set(value, (counts.get(value) ?? 0) + 1);
    highlighted = counts.has(highlighted) ? highlighted : null;
    box.replaceChildren();
    for (const [c, count] of [...counts].sort((a, b) => b[1] - a[1])) {
      const button = document.createElement("button"), swatch = document.createElement("span");
      button.type = "button";
      button.setAttribute("aria-pressed", String(highlighted === c));
      swatch.className = "swatch";
      swatch.style.background = `rgb(${colors[c].join(" ")})`;
      button.append(swatch, `${names[c]} ${(100 * count / room.points).toFixed(1)} %`);
      button.addEventListener("click", () => {
        highlighted = highlighted === c ? null : c;
        for (const other of box.children) other.setAttribute("aria-pressed", String(highlighted !== null && other === button));
        panels.forEach((_, p) => repaint(p));
      });
      box.append(button);
    }
  }

  // --- frames ----------------------------------------------------------------------------------------------------------------

  let waiting = false;
  function redraw() {
    if (!waiting) { waiting = true; requestAnimationFrame(frame); }
  }

  // Where each view lies on the canvas, in CSS pixels from its upper left corner.
  function windows() {
    const width = canvas.clientWidth, height = canvas.clientHeight, gap = 2;
    if (!$("two").checked) return [{ p: 1, x: 0, y: 0, width, height }];
    if (width >= 620) { const half = (width - gap) / 2; return [0, 1].map((p) => ({ p, x: p * (half + gap), y: 0, width: half, height })); }
    const half = (height - gap) / 2;
    return [0, 1].map((p) => ({ p, x: 0, y: p * (half + gap), width, height: half }));
  }

  function hiddenSides() {
    if (!$("cut").checked) return 0;
    const { back } = axes(), turned = Math.hypot(back[0], back[1]);
    const x = back[0] / (turned || 1), y = back[1] / (turned || 1);
    return (camera.pitch > 0.15 ? ABOVE : 0) | (x < -0.2 ? 1 : x > 0.2 ? 2 : 0) | (y < -0.2 ? 4 : y > 0.2 ? 8 : 0);
  }

  function frame() {
    waiting = false;
    if (!room) return;
    const ratio = Math.min(devicePixelRatio || 1, 2), width = Math.round(canvas.clientWidth * ratio), height = Math.round(canvas.clientHeight * ratio);
    if (canvas.width !== width || canvas.height !== height) { canvas.width = width; canvas.height = height; }
    gl.disable(gl.SCISSOR_TEST);
    gl.clearColor(0, 0, 0, 0);
    gl.clear(gl.COLOR_BUFFER_BIT | gl.DEPTH_BUFFER_BIT);
    gl.enable(gl.SCISSOR_TEST);
    gl.uniform1f(at.scale, room.step * 65535);
    gl.uniform1ui(at.hidden, hiddenSides());
    for (const name of [0, 1]) $(`name${name}`).hidden = true;
    for (const view of windows()) {
      const box = [view.x * ratio, (canvas.clientHeight - view.y - view.height) * ratio, view.width * ratio, view.height * ratio].map(Math.round);
      gl.viewport(...box);
      gl.scissor(...box);
      gl.uniformMatrix4fv(at.camera, false, matrix(view.width / view.height));
      gl.enable(gl.DEPTH_TEST);
      gl.uniform1f(at.ring, 0);
      const shorter = Math.min(view.height, view.width) * ratio;
      gl.uniform1f(at.size, 1.05 * room.spacing * FOCAL * shorter);
      gl.uniform1f(at.least, 1.5 * ratio);
      gl.bindVertexArray(room.views[view.p].array);
      gl.drawArrays(gl.POINTS, 0, room.points);
      if (layerOf(panels[view.p]).kind === "clicks") {
        gl.disable(gl.DEPTH_TEST);
        gl.uniform1f(at.ring, 1);
        gl.uniform1f(at.size, 0);
        gl.uniform1f(at.least, 13 * ratio);
        for (const dots of room.dots) { gl.bindVertexArray(dots.array); gl.drawArrays(gl.POINTS, 0, dots.count); }
      }
      const name = $(`name${view.p}`);
      name.hidden = false;
      name.style.left = `${view.x + 8}px`;
      name.style.top = `${view.y + 8}px`;
    }
    canvas.dataset.frames = Number(canvas.dataset.frames ?? 0) + 1;
  }

  // --- reading a point ---------------------------------------------------------------------------------------------------

  function pointAt(event) {
    const frameBox = canvas.getBoundingClientRect(), u = event.clientX - frameBox.left, v = event.clientY - frameBox.top;
    const view = windows().find((box) => u >= box.x && u < box.x + box.width && v >= box.y && v < box.y + box.height);
    if (!view || !room) return -1;
    const m = matrix(view.width / view.height), { places, sides, step } = room, hidden = hiddenSides();
    let best = -1, least = Infinity;
    for (let i = 0; i < room.points; i++) {
      if (sides[i] & hidden) continue;
      const x = places[4 * i] * step, y = places[4 * i + 1] * step, z = places[4 * i + 2] * step;
      const w = m[3] * x + m[7] * y + m[11] * z + m[15];
      if (w <= 0) continue;
      const dx = view.x + (0.5 + (m[0] * x + m[4] * y + m[8] * z + m[12]) / w / 2) * view.width - u;
      const dy = view.y + (0.5 - (m[1] * x + m[5] * y + m[9] * z + m[13]) / w / 2) * view.height - v;
      if (dx * dx + dy * dy < 49 && w + 0.02 * Math.hypot(dx, dy) < least) { least = w + 0.02 * Math.hypot(dx, dy); best = i; }
    }
    return best;
  }

  function readPoint(event) {
    const i = pointAt(event);
    if (i < 0) { readout.textContent = "Point at the room to read its classes."; return; }
    const words = room.layers.filter((layer) => layer.values).map((layer) =>
      layer.kind === "values" ? `${layer.name} ${(layer.values[i] / 255).toFixed(2)}` : `${layer.name}: ${layer.values[i] === NONE ? "none" : names[layer.values[i]]}`);
    readout.textContent = words.join(" · ");
  }

  // --- mouse, fingers, keys ------------------------------------------------------------------------------------------------

  const fingers = new Map();
  const turn = (du, dv) => { camera.yaw -= du * 0.007; camera.pitch = Math.max(-1.2, Math.min(Math.PI / 2 - 0.001, camera.pitch + dv * 0.007)); redraw(); };
  const zoom = (factor) => { camera.distance = Math.max(0.15 * room.reach, Math.min(6 * room.reach, camera.distance * factor)); redraw(); };
  function pan(du, dv) {
    const { right, up } = axes(), metres = camera.distance / (FOCAL * Math.min(canvas.clientWidth / 2, canvas.clientHeight) / 2);
    camera.center = camera.center.map((value, i) => value - metres * (du * right[i] - dv * up[i]));
    redraw();
  }

  canvas.addEventListener("pointerdown", (event) => {
    canvas.setPointerCapture(event.pointerId);
    fingers.set(event.pointerId, [event.clientX, event.clientY]);
    canvas.style.cursor = "grabbing";
  });
  for (const name of ["pointerup", "pointercancel"]) canvas.addEventListener(name, (event) => { fingers.delete(event.pointerId); canvas.style.cursor = ""; });
  canvas.addEventListener("pointermove", (event) => {
    if (!room) return;
    const before = fingers.get(event.pointerId);
    if (!before) { readPoint(event); return; }
    const du = event.clientX - before[0], dv = event.clientY - before[1];
    if (fingers.size === 2) {
      const other = [...fingers].find(([id]) => id !== event.pointerId)[1];
      const apart = Math.hypot(before[0] - other[0], before[1] - other[1]), now = Math.hypot(event.clientX - other[0], event.clientY - other[1]);
      pan(du / 2, dv / 2);
      if (now > 0) zoom(apart / now);
    } else if (event.buttons & 2 || event.shiftKey) pan(du, dv);
    else turn(du, dv);
    fingers.set(event.pointerId, [event.clientX, event.clientY]);
  });
  canvas.addEventListener("wheel", (event) => { event.preventDefault(); if (room) zoom(Math.exp(Math.sign(event.deltaY) * Math.min(Math.abs(event.deltaY), 100) * 0.0014)); }, { passive: false });
  canvas.addEventListener("contextmenu", (event) => event.preventDefault());
  canvas.addEventListener("dblclick", () => room && home(false));
  canvas.addEventListener("keydown", (event) => {
    const act = {
      ArrowLeft: () => turn(-14, 0), ArrowRight: () => turn(14, 0), ArrowUp: () => turn(0, 14), ArrowDown: () => turn(0, -14),
      "+": () => zoom(0.88), "=": () => zoom(0.88), "-": () => zoom(1.14), 0: () => home(false),
    }[event.key];
    if (act && room) { event.preventDefault(); act(); }
  });
  $("room").addEventListener("change", () => { location.hash = $("room").value; });
  $("cut").addEventListener("change", redraw);
  $("two").addEventListener("change", redraw);
  $("top").addEventListener("click", () => room && home(true));
  $("fit").addEventListener("click", () => room && home(false));
  document.querySelectorAll("[data-errors]").forEach((box) => box.addEventListener("change", () => {
    panels[box.dataset.errors].errors = box.checked;
    if (room) repaint(Number(box.dataset.errors));
  }));
  addEventListener("resize", redraw);
  const rooms = [...$("room").options].map((option) => option.value);
  const named = () => { const name = decodeURIComponent(location.hash.slice(1)); return rooms.includes(name) ? name : rooms[0]; };
  addEventListener("hashchange", () => open(named()));
  open(named());
})();
