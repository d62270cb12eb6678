// The drawing pad: strokes on a canvas, averaged over areas into exactly what the model takes, shown as it is sent.

import { announce, fill, h, number } from "./dom.js";

const SIDE = 336; // pixels of the pad's longer side inside, about
const STEPS = 16; // of the keyboard's pen over the longer side

export function drawing(root, { schema, examples, send, reset }) {
  const [height, width] = schema.shape.slice(-2);
  const channels = schema.shape.length > 2 ? schema.shape[0] : 1;
  const cell = Math.max(1, Math.round(SIDE / Math.max(height, width)));
  const style = styleOf(examples, { schema, height, width, channels });
  const state = { strokes: [], base: null, pen: null, timer: 0, next: 0 };

  const pad = h("canvas", {
    id: "pad", class: "pad", width: width * cell, height: height * cell, tabindex: 0, role: "application", "aria-roledescription": "drawing pad",
    "aria-label": "Drawing pad", "aria-describedby": "pad-help",
  });
  const seen = h("canvas", { class: "seen", width, height, role: "img", "aria-label": "What the model gets" });
  const size = h("input", { id: "brush", type: "range", min: 0.4, max: 3, step: 0.1, value: 1 });
  const fit = h("input", { id: "fit", type: "checkbox", checked: true, onchange: () => refresh(0) });
  const brush = () => Number(size.value) * Math.max(1.3, width / 11) * cell;
  const pick = () => {
    const row = examples[state.next++ % examples.length];
    Object.assign(state, { base: row, strokes: [], pen: null });
    refresh(0);
  };
  const undo = () => {
    if (!state.strokes.pop()) state.base = null;
    state.pen = null;
    refresh(60);
  };
  const clear = () => { Object.assign(state, { base: null, strokes: [], pen: null }); refresh(60); };

  fill(root,
    h("div", { class: "draw" },
      h("div", { class: "sheet" }, pad, h("p", { class: "invite", "aria-hidden": "true" }, `Draw a ${schema.target}`)),
      h("div", { class: "side" },
        h("figure", {}, seen, h("figcaption", { class: "soft small" }, `What the model gets: ${schema.shape.join(" × ")} values, ${number(schema.minimum)} to ${number(schema.maximum)}`)),
        h("div", { class: "range" }, h("label", { for: "brush" }, "Brush"), size),
        style.box && h("div", { class: "check" }, fit, h("label", { for: "fit" }, "Fit to frame, as in training")))),
    h("div", { class: "tools" },
      examples.length > 0 && h("button", { type: "button", id: "example", onclick: pick }, "Try an example"),
      h("button", { type: "button", id: "undo", onclick: undo }, "Undo"),
      h("button", { type: "button", id: "clear", onclick: clear }, "Clear")),
    h("p", { class: "soft small", id: "pad-help" }, "Mouse, finger or pen. By keyboard: arrows move the pen, Space lowers and lifts it, Ctrl+Z takes a stroke back, Delete clears."));

  const context = pad.getContext("2d", { willReadFrequently: true });
  const invite = root.querySelector(".invite");

  function paint(cursor = true) {
    context.fillStyle = style.dark ? "#000" : "#fff";
    context.fillRect(0, 0, pad.width, pad.height);
    if (state.base) {
      context.imageSmoothingEnabled = false;
      context.drawImage(picture(state.base), 0, 0, pad.width, pad.height);
      context.imageSmoothingEnabled = true;
    }
    context.strokeStyle = context.fillStyle = style.dark ? "#fff" : "#000";
    context.lineCap = context.lineJoin = "round";
    for (const { points } of state.strokes) {
      for (let i = 0; i < points.length; i++) {
        const [x, y, wide] = points[i], [px, py] = points[Math.max(0, i - 1)];
        context.lineWidth = wide;
        context.beginPath();
        context.moveTo(px, py);
        context.lineTo(x, y + (points.length === 1 ? 0.01 : 0));
        context.stroke();
      }
    }
    if (cursor && state.pen) {
      context.lineWidth = 3;
      context.strokeStyle = state.pen.down ? "#e0482f" : "#2aa6a6";
      context.beginPath();
      context.arc(state.pen.x, state.pen.y, Math.max(7, brush() / 2), 0, 7);
      context.stroke();
    }
    invite.hidden = Boolean(state.strokes.length || state.base || state.pen);
  }

  function picture(row) { // a row as a canvas of one pixel for each cell
    const small = new OffscreenCanvas(width, height), image = new ImageData(width, height);
    const planes = schema.shape.length > 2 ? row : [row];
    const span = schema.maximum - schema.minimum || 1;
    for (let y = 0; y < height; y++) for (let x = 0; x < width; x++) {
      const at = 4 * (y * width + x);
      for (let c = 0; c < 3; c++) image.data[at + c] = 255 * (planes[planes.length < 3 ? 0 : c][y][x] - schema.minimum) / span;
      image.data[at + 3] = 255;
    }
    small.getContext("2d").putImageData(image, 0, 0);
    return small;
  }

  function row() { // the drawing in the schema's shape and range
    if (state.base && !state.strokes.length) return state.base;
    paint(false);
    let image = context.getImageData(0, 0, pad.width, pad.height);
    if (style.box && fit.checked && !state.base) image = fitted(pad, image, style, cell);
    const planes = Array.from({ length: channels }, (_, c) => averages(image, height, width, cell, channels === 3 ? c : 0, schema));
    return schema.shape.length > 2 ? planes : planes[0];
  }

  function refresh(delay) {
    const empty = !state.strokes.length && !state.base;
    const values = row();
    seen.getContext("2d").drawImage(picture(values), 0, 0);
    paint();
    clearTimeout(state.timer);
    if (empty) return reset();
    state.timer = setTimeout(() => send({ body: JSON.stringify({ inputs: [values] }), type: "application/json" }), delay);
  }

  function place(event) {
    const box = pad.getBoundingClientRect();
    const wide = event.pointerType === "pen" && event.pressure ? brush() * (0.5 + event.pressure) : brush();
    return [((event.clientX - box.left) * pad.width) / box.width, ((event.clientY - box.top) * pad.height) / box.height, wide];
  }

  let active = null;
  pad.addEventListener("pointerdown", (event) => {
    if (event.button || active !== null) return;
    active = event.pointerId;
    pad.setPointerCapture(active);
    state.pen = null;
    clearTimeout(state.timer);
    state.strokes.push({ points: [place(event)] });
    paint();
  });
  pad.addEventListener("pointermove", (event) => {
    if (event.pointerId !== active) return;
    const passed = event.getCoalescedEvents?.() ?? [];
    state.strokes.at(-1).points.push(...(passed.length ? passed : [event]).map(place));
    paint();
  });
  const lift = (event) => { if (event.pointerId === active) { active = null; refresh(60); } };
  pad.addEventListener("pointerup", lift);
  pad.addEventListener("pointercancel", lift);
  pad.addEventListener("blur", () => { state.pen = null; paint(); });
  pad.addEventListener("keydown", (event) => {
    const step = Math.max(pad.width, pad.height) / STEPS;
    const [dx, dy] = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key] ?? [0, 0];
    if (event.key === "z" && (event.ctrlKey || event.metaKey)) undo();
    else if (event.key === "Delete" || event.key === "Backspace") clear();
    else if (event.key === " " || dx || dy) {
      const pen = (state.pen ??= { x: pad.width / 2, y: pad.height / 2, down: false });
      if (event.key === " ") {
        pen.down = !pen.down;
        if (pen.down) state.strokes.push({ points: [[pen.x, pen.y, brush()]] });
      } else {
        pen.x = Math.min(pad.width, Math.max(0, pen.x + dx * step));
        pen.y = Math.min(pad.height, Math.max(0, pen.y + dy * step));
        if (pen.down) state.strokes.at(-1).points.push([pen.x, pen.y, brush()]);
      }
      if (pen.down || event.key === " ") refresh(350); else paint();
      announce(`Pen ${pen.down ? "down" : "up"}, ${Math.round((100 * pen.x) / pad.width)} percent across, ${Math.round((100 * pen.y) / pad.height)} percent down`);
    } else return;
    event.preventDefault();
  });
  refresh(0);
}

