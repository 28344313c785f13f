// A room to click on: every point belongs to a super-voxel, a click gives the super-voxel under it the active class.
//
// The widget shows a click at once and keeps it in the browser's storage until the kernel has said that it is in the
// file. Each action is absolute ("point 812 is a chair", "point 812 is nothing"), so sending one twice does no harm;
// what a killed kernel or a reloaded page left unanswered is sent again by the next widget of the same file.

// How the room is drawn, as triangles or as points: its colours, and the super-voxel seen in every pixel.
const PLACE = `#version 300 es
in vec3 position;  // uint16 steps along the room's box
in vec3 color;
in uint region;
uniform mat4 project;
uniform float size, grow, top, near;
out float beyond;  // above 0 where a cut takes it away
void place() {
  gl_Position = project * vec4(position, 1.0);
  gl_PointSize = clamp(size / gl_Position.w, 1.5, 12.0) * grow;
  beyond = max(position.z - top, near - gl_Position.w);
}`;
const VERTEX = `${PLACE}
precision highp sampler2D;
uniform sampler2D paint;  // a texel for each super-voxel: a colour, and as alpha how much of it or that it is of no class
uniform int columns;
uniform bool grey;  // what has no class yet is drawn without colours
out vec3 shade;
flat out float striped;
void main() {
  place();
  int id = int(region);
  vec4 over = texelFetch(paint, ivec2(id % columns, id / columns), 0);
  float told = over.a * 255.0;
  striped = told > 0.5 && told < 1.5 ? 1.0 : 0.0;
  bool faded = grey && told < 100.0;
  vec3 scan = faded ? vec3(0.5 + 0.36 * dot(color, vec3(0.3, 0.59, 0.11))) : color;
  shade = mix(scan, over.rgb, faded || striped > 0.5 ? 0.0 : over.a);
}`;
const FRAGMENT = `#version 300 es
precision highp float;
uniform float ratio;
in float beyond;
in vec3 shade;
flat in float striped;
out vec4 pixel;
void main() {
  if (beyond > 0.0) discard;
  float along = mod(gl_FragCoord.x + gl_FragCoord.y, 10.0 * ratio) / ratio;
  pixel = vec4(striped < 0.5 || along > 4.5 ? shade : vec3(along < 3.0 ? 0.2 : 0.9), 1.0);  // seen on dark and on light
}`;
const REGION_VERTEX = `${PLACE}
flat out uint seen;
void main() {
  place();
  seen = region + 1u;  // 0: nothing
}`;
const REGION_FRAGMENT = `#version 300 es
precision highp float;
precision highp int;
in float beyond;
flat in uint seen;
out uint pixel;
void main() {
  if (beyond > 0.0) discard;
  pixel = seen;
}`;
// Outlines, from the super-voxels in the pixels around: dark ones of what has a label, a bright one of what is marked.
// A border crosses three of eight neighbours at least; a gap between two points does not.
const EDGE_VERTEX = `#version 300 es
void main() { gl_Position = vec4(float((gl_VertexID << 1) & 2) * 2.0 - 1.0, float(gl_VertexID & 2) * 2.0 - 1.0, 0.0, 1.0); }`;
const EDGE_FRAGMENT = `#version 300 es
precision highp float;
precision highp int;
precision highp usampler2D;
precision highp sampler2D;
uniform usampler2D seen;
uniform sampler2D paint;
uniform int columns;
uniform uint marked;  // as in the pixels: 0 for nothing
uniform vec3 mark;
uniform float ratio, thick;
out vec4 pixel;
const vec2 AROUND[8] = vec2[8](vec2(1, 0), vec2(0.7, 0.7), vec2(0, 1), vec2(-0.7, 0.7), vec2(-1, 0), vec2(-0.7, -0.7), vec2(0, -1), vec2(0.7, -0.7));
uint at(vec2 shift) {
  ivec2 place = ivec2(floor(gl_FragCoord.xy + shift));
  return texelFetch(seen, clamp(place, ivec2(0), textureSize(seen, 0) - 1), 0).r;
}
vec4 said(uint id) {
  int i = int(id) - 1;
  vec4 over = i < 0 ? vec4(0.0) : texelFetch(paint, ivec2(i % columns, i / columns), 0);
  float told = over.a * 255.0;
  return told > 100.0 || (told > 0.5 && told < 1.5) ? over : vec4(0.0);
}
void main() {
  uint own = at(vec2(0));
  vec4 label = said(own);
  int others = 0, inside = 0;
  for (int k = 0; k < 8; k++) {
    if (label.a > 0.0 && said(at(1.5 * ratio * AROUND[k])) != label) others += 1;
    if (at(thick * ratio * AROUND[k]) == marked) inside += 1;
  }
  if (marked > 0u && own == marked && inside <= 5) pixel = vec4(mark, 1.0);
  else if (marked > 0u && own != marked && inside >= 3) pixel = vec4(vec3(0.0), 0.8);
  else if (others >= 3) pixel = vec4(0.35 * label.rgb, 0.85);
  else discard;
}`;
const DOT_VERTEX = `#version 300 es
in vec3 position;
in vec3 color;
uniform mat4 project;
uniform float size, top, near;
out vec3 shade;
void main() {
  gl_Position = project * vec4(position, 1.0);
  gl_Position.z -= 0.004 * gl_Position.w;  // before the surface that was clicked
  shade = color;
  gl_PointSize = size;
  if (position.z > top || gl_Position.w < near) gl_Position = vec4(2.0, 2.0, 2.0, 1.0);
}`;
const DOT_FRAGMENT = `#version 300 es
precision mediump float;
in vec3 shade;
out vec4 pixel;
void main() {
  float r = length(gl_PointCoord - 0.5);
  if (r > 0.5) discard;
  pixel = vec4(r > 0.40 ? vec3(0.0) : r > 0.27 ? vec3(1.0) : shade, 1.0);
}`;

const COLUMNS = 1024; // of the texture of super-voxels
const STRENGTH = 205; // of 255: how much of the class colour a clicked super-voxel shows
const TINT = 90; // and how much of the model's one without a click
const NO_CLASS = [96, 96, 96]; // colour of what is of no class
const WIDER = 2.2; // points in the picture of super-voxels, so that gaps between them make no outlines
const LINE = 2.2; // pixels of the outline of a marked super-voxel, to each side
const EASE = 450; // milliseconds in which the camera goes to a region
const PULSE = 1600; // milliseconds in which its outline pulses
const REACH = 6; // pixels between a click and a point that no drawn point covers
const DRAG = 4; // pixels a pointer may move within a click
const IDLE = 30; // seconds without a hand on the widget after which the clock stops
const LARGE = 0.01; // share of a room's points that makes a region worth a look
const FIELD = Math.tan((50 * Math.PI) / 360); // half of the vertical field of view

const HELP = [
  ["drag", "orbit"], ["shift or right drag", "pan"], ["wheel, + −", "zoom"], ["click", "label"],
  ["right click, U, Ctrl Z", "undo"], ["Ctrl ⇧ Z", "redo"], ["X", "clear region"], ["E, Enter", "next region, label it"],
  ["S", "region is of no class, next"], ["G", "grey what has no label"], ["1–9, ⇧ 1–9, 0", "class, no class"],
  ["/", "search, ↑ ↓ and Enter choose"], ["F, T", "whole room, from above"],
  ["A, N, M", "model: accept, next, colours"],
]; // prettier-ignore

const control = (event) => event.ctrlKey || event.metaKey;
const isUndo = (event) => control(event) && !event.altKey && event.key.toLowerCase() === "z";

