// A form for one row of a table, made from the schema: what each column takes, the range it was trained on, and what is missing.

import { dateField, dayOf } from "./dates.js";
import { fill, h, number } from "./dom.js";

const MOST_OPTIONS = 100; // more categories are written, with suggestions
const ELSE = "\u0000else", MISSING = "";

export function rowForm(root, { schema, examples, send }) {
  const fields = schema.features.map((feature, index) => fieldOf(feature, index, examples.map((row) => row[index])));
  let next = 0;
  const another = () => { const row = examples[next++ % examples.length]; fields.forEach((field, i) => { field.set(row[i]); field.complain(""); }); };
  const form = h("form", { class: "fields", novalidate: true, onsubmit: submit }, ...fields.map((field) => field.root),
    h("div", { class: "tools" }, h("button", { class: "primary", id: "predict" }, "Predict"),
      examples.length > 1 && h("button", { type: "button", id: "example", onclick: another }, "Another example")));
  fill(root, form);
  if (examples.length) another();

  async function submit(event) {
    event.preventDefault();
    const record = {};
    let wrong = null;
    for (const field of fields) {
      field.complain("");
      const { cell, problem } = field.get();
      if (problem) { field.complain(problem); wrong ??= field; }
      else if (cell !== undefined) record[field.feature.name] = cell;
    }
    if (wrong) return wrong.focus();
    await send({ body: JSON.stringify({ records: [record] }), type: "application/json" }, complain);
  }

  // Shows a refusal at the field that it is about; returns its name for people, or null where there is none.
  function complain({ field, message }) {
    const name = field?.match(/^records\[0\]\.([^]*)$/)?.[1], index = field?.match(/^inputs\[0\]\[(\d+)\]$/)?.[1];
    const found = fields.find((one, i) => one.feature.name === name || String(i) === index);
    if (!found) return null;
    found.complain(message);
    found.focus();
    return found.feature.name;
  }
}

function fieldOf(feature, index, samples) {
  const id = `field-${index}`;
  const control = CONTROLS[feature.kind]({ feature, id, samples });
  const warning = h("p", { class: "warn small", id: `${id}-warning`, "aria-live": "polite" });
  const error = h("p", { class: "error small", id: `${id}-error`, role: "alert" });
  const hint = h("p", { class: "soft small", id: `${id}-hint` }, control.hint);
  for (const one of control.inputs) one.setAttribute("aria-describedby", `${id}-hint ${id}-warning ${id}-error`);
  const name = [feature.name, feature.nullable && h("span", { class: "soft" }, " optional")];
  const label = control.group ? h("span", { class: "label", id: `${id}-label` }, ...name) : h("label", { class: "label", for: id }, ...name);
  const box = h("div", { class: "field", "data-feature": feature.name, role: control.group ? "group" : null, "aria-labelledby": control.group ? `${id}-label` : null }, label, control.root, hint, warning, error);
  const look = () => { warning.textContent = control.outside?.() ?? ""; };
  const complain = (text) => {
    error.textContent = text && text[0].toUpperCase() + text.slice(1);
    for (const one of control.inputs) text ? one.setAttribute("aria-invalid", "true") : one.removeAttribute("aria-invalid");
  };
  box.addEventListener("input", () => { look(); complain(""); });
  return { feature, root: box, get: control.get, complain, focus: () => (control.inputs.find((one) => one.checked) ?? control.inputs[0]).focus(), set: (cell) => { control.set(cell); look(); } };
}

// A cell that is missing: null where that is allowed, else left out, so that the service says what is required.
const missing = (feature) => ({ cell: feature.nullable ? null : undefined });

function numberControl({ feature, id, samples }) {
  const { minimum, maximum } = feature;
  const whole = [minimum, maximum, ...samples].every((value) => value === null || Number.isInteger(value));
  const span = maximum - minimum;
  const step = whole ? 1 : span > 0 ? 10 ** Math.floor(Math.log10(span / 50)) : "any";
  const input = h("input", { id, type: "number", step, inputmode: minimum < 0 ? null : "decimal", oninput: move });
  const mark = h("i", {}), track = h("div", { class: "track", "aria-hidden": "true" }, mark);
  function move() {
    const share = span > 0 ? (input.valueAsNumber - minimum) / span : 0.5;
    mark.hidden = Number.isNaN(share);
    mark.style.left = `${100 * Math.min(1, Math.max(0, share))}%`;
    track.classList.toggle("out", share < 0 || share > 1);
  }
  move();
  return {
    root: h("div", { class: "numeric" }, input, track), inputs: [input], hint: `trained on ${number(minimum)} to ${number(maximum)}`,
    get: () => input.validity.badInput ? { problem: "This is not a number." } : input.value === "" ? missing(feature) : { cell: input.valueAsNumber },
    set: (cell) => { input.value = cell ?? ""; move(); },
    outside: () => input.valueAsNumber < minimum || input.valueAsNumber > maximum ? "Outside of what the model was trained on: its answer is a guess." : "",
  };
}