// How the training images look: dark or light ground, and the mean box around their ink; no box where they are no drawings.
function styleOf(examples, { schema, height, width, channels }) {
  const boxes = [], span = schema.maximum - schema.minimum || 1;
  let light = 0, ground = 0, total = 0;
  for (const example of examples) {
    const plane = schema.shape.length > 2 ? example[0] : example;
    const shares = plane.map((line) => line.map((value) => (value - schema.minimum) / span));
    const edge = [...shares[0], ...shares.at(-1)];
    light += edge.reduce((a, b) => a + b, 0) / edge.length;
    boxes.push(shares);
  }
  const dark = !examples.length || light / examples.length < 0.5;
  const found = boxes.map((shares) => {
    const ink = shares.map((line) => line.map((share) => (dark ? share : 1 - share)));
    total += height * width;
    ground += ink.flat().filter((share) => share < 0.1).length;
    return bounds(width, height, (x, y) => ink[y][x] > 0.2);
  }).filter(Boolean);
  if (!found.length || channels > 1 || ground / total < 0.3) return { dark, box: null };
  const mean = (of) => found.reduce((sum, box) => sum + of(box), 0) / found.length;
  return { dark, box: { side: mean((b) => Math.max(b.right - b.left, b.bottom - b.top)), x: mean((b) => (b.left + b.right) / 2), y: mean((b) => (b.top + b.bottom) / 2) } };
}