export default () => {
  let link;
  return {
    initialize({ model }) {
      link = new Link(model);
      return () => link.close();
    },
    render({ el }) {
      const view = new View(link, el);
      return () => view.close();
    },
  };
};

/** Messages to and from the kernel, and the actions it has not answered yet. */
class Link {
  constructor(model) {
    this.model = model;
    this.prefix = `otoc-clicks:${model.get("journal")}:`;
    this.views = new Set();
    this.pending = new Map(); // number -> action, in the order made
    this.last = 0;
    for (const key of Object.keys(localStorage).filter((key) => key.startsWith(this.prefix))) {
      const action = stored(key);
      if (action && this.prefix + action.number === key) this.pending.set(action.number, action);
      else localStorage.removeItem(key); // damaged: it would be sent for ever
    }
    this.pending = new Map([...this.pending].sort(([a], [b]) => a - b));
    this.receive = (message, buffers) => {
      if (message.kind === "saved" || message.kind === "refused") {
        const waited = this.pending.delete(message.number);
        localStorage.removeItem(this.prefix + message.number);
        // Sent twice to a slow kernel: the room was asked for when the first answer came.
        if (message.kind === "refused" && message.number !== null && !waited) return;
      }
      for (const view of this.views) view.receive(message, buffers);
    };
    model.on("msg:custom", this.receive);
    this.wait = 2000;
    this.resend();
  }

  close() {
    this.model.off("msg:custom", this.receive);
    clearTimeout(this.timer);
  }

  send(message) {
    try {
      this.model.send(message);
    } catch {
      // The kernel is gone; the action stays in the storage and is sent again.
    }
  }

  act(room, changes, seconds) {
    this.last = Math.max(this.last + 1, Date.now() * 1000); // rises over reloads, too
    const action = { kind: "action", number: this.last, room, changes, seconds };
    this.pending.set(action.number, action);
    try {
      localStorage.setItem(this.prefix + action.number, JSON.stringify(action));
    } catch {
      // A full storage costs the click only if the page is closed before the kernel answers.
    }
    this.wait = 2000;
    this.send(action);
  }

  /** All that is unanswered, in its order; less and less often, since a kernel may be busy for an hour. */
  resend() {
    for (const action of this.pending.values()) this.send(action);
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.resend(), this.wait);
    if (this.pending.size) this.wait = Math.min(2 * this.wait, 60000);
  }
}

/** The action that the storage keeps under a key, or null where something else lies there. */
function stored(key) {
  try {
    const action = JSON.parse(localStorage.getItem(key));
    const whole = (pair) => pair.length === 2 && pair.every(Number.isSafeInteger);
    return Number.isSafeInteger(action.number) && action.changes.every(whole) ? action : null;
  } catch {
    return null;
  }
}

/** The widget in one output cell. */
class View {
  constructor(link, el) {
    this.link = link;
    this.build(el);
    this.canvas.otoc = this; // for scripts and tests: project(), pick()
    this.gl = this.canvas.getContext("webgl2", { antialias: false, alpha: false });
    if (!this.gl) return this.say("This browser offers no WebGL2; the room cannot be drawn.", true);
    this.camera = { azimuth: -2.2, elevation: 0.9, distance: 5, target: [0, 0, 0] };
    this.cut = { top: 1, front: 0 };
    this.hovered = this.focused = -1;
    this.active = 0;
    this.history = []; // changes that take back the newest act, the last one first
    this.undone = []; // and those that bring back what was taken back since
    this.clicks = new Map();
    this.found = 0; // which of the classes that the search finds Enter takes
    this.passed = new Set(); // regions that E has been to in this round
    this.greyed = false; // what has no label is drawn in grey
    this.pulsed = -Infinity; // when a region was gone to
    this.declined = new Set(); // proposals that N passed over
    this.touched = -Infinity;
    this.ticked = performance.now();
    this.listen();
    this.prepare();
    link.views.add(this);
    this.ticking = setInterval(() => this.tick(), 500);
    link.send({ kind: "open" });
  }

  close() {
    this.link.views.delete(this);
    window.removeEventListener("keydown", this.sift, true);
    clearInterval(this.ticking);
    this.resizing?.disconnect();
    this.theming?.disconnect();
    this.gl?.getExtension("WEBGL_lose_context")?.loseContext();
  }

  // --- page ---------------------------------------------------------------------------------------------------------

  build(el) {
    this.rooms = h("select", { "aria-label": "Room" });
    this.clock = h("span", { class: "otoc-number", title: "Time spent on this room", "aria-label": "Time" }, "0:00");
    this.counter = h("span", { class: "otoc-number", title: "Clicks in this room" }, "0 clicks");
    this.canvas = h("canvas", {
      tabindex: 0, role: "application", "aria-label": "Room: click a super-voxel to label it, drag to orbit",
    }); // prettier-ignore
    this.tip = h("div", { class: "otoc-tip", hidden: "" });
    this.search = h("input", { type: "search", placeholder: "Find a class  ( / )", "aria-label": "Find a class" });
    this.list = h("div", { class: "otoc-list", role: "listbox", "aria-label": "Class of the next click" });
    this.status = h("div", { class: "otoc-status", role: "status", "aria-live": "polite" }, "Waiting for the kernel …");
    this.top = h("input", { type: "range", min: 5, max: 100, value: 100, "aria-label": "Cut off from above" });
    this.front = h("input", { type: "range", min: 0, max: 100, value: 0, "aria-label": "Cut away in front" });
    this.tint = h("button", { type: "button", "aria-pressed": "false", title: "Colour by the model (M)", hidden: "" }, "Model");
    this.greys = h("button", { type: "button", "aria-pressed": "false", title: "Grey what has no label (G)" }, "Grey");
    const button = (text, title, action) => {
      const made = h("button", { type: "button", title, "aria-label": title }, text);
      made.addEventListener("click", () => (action(), this.canvas.focus()));
      return made;
    };
    this.root = h("div", { class: "otoc-picker", "data-lm-suppress-shortcuts": "true" },
      h("div", { class: "otoc-bar" },
        button("‹", "Previous room", () => this.go(this.room.index - 1)),
        this.rooms,
        button("›", "Next room", () => this.go(this.room.index + 1)),
        this.clock, this.counter,
        h("span", { class: "otoc-gap" }),
        this.tint, this.greys,
        button("Next region", "Go to the largest region without a label (E)", () => this.next()),
        button("No class", "The marked region is of no class (S)", () => this.refuse()),
        button("Undo", "Undo (U)", () => this.undo()),
        button("Fit", "Whole room (F)", () => this.fit()),
        button("Top", "From above (T)", () => this.fit(true))),
      h("div", { class: "otoc-body" },
        h("div", { class: "otoc-stage" }, this.canvas, this.tip),
        h("div", { class: "otoc-side" },
          this.search, this.list,
          h("label", { class: "otoc-cut" }, h("span", {}, "Ceiling"), this.top),
          h("label", { class: "otoc-cut" }, h("span", {}, "Front"), this.front))),
      h("div", { class: "otoc-foot" }, this.status,
        h("details", {}, h("summary", {}, "Keys"),
          h("div", { class: "otoc-keys" }, ...HELP.flatMap(([key, does]) => [h("b", {}, key), h("span", {}, does)]))))); // prettier-ignore
    el.append(this.root);
    this.tint.addEventListener("click", () => this.toggleTint());
    this.greys.addEventListener("click", () => (this.toggleGrey(), this.canvas.focus()));
  }

  say(text, urgent = false) {
    this.status.textContent = text;
    this.status.classList.toggle("otoc-urgent", urgent);
  }

