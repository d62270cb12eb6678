// What the page tells about the model and the service: the model card, and what happened during the last minute.

import { $, digest, fill, h, milliseconds, number, percent, short } from "./dom.js";

const SVG = "http://www.w3.org/2000/svg";
const SPLITS = ["validation", "test"];
const WORDS = { fp32: "32-bit floats", fp16: "16-bit floats", int8: "8-bit integers" };
const CHAIN = ["data", "statistics", "checkpoint", "artifact"];

export function taskOf({ task, target, classes }) {
  return `${task} of ${target}${classes.length ? `, ${classes.length} ${task === "multilabel" ? "labels" : "classes"}` : ""}`;
}

export function showCard(info) {
  const { schema, artifact, lineage, metrics, parity } = info;
  const pairs = [
    ["Version", info.model.version],
    ["Digest", digest(info.model.digest)],
    ["Task", taskOf(schema)],
    ["Input", schema.kind === "table" ? `${schema.features.length} columns` : `images, ${schema.shape.join(" × ")}`],
    ["Artifact", `${artifact.runtime}${artifact.provider ? ` on ${artifact.provider}` : ""} · ${WORDS[artifact.precision] ?? artifact.precision}`],
    ["Created", h("time", { datetime: info.created }, moment(info.created))],
    ["Parity", parityOf(parity)],
  ];
  fill($("card-body"),
    h("div", { class: "two even" },
      h("dl", { class: "pairs" }, ...pairs.filter(([, value]) => value).flatMap(([name, value]) => [h("dt", {}, name), h("dd", {}, value)])),
      h("div", {}, metricsOf(metrics))),
    h("h3", {}, "Where it comes from"),
    h("ol", { class: "chain" }, h("li", {}, h("span", { class: "soft small" }, "run"), digest(lineage.run, { length: 32, what: "run" })),
      ...CHAIN.filter((name) => lineage[name]).map((name) => h("li", {}, h("span", { class: "soft small" }, name), digest(lineage[name], { length: 10, what: name })))));
  $("card").hidden = false;
}

const moment = (text) => (Number.isNaN(Date.parse(text)) ? text : `${new Date(text).toISOString().slice(0, 16).replace("T", " ")} UTC`);

function parityOf(parity) {
  const said = [];
  if (typeof parity.passed === "boolean") said.push(parity.passed ? "passed" : "failed");
  const agreement = parity.agreement ?? parity.argmax_agreement ?? parity.label_agreement;
  if (typeof agreement === "number") said.push(`${percent(agreement)} of answers agree${parity.against ? ` with the ${parity.against}` : ""}`);
  if (typeof parity.max_abs_diff === "number") said.push(`largest difference ${short(parity.max_abs_diff)}`);
  if (typeof parity.rows === "number") said.push(`${number(parity.rows)} rows`);
  return said.join(" · ");
}

function metricsOf(metrics) {
  const splits = SPLITS.filter((split) => metrics[split]);
  const names = [...new Set(splits.flatMap((split) => Object.keys(metrics[split].metrics ?? {})))];
  const reads = metrics.test?.test_reads;
  const about = (split) => [number(metrics[split].rows), "rows"].join(" ");
  const level = splits.map((split) => metrics[split].confidence).find(Boolean);
  const table = names.length > 0 && h("table", { class: "metrics" },
    h("thead", {}, h("tr", {}, h("th", { scope: "col" }, "Metric"), ...splits.map((split) => h("th", { scope: "col" }, split, " ", h("span", { class: "soft small" }, about(split)))))),
    h("tbody", {}, ...names.map((name) => h("tr", {}, h("th", { scope: "row" }, name.replaceAll("_", " ")), ...splits.map((split) => h("td", {}, interval(metrics[split].metrics?.[name])))))));
  return h("div", {}, table || h("p", { class: "soft" }, "The bundle holds no metrics."),
    h("p", { class: "soft small" }, [names.length > 0 && level && `In brackets: ${Math.round(100 * level)} % intervals.`,
      reads && `The test rows were read ${reads.count === 1 ? "once" : `${reads.count} times`}${reads.allowed ? `, ${reads.allowed} allowed` : ""}${reads.exceeded ? ": more than allowed" : ""}.`].filter(Boolean).join(" ")));
}