function bounds(width, height, inked) {
  let left = width, right = 0, top = height, bottom = 0;
  for (let y = 0; y < height; y++) for (let x = 0; x < width; x++) if (inked(x, y)) {
    left = Math.min(left, x); right = Math.max(right, x + 1); top = Math.min(top, y); bottom = Math.max(bottom, y + 1);
  }
  return right > left ? { left, right, top, bottom } : null;
}

// The drawing moved and scaled so that its ink lies where that of the training images does.
function fitted(pad, image, { dark, box }, cell) {
  const drawn = bounds(pad.width, pad.height, (x, y) => (image.data[4 * (y * pad.width + x)] > 127) === dark);
  if (!drawn) return image;
  const context = new OffscreenCanvas(pad.width, pad.height).getContext("2d");
  context.fillStyle = dark ? "#000" : "#fff";
  context.fillRect(0, 0, pad.width, pad.height);
  const scale = (box.side * cell) / Math.max(drawn.right - drawn.left, drawn.bottom - drawn.top);
  context.translate(box.x * cell, box.y * cell);
  context.scale(scale, scale);
  context.drawImage(pad, -(drawn.left + drawn.right) / 2, -(drawn.top + drawn.bottom) / 2);
  return context.getImageData(0, 0, pad.width, pad.height);
}

function averages(image, height, width, cell, channel, { minimum, maximum }) {
  const digits = Math.max(0, 3 - Math.ceil(Math.log10(maximum - minimum || 1)));
  return Array.from({ length: height }, (_, y) => Array.from({ length: width }, (_, x) => {
    let sum = 0;
    for (let j = y * cell; j < (y + 1) * cell; j++) for (let i = x * cell; i < (x + 1) * cell; i++) sum += image.data[4 * (j * image.width + i) + channel];
    return Number((minimum + ((maximum - minimum) * sum) / (255 * cell * cell)).toFixed(digits));
  }));
}