  /** What the list, the counters and the status say about the clicks. */
  describe() {
    const counts = new Map();
    for (const label of this.clicks.values()) counts.set(label, (counts.get(label) ?? 0) + 1);
    const wanted = this.search.value.trim().toLowerCase();
    let place = 0; // among the classes that the search finds
    this.list.replaceChildren(
      ...[...this.classes.names.keys(), this.classes.none].flatMap((label) => {
        const name = this.name(label), count = counts.get(label) ?? 0; // prettier-ignore
        if (wanted && !name.toLowerCase().includes(wanted)) return [];
        const key = label < 0 ? "0" : label < 9 ? `${label + 1}` : label < 18 ? `⇧${label - 8}` : "";
        const option = h("button", {
          type: "button", role: "option", "aria-selected": `${label === this.active}`, "data-class": label,
          "aria-label": `${name}, ${count} clicks`, class: wanted && place++ === this.found ? "otoc-found" : "",
        },
          h("span", { class: "otoc-swatch", style: `background: rgb(${this.color(label).join(" ")})` }),
          h("span", { class: "otoc-name" }, name),
          h("span", { class: "otoc-count" }, count ? `${count}` : ""),
          h("kbd", {}, key)); // prettier-ignore
        option.addEventListener("click", () => (this.choose(label), this.canvas.focus()));
        return [option];
      }),
    );
    this.list.querySelector(".otoc-found")?.scrollIntoView({ block: "nearest" });
    this.counter.textContent = `${plural(this.clicks.size)}${this.coverage()}`;
  }

  /** ", 31 % labelled, 4 % of no class, 12 large regions left" of the room that is open. */
  coverage() {
    if (!this.room || !this.sizes) return "";
    let labelled = 0, refused = 0, left = 0; // prettier-ignore
    this.sizes.forEach((size, region) => {
      if (this.labels.get(region) === this.classes.none) refused += size;
      else if (this.labels.has(region)) labelled += size;
      else if (this.large(region)) left += 1;
    });
    const percent = (part) => `${Math.floor((100 * part) / this.count)} %`;
    const none = refused ? `, ${percent(refused)} of no class` : "";
    return `, ${percent(labelled)} labelled${none}, ${left} large region${left === 1 ? "" : "s"} left`;
  }

  large(region) {
    return this.sizes[region] >= LARGE * this.count;
  }

  name(label) {
    return label === this.classes.none ? "no class" : this.classes.names[label];
  }

  color(label) {
    return label === this.classes.none ? NO_CLASS : this.classes.colors[label];
  }

  choose(label) {
    if (label >= this.classes.names.length) return;
    this.active = label;
    this.describe();
    this.list.querySelector('[aria-selected="true"]')?.scrollIntoView({ block: "nearest" });
    this.draw();
  }

  tick() {
    const now = performance.now();
    if (this.room && !document.hidden && now - this.touched < 1000 * IDLE) {
      this.room.seconds += (now - this.ticked) / 1000;
      if (this.room.seconds - this.reported > 5) this.report();
    }
    this.ticked = now;
    if (!this.room) return;
    const seconds = Math.floor(this.room.seconds);
    this.clock.textContent = `${Math.floor(seconds / 60)}:${`${seconds % 60}`.padStart(2, "0")}`;
    if (this.link.pending.size && this.link.wait > 2000) {
      this.say(`${this.link.pending.size} waiting to be saved: the kernel is busy, or has to be started again`, true);
    }
  }

  report() {
    this.reported = this.room.seconds;
    this.link.send({ kind: "clock", room: this.room.name, seconds: this.room.seconds });
  }

  // --- kernel -------------------------------------------------------------------------------------------------------

  receive(message, buffers) {
    if (message.kind === "room") this.open(message, buffers);
    else if (message.kind === "error") this.say(message.text, true);
    else if (message.kind === "refused") this.link.send({ kind: "open" }), (this.refusal = message.text);
    else if (message.kind === "saved" && message.room === this.room?.name && !this.unanswered()) {
      this.clicks = new Map(message.clicks);
      this.labels = new Map(message.labels);
      const saved = `${plural(this.clicks.size)} in ${this.room.name}, saved. ${this.question()}`;
      this.say(message.warning ?? saved, Boolean(message.warning));
      this.retitle();
      this.describe();
      this.repaint();
    }
  }

  /** Say in the list of rooms what is by now in this one. */
  retitle() {
    const { index, name } = this.room;
    this.rooms.options[index].textContent = title(index, name, this.clicks.size, this.doubts().length);
  }

  unanswered() {
    return [...this.link.pending.values()].some((action) => action.room === this.room.name);
  }

  open(message, [positions, colors, regions, ...further]) {
    const again = this.room?.name === message.name;
    this.room = message;
    this.reported = message.seconds;
    this.classes = message.classes;
    const count = (this.count = message.points);
    // A random order, so that the first points of any number are a thinner picture of the whole room.
    this.order = new Uint32Array(count).map((_, i) => i);
    for (let i = count - 1, seed = 1; i > 0; i--) {
      seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0;
      const j = Math.floor((seed / 4294967296) * (i + 1));
      [this.order[i], this.order[j]] = [this.order[j], this.order[i]];
    }
    const bytes = (view) => view.buffer.slice(view.byteOffset, view.byteOffset + view.byteLength);
    this.positions = gather(new Uint16Array(bytes(positions)), this.order, 3);
    this.colors = gather(new Uint8Array(bytes(colors)), this.order, 3);
    this.regionOf = new Uint32Array(bytes(regions)); // by vertex
    this.regions = gather(this.regionOf, this.order, 1);
    this.place = new Uint32Array(count); // vertex -> its row here
    for (let i = 0; i < count; i++) this.place[this.order[i]] = i;
    this.measure();
    const prediction = message.proposals && further.shift();
    this.predicted = prediction && new Uint8Array(bytes(prediction)); // class of each super-voxel
    this.triangles = message.faces ? this.drawable(new Uint32Array(bytes(further.shift()))) : null;
    this.proposals = message.proposals ?? []; // [super-voxel, vertex, class, that of its click or null], the most useful first
    this.tint.hidden = !this.predicted;
    this.tinted = Boolean(this.predicted);
    this.tint.setAttribute("aria-pressed", `${this.tinted}`);
    this.clicks = new Map(message.clicks);
    this.labels = new Map(message.labels);
    for (const action of this.link.pending.values()) {
      if (action.room === message.name) this.change(action.changes);
    }
    this.history = [...this.clicks.keys()].map((point) => [[point, -1]]);
    this.undone = [];
    this.rooms.replaceChildren(...message.rooms.map((room, i) => h("option", { value: i }, title(i, ...room))));
    this.rooms.value = message.index;
    this.active = Math.min(this.active, this.classes.names.length - 1);
    this.hovered = this.focused = -1;
    this.round = undefined;
    this.declined.clear();
    this.proposal = undefined;
    this.budget = count;
    this.upload();
    if (!again) this.fit();
    this.describe();
    this.repaint();
    this.say(this.refusal ?? message.text, Boolean(this.refusal));
    this.refusal = undefined;
    if (this.proposals.length) this.propose();
  }

  go(index) {
    if (!this.room || index < 0 || index >= this.room.rooms.length) return;
    this.report();
    this.link.send({ kind: "open", index });
  }

  // --- clicks -------------------------------------------------------------------------------------------------------

  /** Put changes [[point, class or -1], ...] into this.clicks; returns the changes that take them back. */
  change(changes) {
    const inverse = changes.map(([point]) => [point, this.clicks.get(point) ?? -1]);
    for (const [point, label] of changes) {
      this.clicks.delete(point);
      const region = this.regionOf[point];
      if (label !== -1) this.clicks.set(point, label);
      const left = [...this.clicks].filter(([other]) => this.regionOf[other] === region).pop();
      if (left) this.labels.set(region, left[1]); // the kernel answers with the class that wins
      else this.labels.delete(region);
    }
    return inverse;
  }