function interval(found) {
  if (typeof found?.value !== "number") return "–";
  const bounds = typeof found.low === "number" && h("span", { class: "soft small" }, `[${short(found.low)}, ${short(found.high)}]`);
  return h("span", {}, h("b", {}, short(found.value)), " ", bounds);
}

const history = [];

export function showLive(stats, model) {
  const { seconds = 60, requests: counts = {}, requests_per_second: rate = 0, ms } = stats.window ?? {};
  const latency = ms?.total ?? {}, drift = stats.drift?.[model];
  const requests = Object.values(counts).reduce((sum, count) => sum + count, 0);
  history.push(latency);
  if (history.length > 30) history.shift(); // a minute
  const figures = [["Requests", number(requests)], ["Per second", short(rate)], ...["p50", "p95", "p99"].map((name) => [name, milliseconds(latency[name])])];
  $("live-window").textContent = seconds >= 59 ? "the last minute" : `the last ${Math.max(2, Math.round(seconds))} seconds`;
  fill($("figures"), ...figures.map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value))), history.length > 3 && h("div", { class: "wide" }, h("dt", {}, "p50 and p95"), h("dd", {}, spark())));
  const open = Boolean($("drift").querySelector("details")?.open);
  fill($("drift"), drift && h("h3", {}, "Against the training rows ", mark(drift.state)), drift && h("p", { class: "soft small" }, depth(drift)),
    tableOf("Inputs", drift?.inputs ?? [], open), tableOf("Answers", drift?.predictions ?? [], open));
  $("live").hidden = false;
}

function spark() {
  const drawn = document.createElementNS(SVG, "svg");
  drawn.setAttribute("viewBox", "0 0 180 36");
  drawn.setAttribute("class", "spark");
  drawn.setAttribute("aria-hidden", "true");
  const most = Math.max(...history.flatMap((one) => [one.p50 ?? 0, one.p95 ?? 0]), 0.001);
  for (const name of ["p95", "p50"]) {
    const line = document.createElementNS(SVG, "polyline");
    line.setAttribute("points", history.map((one, i) => `${(180 * i) / (history.length - 1)},${34 - (31 * (one[name] ?? 0)) / most}`).join(" "));
    line.setAttribute("class", name);
    drawn.append(line);
  }
  return drawn;
}

const STATES = { ok: "as in training", shifting: "shifting", drifted: "drifted" };
const mark = (state) => h("span", { class: `mark ${state}` }, STATES[state] ?? state ?? "unknown");

function depth({ state, rows = 0, needed, inputs = [] }) {
  if (state === "no reference") return "The bundle does not tell what its training rows looked like.";
  const counted = `${number(rows)} ${rows === 1 ? "row" : "rows"} so far`;
  if (needed && rows < needed) return `${counted}; ${number(needed)} are needed to say something.`;
  return inputs.length ? `Population stability index over ${number(rows)} rows; above 0.1 is a shift, above 0.25 a drift.` : `${number(rows)} rows.`;
}

function tableOf(title, found, open) {
  const sorted = [...found].sort((a, b) => (b.psi ?? 0) - (a.psi ?? 0));
  const lines = (some) => h("table", { class: "drift" }, h("thead", {}, h("tr", {}, h("th", { scope: "col" }, title), h("td", { class: "bar" }), h("th", { scope: "col", class: "figure" }, "PSI"), h("th", { scope: "col" }, h("span", { class: "unseen" }, "State")))),
    h("tbody", {}, ...some.map(({ name, psi, state, out_of_range: outside, unseen, missing }) => {
      const bar = h("i", {});
      bar.style.width = `${Math.min(100, ((psi ?? 0) / 0.4) * 100)}%`;
      return h("tr", { class: state }, h("th", { scope: "row" }, name, h("span", { class: "soft small" }, [[outside, "out of range"], [unseen, "unseen"], [missing, "missing"]].filter(([share]) => share > 0).map(([share, what]) => ` · ${percent(share)} ${what}`).join(""))), h("td", { class: "bar", "aria-hidden": "true" }, bar), h("td", { class: "figure" }, psi?.toFixed(3) ?? "–"), h("td", {}, mark(state)));
    })));
  if (!sorted.length) return null;
  return h("div", {}, lines(sorted.slice(0, 6)), sorted.length > 6 && h("details", { open }, h("summary", {}, `${sorted.length - 6} more`), lines(sorted.slice(6))));
}