function booleanControl({ feature, id }) {
  const [off, on] = feature.categories.length ? feature.categories : [false, true];
  const options = [[off, String(off)], [on, String(on)], ...(feature.nullable ? [[null, "missing"]] : [])];
  const inputs = options.map((_, i) => h("input", { type: "radio", name: id, id: i ? `${id}-${i}` : id }));
  const root = h("div", { class: "choice" }, ...options.map(([, text], i) => h("label", { class: text === "missing" && options[i][0] === null ? "soft" : null }, inputs[i], h("span", {}, text))));
  return {
    root, inputs, group: true, hint: "",
    get: () => { const at = inputs.findIndex((one) => one.checked); return at < 0 || options[at][0] === null ? missing(feature) : { cell: options[at][0] }; },
    set: (cell) => {
      const text = cell === null ? null : String(cell).toLowerCase();
      inputs.forEach((one, i) => { one.checked = cell === null ? options[i][0] === null : options[i][1].toLowerCase() === text || (typeof cell === "boolean" && i === Number(cell)); });
    },
  };
}

function categoryControl({ feature, id }) {
  const known = new Set(feature.categories);
  const hint = `${known.size} categories`;
  const unseen = (text) => (text && !known.has(text) ? "No training row had this category." : "");
  const fixed = (cell) => (cell === null || cell === undefined ? "" : String(cell));
  if (known.size > MOST_OPTIONS) {
    const input = h("input", { id, type: "text", list: `${id}-list`, autocomplete: "off" });
    const list = h("datalist", { id: `${id}-list` }, ...feature.categories.map((text) => h("option", { value: text })));
    return {
      root: h("div", {}, input, list), inputs: [input], hint, set: (cell) => { input.value = fixed(cell); }, outside: () => unseen(input.value.trim()),
      get: () => (input.value.trim() === "" ? missing(feature) : { cell: input.value }),
    };
  }
  const other = h("input", { id: `${id}-other`, type: "text", "aria-label": `${feature.name}, something else`, placeholder: "as it is written", autocomplete: "off", hidden: true });
  const select = h("select", { id, onchange: () => { show(); if (!other.hidden) other.focus(); } },
    feature.nullable ? h("option", { value: MISSING }, "(missing)") : h("option", { value: MISSING, disabled: true, hidden: true }, "choose"),
    ...feature.categories.map((text) => h("option", { value: text }, text)), h("option", { value: ELSE }, "something else…"));
  const show = () => { other.hidden = select.value !== ELSE; };
  return {
    root: h("div", { class: "stack" }, select, other), inputs: [select, other], hint,
    get: () => { const text = select.value === ELSE ? other.value : select.value; return text.trim() === "" ? missing(feature) : { cell: text }; },
    set: (cell) => { const text = fixed(cell); select.value = text === "" || known.has(text) ? text : ELSE; other.value = select.value === ELSE ? text : ""; show(); },
    outside: () => (select.value === ELSE ? unseen(other.value.trim()) : ""),
  };
}

function dateControl({ feature, id, samples }) {
  const form = dateField(feature.date_format, samples.filter((cell) => cell !== null));
  const low = dayOf(feature.minimum), high = dayOf(feature.maximum), range = `${low} to ${high}`.replaceAll("-", "\u2011");
  const input = h("input", { id, type: form.input, step: form.step });
  const written = form.input === "text" ? `, written as ${feature.date_format ?? "ISO 8601"}` : "";
  return {
    root: input, inputs: [input], hint: `trained on ${range}${written}`,
    get: () => input.validity.badInput ? { problem: "This date is not complete." } : input.value === "" ? missing(feature) : { cell: form.write(input.value) },
    set: (cell) => { input.value = cell === null ? "" : form.read(String(cell)); },
    outside: () => form.input !== "text" && input.value && (input.value.slice(0, 10) < low || input.value.slice(0, 10) > high) ? "Outside of the days that the model was trained on: its answer is a guess." : "",
  };
}

const CONTROLS = { number: numberControl, boolean: booleanControl, category: categoryControl, date: dateControl };