  /** Make changes and send them to the kernel; returns those that take them back. */
  act(changes, undoable = true) {
    const inverse = this.change(changes);
    if (undoable) this.history.push(inverse), (this.undone = []);
    this.describe();
    this.repaint();
    this.link.act(this.room.name, changes, this.room.seconds);
    return inverse;
  }

  label(point, label = this.active) {
    if (this.clicks.get(point) === label) return;
    // A region is of a class or of none: clicks that say the other are taken back in the same act, and so is the one
    // that the model asks about.
    const none = this.classes.none, region = this.regionOf[point]; // prettier-ignore
    const doubted = this.proposal && this.unsettled(this.proposal) ? this.proposal[1] : undefined;
    const against = [...this.clicks].filter(([other, said]) => {
      return other !== point && this.regionOf[other] === region && (other === doubted || (said === none) !== (label === none));
    });
    this.act([...against.map(([other]) => [other, -1]), [point, label]]);
  }

  /** Say that the marked super-voxel is of no class; go on to the next one if E or the model had led here. */
  refuse() {
    const region = this.marked();
    if (region < 0) return this.say("Point at a region, or go to one with E, to say that it is of no class");
    const led = this.focused === region;
    this.label(this.middle(region), this.classes.none);
    if (led && this.proposal?.[0] === region) this.propose();
    else if (led) this.next();
  }

  undo() {
    if (this.history.length) this.undone.push(this.act(this.history.pop(), false));
    else this.say("There is nothing to undo");
  }

  redo() {
    if (this.undone.length) this.history.push(this.act(this.undone.pop(), false));
    else this.say("There is nothing to redo");
  }

  clear(region) {
    const points = [...this.clicks.keys()].filter((point) => this.regionOf[point] === region);
    if (points.length) this.act(points.map((point) => [point, -1]));
  }

  /** Go to the largest super-voxel that has no label and was not gone to in this round, which counts the large ones. */
  next() {
    const regions = [...this.sizes.keys()].filter((region) => !this.labels.has(region));
    if (!this.round) {
      this.passed.clear();
      this.round = new Set(regions.filter((region) => this.large(region)));
    }
    const ahead = regions.filter((region) => !this.passed.has(region));
    if (!ahead.length) {
      this.round = undefined;
      return this.say(regions.length ? "Every region has had its turn; E begins again" : "Every region has a label, or is of no class");
    }
    const best = ahead.reduce((a, b) => (this.sizes[b] > this.sizes[a] ? b : a));
    this.passed.add(best);
    if (this.large(best)) this.round.add(best); // one whose label was taken back meanwhile, too
    this.look(best);
    const done = [...this.round].filter((region) => this.labels.has(region) || this.passed.has(region)).length;
    const place = this.large(best) ? `Region ${done} of ${this.round.size}` : "A small region";
    this.say(`${place}: ${this.sizes[best].toLocaleString("en")} points. Enter labels it, S says that it is of no class, E goes on`);
  }

  propose() {
    this.proposal = this.proposals.find((proposal) => this.unsettled(proposal) && !this.declined.has(proposal));
    if (!this.proposal) return this.say("The model proposes nothing more in this room");
    this.look(this.proposal[0]);
    this.say(this.question());
  }

  /** Whether a proposal still asks something: its region has no label yet, or its click is as the model saw it. */
  unsettled([region, point, , given]) {
    return given === null ? !this.labels.has(region) : this.clicks.get(point) === given;
  }

  /** Clicks that the model contradicts, and nobody has looked at yet. */
  doubts() {
    return this.proposals.filter((proposal) => proposal[3] !== null && this.unsettled(proposal) && !this.declined.has(proposal));
  }

  question() {
    if (!this.proposal || !this.unsettled(this.proposal)) return "";
    const [seen, given] = this.proposal.slice(2).map((label) => this.classes.names[label]);
    if (given) return `You clicked ${given}, the model sees ${seen}. A makes it ${seen}, N keeps ${given}, a click says otherwise`;
    return `Is this ${seen}? A accepts, N asks about another, a click says otherwise`;
  }

  accept() {
    if (!this.proposal || !this.unsettled(this.proposal)) return this.proposals.length && this.propose();
    this.label(this.proposal[1], this.proposal[2]);
    this.propose();
  }

  decline() {
    if (!this.proposal) return;
    this.declined.add(this.proposal);
    const [, point, , given] = this.proposal;
    if (given !== null) this.link.send({ kind: "keep", room: this.room.name, point });
    this.retitle();
    this.propose();
  }

  toggleGrey() {
    this.greyed = !this.greyed;
    this.greys.setAttribute("aria-pressed", `${this.greyed}`);
    this.draw();
  }

  toggleTint() {
    this.tinted = !this.tinted;
    this.tint.setAttribute("aria-pressed", `${this.tinted}`);
    this.repaint();
  }

  // --- camera -------------------------------------------------------------------------------------------------------

  measure() {
    const regions = this.regions, total = 1 + regions.reduce((a, b) => Math.max(a, b), 0); // prettier-ignore
    this.sizes = new Uint32Array(total);
    const sums = (this.centroids = new Float64Array(3 * total));
    for (let i = 0; i < this.count; i++) {
      this.sizes[regions[i]] += 1;
      for (let k = 0; k < 3; k++) sums[3 * regions[i] + k] += this.positions[3 * i + k];
    }
    for (let region = 0; region < total; region++) {
      for (let k = 0; k < 3; k++) {
        sums[3 * region + k] = this.room.low[k] + (this.room.step[k] * sums[3 * region + k]) / this.sizes[region];
      }
    }
    this.extent = this.room.step.map((step) => step * 65535);
    this.center = this.room.low.map((low, k) => low + this.extent[k] / 2);
    this.radius = Math.hypot(...this.extent) / 2;
  }

  fit(above = false) {
    if (!this.room) return;
    this.land();
    const aspect = this.canvas.clientWidth / Math.max(1, this.canvas.clientHeight);
    const elevation = above ? Math.PI / 2 - 1e-3 : 0.95;
    const azimuth = above ? -Math.PI / 2 : -2.2;
    this.camera = { azimuth, elevation, distance: 1, target: [...this.center] };
    this.leave();
    this.matrix();
    const { right, up, back } = this.axes;
    for (let corner = 0; corner < 8; corner++) {
      const at = this.extent.map((side, k) => (corner & (1 << k) ? side : -side) / 2);
      const along = (axis) => axis.reduce((sum, value, k) => sum + value * at[k], 0);
      const reach = Math.max(Math.abs(along(right)) / aspect, Math.abs(along(up))) / (0.95 * FIELD) + along(back);
      this.camera.distance = Math.max(this.camera.distance, reach);
    }
    this.draw();
  }

  /** Turn to a super-voxel from where it is seen, so near that most of the room stays in sight. */
  look(region) {
    const target = [...this.centroids.subarray(3 * region, 3 * region + 3)];
    const [x, y] = [this.center[0] - target[0], this.center[1] - target[1]];
    const inside = Math.atan2(y, x); // seen from the middle of the room
    const distance = Math.min(Math.max(this.camera.distance, 0.9 * this.radius), 1.6 * this.radius);
    const turns = [this.camera.azimuth, inside, inside + Math.PI / 2, inside - Math.PI / 2, inside + Math.PI];
    const to = this.clearest(region, turns.map((azimuth) => ({ azimuth, elevation: 0.75, distance, target })));
    this.leave();
    this.focused = region;
    this.left = this.pointer; // a hand that only trembles does not take the focus away
    this.pulsed = calm() ? -Infinity : performance.now();
    this.fly(to);
  }

