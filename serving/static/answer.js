// The answer to one request: bars for probabilities, values with their names, and the request itself as commands.

import { commands } from "./api.js";
import { $, copy, digest, fill, h, milliseconds, number, percent, save, tabs } from "./dom.js";

const MOST_BARS = 10;
let last = null;

export function showHint(text) {
  fill($("result"), h("p", { class: "soft hint" }, text));
  $("says").replaceChildren();
  $("timing").textContent = "";
  $("same").hidden = true;
}

export function showAnswer(schema, request, reply) {
  const predictions = reply.data?.predictions ?? [];
  timing(reply);
  remember(request);
  if (predictions.length !== 1) {
    fill($("says"), h("span", { class: "count" }, `${number(predictions.length)} ${predictions.length === 1 ? "row" : "rows"} answered`));
    fill($("result"), schema.classes.length && counts(predictions));
    return;
  }
  const [one] = predictions;
  if (one.labels) {
    fill($("says"), ...(one.labels.length ? one.labels.map((label) => h("span", { class: "chip" }, label)) : [h("span", { class: "large" }, "no label")]));
    fill($("result"), bars(one.probabilities, percent));
  } else if (one.probabilities) {
    fill($("says"), h("span", { class: one.label.length > 16 ? "count" : "large" }, one.label), h("span", { class: "sure" }, percent(one.score)));
    fill($("result"), bars(one.probabilities, percent));
  } else {
    const values = one.values ?? { [schema.target]: one.value };
    fill($("says"), ...Object.entries(values).slice(0, 4).map(([name, value]) => h("span", { class: "value" }, h("span", { class: "large" }, number(value)), h("span", { class: "soft" }, name))));
    const rest = Object.entries(values).slice(4);
    fill($("result"), rest.length > 0 && h("dl", { class: "pairs" }, ...rest.flatMap(([name, value]) => [h("dt", {}, name), h("dd", {}, number(value))])));
  }
}

export function showFault({ message, field }, name, request, reply) {
  timing(reply);
  if (request) remember(request);
  fill($("says"), h("span", { class: "refused" }, "No answer"));
  const place = name ?? field;
  fill($("result"), h("p", { class: "error" }, place ? h("b", {}, `${place}: `) : null, message));
}

function timing(reply) {
  const id = reply?.headers.get("x-request-id") ?? reply?.data?.request_id ?? reply?.data?.id;
  fill($("timing"), reply && h("span", {}, milliseconds(reply.ms), id && " · request "), id && digest(String(id), { length: 24, what: "request id" }));
}

// Sorted, the ten largest first; a screen reader hears name and value of each.
function bars(shares, written) {
  const sorted = Object.entries(shares).sort((a, b) => b[1] - a[1]);
  const long = sorted.some(([name]) => name.length > 16);
  const list = (entries) => h("ol", { class: long ? "bars long" : "bars" }, ...entries.map(([name, share], i) => {
    const bar = h("i", {});
    bar.style.width = `${Math.max(0.4, 100 * share)}%`;
    return h("li", { class: i === 0 && entries === first ? "first" : null }, h("span", { class: "name" }, name), h("span", { class: "bar", "aria-hidden": "true" }, bar), h("span", { class: "figure" }, written(share)));
  }));
  const first = sorted.slice(0, MOST_BARS), rest = sorted.slice(MOST_BARS);
  return h("div", {}, list(first), rest.length > 0 && h("details", {}, h("summary", {}, `${rest.length} more`), list(rest)));
}

function counts(predictions) {
  const found = {};
  for (const one of predictions) for (const label of one.labels ?? [one.label]) found[label] = (found[label] ?? 0) + 1 / predictions.length;
  return bars(found, (share) => number(Math.round(share * predictions.length)));
}

function remember(request) {
  last = request;
  $("same").hidden = false;
  if ($("same").open) write();
}

function write() {
  const found = commands(last), language = document.querySelector("#same [aria-selected=true]").id.slice(4);
  $("code").textContent = found[language];
  $("code").setAttribute("aria-labelledby", `tab-${language}`);
  $("code-note").hidden = !found.file;
  fill($("code-note"), found.file && h("span", {}, `Needs ${found.file} in the same folder. `),
    found.file && h("button", { type: "button", class: "quiet", onclick: () => save(found.file, last.type, [last.body]) }, "Save it"));
}

export function startCommands() {
  tabs($("same").querySelector("[role=tablist]"), write);
  $("same").addEventListener("toggle", () => { if ($("same").open && last) write(); });
  $("copy").addEventListener("click", () => copy($("code").textContent, $("copy")));
}
