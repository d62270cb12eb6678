// The page: asks the service what its model takes, builds the input for it, and shows what comes back.

import { showAnswer, showFault, showHint, startCommands } from "./answer.js";
import { call, fault, hasKey, onLocked, useKey } from "./api.js";
import { showCard, showLive, taskOf } from "./card.js";
import { $, fill, h, tabs } from "./dom.js";

const PATIENCE_MS = 2000; // between two looks at a service that is not ready, and at its numbers

let info = null;
let asked = 0; // number of the newest request: an older answer that comes late is not shown
let again = 0;
let watching = 0;
let bare = false; // whether the input was built while there were no examples, as before a model is ready

async function start() {
  clearTimeout(again);
  const reply = await call("info");
  if (reply.status === 401) return;
  if (!reply.ok || !reply.data?.schema) {
    await waiting(fault(reply).message);
    return;
  }
  const before = info;
  info = reply.data;
  $("name").textContent = info.model.name;
  document.title = `${info.model.name} · Slipway`;
  $("about").textContent = taskOf(info.schema);
  showCard(info);
  if (JSON.stringify(before?.schema) !== JSON.stringify(info.schema) || (bare && info.ready && !before.ready)) await build(info.schema);
  if (info.ready === false) await waiting(null);
  else state("ready", "ready");
  watch();
}

// Says why nothing answers, and looks again until something does.
async function waiting(reason) {
  clearTimeout(again);
  const reply = await call("readyz");
  if (reply.status === 401) return;
  if (reply.ok && !reason) return state("ready", "ready");
  const why = reply.data?.reason ?? reply.data?.error?.message ?? reason ?? fault(reply).message;
  state("bad", reply.status ? "not ready" : "no connection");
  trouble(reply.status ? `The model is not ready: ${why}` : why);
  clearTimeout(again);
  again = setTimeout(start, PATIENCE_MS);
}

function state(name, text) {
  $("state").dataset.state = name;
  $("state-text").textContent = text;
  if (name === "ready") trouble("");
}

function trouble(text) {
  $("trouble").textContent = text;
  $("trouble").hidden = !text;
}

async function build(schema) {
  const found = await call("example");
  const examples = found.ok ? found.data?.rows ?? [] : [], pictures = found.ok ? found.data?.pictures ?? [] : [];
  bare = !examples.length && !pictures.length;
  const parts = { schema, examples, pictures, send, fail: (message) => showFault({ message }), reset: () => { asked++; hint(); } };
  const hints = { draw: "Draw, and the answer appears here.", upload: "Choose a picture, and the answer appears here.", row: "Press Predict, and the answer appears here.", csv: "Every row gets its answer; the count of each stands here." };
  const hint = (way = current) => showHint(hints[way]);
  const table = schema.kind === "table" && schema.features.length > 0;
  // Only what this model needs is loaded.
  const ways = table ? [["row", "One row", (await import("./form.js")).rowForm], ["csv", "Many rows", (await import("./csv.js")).csvArea]]
    : schema.picture ? [["upload", "Picture", (await import("./upload.js")).upload]] : [["draw", "Drawing", (await import("./draw.js")).drawing]];
  let current = ways[0][0];
  const panels = ways.map(([id]) => h("div", { id: `way-${id}`, role: ways.length > 1 ? "tabpanel" : null, "aria-labelledby": ways.length > 1 ? id : null, hidden: id !== current }));
  $("ask").hidden = $("answer").hidden = false;
  fill($("input"), ...panels);
  hint();
  ways.forEach(([, , make], i) => make(panels[i], parts));
  $("ways").hidden = ways.length < 2;
  fill($("ways"), ...ways.map(([id, text], i) => h("button", { type: "button", role: "tab", id, "aria-controls": `way-${id}`, "aria-selected": String(!i), tabindex: i ? -1 : 0 }, text)));
  tabs($("ways"), (id) => {
    if (id === current) return;
    current = id;
    ways.forEach(([way], i) => { panels[i].hidden = way !== id; });
    hint();
  });
}

// Sends a request {body, type, name}; complain(fault) shows a refusal where it belongs and returns the name of that place.
async function send(request, complain) {
  const mine = ++asked;
  $("answer").setAttribute("aria-busy", "true");
  const reply = await call("predict", { method: "POST", body: request.body, type: request.type });
  if (mine !== asked) return null;
  $("answer").removeAttribute("aria-busy");
  if (reply.ok) {
    showAnswer(info.schema, request, reply);
    toAnswer();
    if (reply.data?.model?.digest && reply.data.model.digest !== info.model.digest) start(); // another model took over
  } else {
    const wrong = fault(reply);
    showFault(wrong, complain?.(wrong) ?? null, request, reply);
    if (wrong.code === "not_ready" || reply.status === 0) waiting(wrong.message);
  }
  return reply;
}

// On a phone the answer lies below what asked for it.
function toAnswer() {
  const box = $("answer").getBoundingClientRect();
  if (box.top > innerHeight - 120) $("answer").scrollIntoView({ block: "nearest", behavior: matchMedia("(prefers-reduced-motion: reduce)").matches ? "auto" : "smooth" });
}

async function watch() {
  clearTimeout(watching);
  if (document.hidden || !info) return;
  const reply = await call("stats");
  if (reply.status === 404 || reply.status === 401) return; // a service without numbers, or without a key yet
  if (reply.ok && reply.data) showLive(reply.data, info.model.digest);
  clearTimeout(watching);
  watching = setTimeout(watch, PATIENCE_MS);
}

onLocked(() => {
  $("key-hint").textContent = hasKey() ? "That key is not the one. " : "It stays in this page's memory and goes to this service only.";
  $("key-form").hidden = false;
  state("bad", "locked");
});
$("key-form").addEventListener("submit", async (event) => {
  event.preventDefault();
  useKey($("key").value);
  $("key").value = "";
  $("key-form").hidden = true;
  await start();
  if (!$("key-form").hidden) $("key").focus();
});
document.addEventListener("visibilitychange", watch);
startCommands();
start();