  /** The first of some cameras that shows nearly as much of a super-voxel as any of them does. */
  clearest(region, cameras) {
    const gl = this.gl, { width, height } = this.canvas, kept = this.camera; // prettier-ignore
    const drawn = new Uint32Array(4 * width * height);
    const shown = cameras.map((camera) => {
      this.camera = camera;
      this.paintRegions(this.count);
      gl.bindFramebuffer(gl.FRAMEBUFFER, this.regionTarget.frame);
      gl.readPixels(0, 0, width, height, gl.RGBA_INTEGER, gl.UNSIGNED_INT, drawn);
      gl.bindFramebuffer(gl.FRAMEBUFFER, null);
      let pixels = 0;
      for (let i = 0; i < drawn.length; i += 4) pixels += drawn[i] === region + 1;
      return pixels;
    });
    this.camera = kept;
    this.stale = true;
    return cameras[shown.findIndex((pixels) => pixels >= 0.6 * Math.max(...shown))];
  }

  /** Take the camera there in EASE milliseconds from the next frame on, however late that comes; at once for whoever
   * wants no motion. */
  fly(to) {
    this.land();
    const from = this.camera;
    let began = null;
    const turn = ((((to.azimuth - from.azimuth) % (2 * Math.PI)) + 3 * Math.PI) % (2 * Math.PI)) - Math.PI;
    const step = (now) => {
      began ??= now;
      const time = calm() ? 1 : Math.min((now - began) / EASE, 1);
      const share = time * time * (3 - 2 * time);
      const between = (a, b) => a + share * (b - a);
      this.camera = {
        azimuth: from.azimuth + share * turn,
        elevation: between(from.elevation, to.elevation),
        distance: between(from.distance, to.distance),
        target: from.target.map((value, k) => between(value, to.target[k])),
      };
      this.flight = time < 1 ? requestAnimationFrame(step) : null;
      this.draw(time < 1);
    };
    this.flight = requestAnimationFrame(step);
  }

  /** Whoever moves the camera by hand has it where it is. */
  land() {
    cancelAnimationFrame(this.flight);
    this.flight = null;
  }

  /** Whether nothing moves and all that was asked for is drawn. */
  get still() {
    return !this.flight && !this.pulsing && !this.frame && !this.thinned;
  }

  /** The matrix from uint16 positions to clip space, column by column; this.eye and this.axes for panning. */
  matrix() {
    const { azimuth, elevation, distance, target } = this.camera;
    const [ca, sa, ce, se] = [Math.cos(azimuth), Math.sin(azimuth), Math.cos(elevation), Math.sin(elevation)];
    const back = [ca * ce, sa * ce, se], right = [-sa, ca, 0], up = [-ca * se, -sa * se, ce]; // prettier-ignore
    const eye = target.map((t, k) => t + distance * back[k]);
    this.axes = { right, up, back };
    const aspect = this.canvas.width / this.canvas.height;
    const near = 0.02 * distance, far = distance + 4 * this.radius + 1; // prettier-ignore
    const rows = [
      right.map((v) => v / (FIELD * aspect)),
      up.map((v) => v / FIELD),
      back.map((v) => (v * -(far + near)) / (far - near)),
      back.map((v) => -v),
    ];
    const shift = [0, 0, (-2 * far * near) / (far - near), 0];
    const made = new Float32Array(16);
    rows.forEach((row, r) => {
      let offset = shift[r];
      for (let k = 0; k < 3; k++) {
        made[4 * k + r] = row[k] * this.room.step[k];
        offset += row[k] * (this.room.low[k] - eye[k]);
      }
      made[12 + r] = offset;
    });
    return made;
  }

  /** What the shaders cut away and how large they draw: one place for drawing and picking. */
  limits() {
    const size = (1.7 * this.room.spacing * this.canvas.height) / FIELD / 2;
    const near = this.camera.distance + this.radius * (2 * this.cut.front - 1) * 1.2;
    return { size, top: 65535 * this.cut.top, near: this.cut.front > 0 ? near : 0 };
  }

  /** Where a vertex is drawn, in CSS pixels of the canvas. */
  project(vertex) {
    const m = this.matrix(), i = 3 * this.place[vertex], p = this.positions; // prettier-ignore
    const [x, y, , w] = [0, 1, 2, 3].map((r) => m[r] * p[i] + m[4 + r] * p[i + 1] + m[8 + r] * p[i + 2] + m[12 + r]);
    return [((x / w + 1) / 2) * this.canvas.clientWidth, ((1 - y / w) / 2) * this.canvas.clientHeight];
  }

  /** The vertex drawn at a place (CSS pixels): the front-most that covers it, else the nearest within REACH; or -1. */
  pick(left, up) {
    const m = this.matrix(), p = this.positions; // prettier-ignore
    const { width, height, clientWidth } = this.canvas;
    const scale = width / clientWidth;
    const { size, top, near } = this.limits();
    const u = left * scale, v = up * scale, reach = (REACH * scale) ** 2; // prettier-ignore
    const seen = this.triangles ? this.regionAt(left, up) : -1;
    if (seen >= 0) return this.nearest(seen, u, v);
    let best = -1, depth = Infinity, close = -1, least = reach; // prettier-ignore
    for (let i = 0, j = 0; i < this.count; i++, j += 3) {
      const w = m[3] * p[j] + m[7] * p[j + 1] + m[11] * p[j + 2] + m[15];
      if (w <= near || w <= 0 || p[j + 2] > top) continue;
      const dx = ((m[0] * p[j] + m[4] * p[j + 1] + m[8] * p[j + 2] + m[12]) / w / 2 + 0.5) * width - u;
      if (dx > 12 || dx < -12) continue;
      const dy = (0.5 - (m[1] * p[j] + m[5] * p[j + 1] + m[9] * p[j + 2] + m[13]) / w / 2) * height - v;
      const half = Math.min(Math.max(size / w, 1.5), 12) / 2;
      if (Math.abs(dx) <= half && Math.abs(dy) <= half) {
        if (w < depth) [best, depth] = [i, w];
      } else if (best < 0 && dx * dx + dy * dy < least) {
        [close, least] = [i, dx * dx + dy * dy];
      }
    }
    const found = best >= 0 ? best : close;
    return found < 0 ? -1 : this.order[found];
  }

  /** The super-voxel that is drawn at a place (CSS pixels), or -1. */
  regionAt(left, up) {
    const gl = this.gl, scale = this.canvas.width / this.canvas.clientWidth; // prettier-ignore
    const [x, y] = [Math.floor(left * scale), this.canvas.height - 1 - Math.floor(up * scale)];
    if (x < 0 || y < 0 || x >= this.canvas.width || y >= this.canvas.height) return -1;
    if (this.stale) this.paintRegions(this.count);
    const found = new Uint32Array(4);
    gl.bindFramebuffer(gl.FRAMEBUFFER, this.regionTarget.frame);
    gl.readPixels(x, y, 1, 1, gl.RGBA_INTEGER, gl.UNSIGNED_INT, found);
    gl.bindFramebuffer(gl.FRAMEBUFFER, null);
    return found[0] - 1;
  }

  /** The vertex of a super-voxel that is drawn nearest to a place, in pixels of the canvas. */
  nearest(region, u, v) {
    const m = this.matrix(), p = this.positions, { width, height } = this.canvas, { top, near } = this.limits(); // prettier-ignore
    let best = -1, least = Infinity; // prettier-ignore
    for (let i = 0, j = 0; i < this.count; i++, j += 3) {
      if (this.regions[i] !== region) continue;
      const w = m[3] * p[j] + m[7] * p[j + 1] + m[11] * p[j + 2] + m[15];
      if (w <= near || w <= 0 || p[j + 2] > top) continue;
      const dx = ((m[0] * p[j] + m[4] * p[j + 1] + m[8] * p[j + 2] + m[12]) / w / 2 + 0.5) * width - u;
      const dy = (0.5 - (m[1] * p[j] + m[5] * p[j + 1] + m[9] * p[j + 2] + m[13]) / w / 2) * height - v;
      if (dx * dx + dy * dy < least) [best, least] = [i, dx * dx + dy * dy];
    }
    return best < 0 ? -1 : this.order[best];
  }

  pan(dx, dy) {
    this.land();
    const metres = (2 * FIELD * this.camera.distance) / this.canvas.clientHeight;
    const { right, up } = this.axes;
    this.camera.target = this.camera.target.map((t, k) => t + metres * (dy * up[k] - dx * right[k]));
    this.draw(true);
  }

  orbit(dx, dy) {
    this.land();
    this.camera.azimuth -= dx;
    this.camera.elevation = Math.min(Math.max(this.camera.elevation + dy, -0.3), Math.PI / 2 - 1e-3);
    this.draw(true);
  }

  zoom(factor) {
    this.land();
    this.camera.distance = Math.min(Math.max(this.camera.distance * factor, 0.2), 8 * this.radius);
    this.leave();
    this.draw(true);
  }

  // --- input --------------------------------------------------------------------------------------------------------

  listen() {
    const canvas = this.canvas;
    let press = null; // { x, y, button, moved, id }
    const place = (event) => {
      const box = canvas.getBoundingClientRect();
      return [event.clientX - box.left, event.clientY - box.top];
    };
    this.root.addEventListener("pointerdown", () => (this.touched = performance.now()), true);
    this.root.addEventListener("keydown", (event) => this.key(event));
    // JupyterLab takes keys before any widget does: it must leave ours alone, but keep Ctrl+S and its like.
    this.sift = (event) => this.root.toggleAttribute("data-lm-suppress-shortcuts", !control(event) || isUndo(event));
    window.addEventListener("keydown", this.sift, true);
    canvas.addEventListener("contextmenu", (event) => (event.preventDefault(), event.stopPropagation()));
    canvas.addEventListener("pointerdown", (event) => {
      canvas.focus({ preventScroll: true });
      event.preventDefault();
      if (press) return (press.moved = true); // a second button or finger: no click
      const [x, y] = place(event);
      press = { x, y, lastX: x, lastY: y, button: event.button, pan: event.shiftKey || event.button > 0, moved: false, id: event.pointerId };
      canvas.setPointerCapture(event.pointerId);
    });
    canvas.addEventListener("pointermove", (event) => {
      if (!this.room) return;
      this.touched = performance.now();
      const [x, y] = place(event);
      if (!press) return this.hover(x, y);
      if (event.pointerId !== press.id) return;
      if (!press.moved && Math.hypot(x - press.x, y - press.y) <= DRAG) return;
      if (!press.moved) this.hover(-1, -1);
      press.moved = true;
      const [dx, dy] = [x - press.lastX, y - press.lastY];
      [press.lastX, press.lastY] = [x, y];
      if (press.pan) this.pan(dx, dy);
      else this.orbit(dx * 0.008, dy * 0.008);
    });
    canvas.addEventListener("pointerup", (event) => {
      if (!press || event.pointerId !== press.id) return;
      const { x, y, moved, button } = press;
      press = null;
      if (moved || !this.room) return;
      if (button === 2) return this.undo();
      const vertex = button === 0 ? this.pick(x, y) : -1;
      this.focused = -1;
      if (vertex >= 0) this.label(vertex);
      else if (button === 0) this.say("There is no point under the pointer; nothing was labelled");
    });
    canvas.addEventListener("pointercancel", () => (press = null));
    canvas.addEventListener("pointerleave", () => !press && this.hover(-1, -1));
    canvas.addEventListener("wheel", (event) => {
      event.preventDefault();
      this.touched = performance.now();
      if (this.room) this.zoom(Math.exp(Math.sign(event.deltaY) * Math.min(Math.abs(event.deltaY), 100) * 0.0015));
    }, { passive: false }); // prettier-ignore
    canvas.addEventListener("webglcontextlost", (event) => event.preventDefault());
    canvas.addEventListener("webglcontextrestored", () => {
      this.prepare();
      if (this.room) this.upload(), this.repaint();
    });
    this.rooms.addEventListener("change", () => this.go(Number(this.rooms.value)));
    this.search.addEventListener("input", () => ((this.found = 0), this.describe()));
    for (const input of [this.top, this.front]) {
      input.addEventListener("input", () => {
        this.cut = { top: this.top.value / 100, front: this.front.value / 100 };
        this.draw(true);
      });
    }
    this.resizing = new ResizeObserver(() => this.draw());
    this.resizing.observe(canvas);
    this.theming = new MutationObserver(() => this.draw());
    this.theming.observe(document.body, { attributes: true });
  }

  key(event) {
    this.touched = performance.now();
    if (isUndo(event) && this.room && event.target !== this.search) {
      event.preventDefault();
      event.stopPropagation();
      return event.shiftKey ? this.redo() : this.undo();
    }
    if (control(event) || event.altKey || !this.room) return;
    if (event.target === this.search) {
      const shown = this.list.querySelectorAll("button");
      const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
      if (step && this.search.value.trim() && shown.length) {
        this.found = (this.found + step + shown.length) % shown.length;
        this.describe();
        event.preventDefault();
      }
      const taken = this.list.querySelector(".otoc-found");
      if (event.key === "Enter" && taken) this.choose(Number(taken.dataset.class));
      if (event.key === "Enter" || event.key === "Escape") {
        this.search.value = "";
        this.describe();
        this.canvas.focus();
      }
      return;
    }
    if (event.target instanceof HTMLSelectElement || (event.target instanceof HTMLInputElement && event.key.startsWith("Arrow"))) return;
    const digit = /^(?:Digit|Numpad)([1-9])$/.exec(event.code);
    const turn = 0.12;
    const keys = {
      u: () => this.undo(), e: () => this.next(), s: () => this.refuse(), g: () => this.toggleGrey(),
      f: () => this.fit(), t: () => this.fit(true), 0: () => this.choose(this.classes.none),
      x: () => this.clear(this.marked()), "/": () => this.search.focus(), m: () => this.predicted && this.toggleTint(),
      a: () => this.accept(), n: () => this.decline(),
      "+": () => this.zoom(0.85), "=": () => this.zoom(0.85), "-": () => this.zoom(1 / 0.85),
      arrowleft: () => this.orbit(-turn, 0), arrowright: () => this.orbit(turn, 0),
      arrowup: () => this.orbit(0, turn), arrowdown: () => this.orbit(0, -turn),
    }; // prettier-ignore
    const key = event.key.toLowerCase();
    if (digit) this.choose(Number(digit[1]) - 1 + (event.shiftKey ? 9 : 0));
    else if (event.key === "Enter" && event.target === this.canvas) this.focused >= 0 && this.label(this.middle(this.focused));
    else if (keys[key]) keys[key]();
    else return;
    event.preventDefault();
    event.stopPropagation();
  }

  /** The super-voxel that keys speak of: the one that was gone to, until the pointer shows another. */
  marked() {
    return this.focused >= 0 ? this.focused : this.hovered;
  }

  /** The vertex of a super-voxel nearest to its centroid. */
  middle(region) {
    let best = -1, least = Infinity; // prettier-ignore
    for (let i = 0; i < this.count; i++) {
      if (this.regions[i] !== region) continue;
      let distance = 0;
      for (let k = 0; k < 3; k++) {
        distance += (this.room.low[k] + this.room.step[k] * this.positions[3 * i + k] - this.centroids[3 * region + k]) ** 2;
      }
      if (distance < least) [best, least] = [i, distance];
    }
    return this.order[best];
  }

  /** The pointer shows nothing until it moves: what lay under it has moved away. */
  leave() {
    this.hovered = -1;
    this.tip.hidden = true;
  }

  hover(x, y) {
    this.pointer = [x, y];
    if (this.hovering) return;
    this.hovering = requestAnimationFrame(() => {
      this.hovering = null;
      const [left, up] = this.pointer;
      const vertex = left < 0 ? -1 : this.pick(left, up);
      const region = vertex < 0 ? -1 : this.regionOf[vertex];
      const label = this.labels.get(region);
      const guess = this.tinted && region >= 0 ? `model: ${this.classes.names[this.predicted[region]]}` : "";
      this.tip.hidden = region < 0 || (label === undefined && !guess);
      this.tip.textContent = label === undefined ? guess : this.name(label);
      this.tip.style.transform = `translate(${Math.round(left + 14)}px, ${Math.round(up + 14)}px)`;
      const before = this.marked();
      if (left >= 0 && Math.hypot(left - (this.left?.[0] ?? 0), up - (this.left?.[1] ?? 0)) > 20) this.focused = -1;
      this.hovered = region;
      if (this.marked() !== before) this.draw();
    });
  }

  // --- WebGL --------------------------------------------------------------------------------------------------------

  prepare() {
    const gl = this.gl;
    const compile = (vertex, fragment) => {
      const program = gl.createProgram();
      for (const [type, source] of [[gl.VERTEX_SHADER, vertex], [gl.FRAGMENT_SHADER, fragment]]) {
        const shader = gl.createShader(type);
        gl.shaderSource(shader, source);
        gl.compileShader(shader);
        gl.attachShader(program, shader);
      }
      gl.bindAttribLocation(program, 0, "position");
      gl.bindAttribLocation(program, 1, "color");
      gl.bindAttribLocation(program, 2, "region");
      gl.linkProgram(program);
      if (!gl.getProgramParameter(program, gl.LINK_STATUS)) throw new Error(gl.getProgramInfoLog(program));
      const uniforms = {};
      for (let i = 0; i < gl.getProgramParameter(program, gl.ACTIVE_UNIFORMS); i++) {
        const { name } = gl.getActiveUniform(program, i);
        uniforms[name] = gl.getUniformLocation(program, name);
      }
      return { program, uniforms };
    };
    this.cloud = compile(VERTEX, FRAGMENT);
    this.seen = compile(REGION_VERTEX, REGION_FRAGMENT);
    this.edges = compile(EDGE_VERTEX, EDGE_FRAGMENT);
    this.dots = compile(DOT_VERTEX, DOT_FRAGMENT);
    this.paintTexture = gl.createTexture();
    this.nothing = gl.createVertexArray(); // for what needs no vertices
    this.regionTarget = undefined;
    this.stale = true; // whether the picture of super-voxels is another than that of the colours
    gl.blendFunc(gl.SRC_ALPHA, gl.ONE_MINUS_SRC_ALPHA);
    gl.enable(gl.DEPTH_TEST);
  }

  /** A vertex array over buffers of positions, colours and, for the cloud, super-voxel ids. */
  vertices(positions, colors, regions) {
    const gl = this.gl;
    const array = gl.createVertexArray();
    gl.bindVertexArray(array);
    const buffers = [positions, colors, regions].filter(Boolean).map((data, slot) => {
      const buffer = gl.createBuffer();
      gl.bindBuffer(gl.ARRAY_BUFFER, buffer);
      gl.bufferData(gl.ARRAY_BUFFER, data, gl.STATIC_DRAW);
      gl.enableVertexAttribArray(slot);
      if (slot === 0) gl.vertexAttribPointer(0, 3, gl.UNSIGNED_SHORT, false, 0, 0);
      if (slot === 1) gl.vertexAttribPointer(1, 3, gl.UNSIGNED_BYTE, true, 0, 0);
      if (slot === 2) gl.vertexAttribIPointer(2, 1, gl.UNSIGNED_INT, 0, 0);
      return buffer;
    });
    return { array, free: () => (buffers.forEach((buffer) => gl.deleteBuffer(buffer)), gl.deleteVertexArray(array)) };
  }

  upload() {
    const gl = this.gl;
    this.cloudArray?.free();
    gl.deleteBuffer(this.indices ?? null);
    this.cloudArray = this.vertices(this.positions, this.colors, this.regions);
    this.indices = null;
    if (!this.triangles) return;
    this.indices = gl.createBuffer(); // the array is bound, and remembers it
    gl.bindBuffer(gl.ELEMENT_ARRAY_BUFFER, this.indices);
    gl.bufferData(gl.ELEMENT_ARRAY_BUFFER, this.triangles.indices, gl.STATIC_DRAW);
  }

  /** Triangles of vertices as those of rows here, and after them the rows that no triangle uses, drawn as points. */
  drawable(faces) {
    const rows = faces.map((vertex) => this.place[vertex]);
    const used = new Uint8Array(this.count);
    for (const row of rows) used[row] = 1;
    const loose = [];
    for (let row = 0; row < this.count; row++) if (!used[row]) loose.push(row);
    const indices = new Uint32Array(rows.length + loose.length);
    indices.set(rows);
    indices.set(loose, rows.length);
    return { indices, corners: rows.length, loose: loose.length };
  }

  /** Colours of the super-voxels and dots of the clicks, from this.labels, this.clicks and the model's prediction. */
  repaint() {
    const gl = this.gl;
    const rows = Math.ceil(this.sizes.length / COLUMNS);
    const texels = new Uint8Array(4 * COLUMNS * rows);
    if (this.tinted) {
      for (let region = 0; region < this.sizes.length; region++) {
        texels.set([...this.classes.colors[this.predicted[region]], TINT], 4 * region);
      }
    }
    for (const [region, label] of this.labels) {
      texels.set([...this.color(label), label === this.classes.none ? 1 : STRENGTH], 4 * region);
    }
    gl.bindTexture(gl.TEXTURE_2D, this.paintTexture);
    gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGBA, COLUMNS, rows, 0, gl.RGBA, gl.UNSIGNED_BYTE, texels);
    gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_MIN_FILTER, gl.NEAREST);
    gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_MAG_FILTER, gl.NEAREST);
    const rowsOf = Uint32Array.from(this.clicks.keys(), (point) => this.place[point]);
    const colors = Uint8Array.from([...this.clicks.values()].flatMap((label) => this.color(label)));
    this.dotArray?.free();
    this.dotArray = this.vertices(gather(this.positions, rowsOf, 3), colors);
    this.draw();
  }

  /** Draw with the next frame. While the camera moves, only as many points as the machine draws at 25 frames a second. */
  draw(moving = false) {
    this.moving = moving;
    this.stale = true;
    this.frame ??= requestAnimationFrame((now) => {
      this.frame = null;
      if (!this.room || !this.cloudArray || !this.canvas.clientWidth) return;
      const elapsed = now - (this.drawn ?? 0);
      this.drawn = now;
      if (this.moving && elapsed < 250) {
        if (elapsed > 40) this.budget = Math.max(this.budget * 0.85, 20000);
        else if (elapsed < 25) this.budget = this.budget * 1.1;
        this.budget = Math.min(this.budget, this.count);
      }
      const shown = this.moving && !this.whole ? Math.floor(this.budget) : this.count;
      this.paint(shown);
      this.thinned = shown < this.count;
      clearTimeout(this.settling);
      if (shown < this.count) this.settling = setTimeout(() => this.draw(), 200);
    });
  }

  paint(shown) {
    const gl = this.gl, canvas = this.canvas; // prettier-ignore
    const scale = window.devicePixelRatio || 1;
    const [width, height] = [canvas.clientWidth, canvas.clientHeight].map((side) => Math.round(side * scale));
    if (canvas.width !== width || canvas.height !== height) [canvas.width, canvas.height] = [width, height];
    gl.viewport(0, 0, width, height);
    const [r, g, b] = getComputedStyle(canvas).backgroundColor.match(/[\d.]+/g).map((value) => value / 255);
    gl.clearColor(r, g, b, 1);
    gl.clear(gl.COLOR_BUFFER_BIT | gl.DEPTH_BUFFER_BIT);
    const { uniforms } = this.cloud;
    gl.useProgram(this.cloud.program);
    gl.uniform1i(uniforms.paint, 0);
    gl.uniform1i(uniforms.columns, COLUMNS);
    gl.uniform1i(uniforms.grey, this.greyed ? 1 : 0);
    gl.uniform1f(uniforms.ratio, scale);
    gl.activeTexture(gl.TEXTURE0);
    gl.bindTexture(gl.TEXTURE_2D, this.paintTexture);
    this.drawRoom(uniforms, shown);
    if (this.labels.size || this.marked() >= 0) this.paintRegions(shown), this.paintEdges(scale);
    if (performance.now() - this.pulsed < PULSE) {
      this.pulsing ??= requestAnimationFrame(() => ((this.pulsing = null), this.draw(true)));
    }
    if (!this.clicks.size) return;
    const { top, near } = this.limits();
    gl.useProgram(this.dots.program);
    gl.uniformMatrix4fv(this.dots.uniforms.project, false, this.matrix());
    gl.uniform1f(this.dots.uniforms.size, 13 * scale);
    gl.uniform1f(this.dots.uniforms.top, top);
    gl.uniform1f(this.dots.uniforms.near, near);
    gl.bindVertexArray(this.dotArray.array);
    gl.drawArrays(gl.POINTS, 0, this.clicks.size);
  }

  /** The room by the program in use: its triangles, or the first points of it. */
  drawRoom(uniforms, shown, wider = 1) {
    const gl = this.gl, { size, top, near } = this.limits(); // prettier-ignore
    gl.uniformMatrix4fv(uniforms.project, false, this.matrix());
    gl.uniform1f(uniforms.size, size);
    gl.uniform1f(uniforms.grow, wider * Math.min(Math.sqrt(this.count / shown), 2.5));
    gl.uniform1f(uniforms.top, top);
    gl.uniform1f(uniforms.near, near);
    gl.bindVertexArray(this.cloudArray.array);
    if (!this.triangles || shown < this.count) return gl.drawArrays(gl.POINTS, 0, shown);
    const { corners, loose } = this.triangles;
    gl.drawElements(gl.TRIANGLES, corners, gl.UNSIGNED_INT, 0);
    if (loose) gl.drawElements(gl.POINTS, loose, gl.UNSIGNED_INT, 4 * corners);
  }

  /** Draw which super-voxel is seen in every pixel, beside the canvas. */
  paintRegions(shown) {
    const gl = this.gl, { width, height } = this.canvas; // prettier-ignore
    if (this.regionTarget?.width !== width || this.regionTarget?.height !== height) {
      this.regionTarget?.free();
      const [texture, depth, frame] = [gl.createTexture(), gl.createRenderbuffer(), gl.createFramebuffer()];
      gl.bindTexture(gl.TEXTURE_2D, texture);
      gl.texStorage2D(gl.TEXTURE_2D, 1, gl.R32UI, width, height);
      gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_MIN_FILTER, gl.NEAREST);
      gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_MAG_FILTER, gl.NEAREST);
      gl.bindRenderbuffer(gl.RENDERBUFFER, depth);
      gl.renderbufferStorage(gl.RENDERBUFFER, gl.DEPTH_COMPONENT24, width, height);
      gl.bindFramebuffer(gl.FRAMEBUFFER, frame);
      gl.framebufferTexture2D(gl.FRAMEBUFFER, gl.COLOR_ATTACHMENT0, gl.TEXTURE_2D, texture, 0);
      gl.framebufferRenderbuffer(gl.FRAMEBUFFER, gl.DEPTH_ATTACHMENT, gl.RENDERBUFFER, depth);
      const free = () => (gl.deleteTexture(texture), gl.deleteRenderbuffer(depth), gl.deleteFramebuffer(frame));
      this.regionTarget = { width, height, texture, frame, free };
    }
    gl.bindFramebuffer(gl.FRAMEBUFFER, this.regionTarget.frame);
    gl.viewport(0, 0, width, height);
    gl.clearBufferuiv(gl.COLOR, 0, new Uint32Array(4));
    gl.clear(gl.DEPTH_BUFFER_BIT);
    gl.useProgram(this.seen.program);
    this.drawRoom(this.seen.uniforms, shown, WIDER);
    gl.bindFramebuffer(gl.FRAMEBUFFER, null);
    this.stale = shown < this.count;
  }

  /** Outlines over the room, from the picture of its super-voxels. */
  paintEdges(scale) {
    const gl = this.gl, { program, uniforms } = this.edges; // prettier-ignore
    const asked = this.proposal && this.marked() === this.proposal[0] && this.question();
    const age = (performance.now() - this.pulsed) / PULSE;
    const pulse = age < 1 ? 5 * (1 - age) * Math.sin(3 * Math.PI * age) ** 2 : 0;
    gl.useProgram(program);
    gl.activeTexture(gl.TEXTURE1);
    gl.bindTexture(gl.TEXTURE_2D, this.regionTarget.texture);
    gl.activeTexture(gl.TEXTURE0);
    gl.bindTexture(gl.TEXTURE_2D, this.paintTexture);
    gl.uniform1i(uniforms.paint, 0);
    gl.uniform1i(uniforms.seen, 1);
    gl.uniform1i(uniforms.columns, COLUMNS);
    gl.uniform1ui(uniforms.marked, this.marked() + 1);
    gl.uniform3f(uniforms.mark, ...this.color(asked ? this.proposal[2] : this.active).map((value) => value / 255));
    gl.uniform1f(uniforms.ratio, scale);
    gl.uniform1f(uniforms.thick, LINE + pulse);
    gl.bindVertexArray(this.nothing);
    gl.disable(gl.DEPTH_TEST);
    gl.enable(gl.BLEND);
    gl.drawArrays(gl.TRIANGLES, 0, 3);
    gl.disable(gl.BLEND);
    gl.enable(gl.DEPTH_TEST);
  }
}

/** An element with attributes and children. */
function h(tag, attributes, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

/** Rows of an array with so many columns, in another order. */
function gather(values, rows, columns) {
  const made = new values.constructor(rows.length * columns);
  for (let i = 0; i < rows.length; i++) {
    for (let k = 0; k < columns; k++) made[columns * i + k] = values[columns * rows[i] + k];
  }
  return made;
}

/** Whether the reader has asked for as little motion as possible. */
function calm() {
  return window.matchMedia("(prefers-reduced-motion: reduce)").matches;
}

function plural(clicks) {
  return `${clicks} click${clicks === 1 ? "" : "s"}`;
}

function title(index, name, clicks, doubts) {
  return `${index + 1}  ${name}  ·  ${clicks}${doubts ? `, ${doubts} in doubt` : ""}`;
}
