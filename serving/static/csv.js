// Many rows at once: a CSV, pasted or dropped, sent as it is; the answers stand in a table beside their rows.

import { $, fill, h, number, percent, save } from "./dom.js";

const MOST_SHOWN = 200;

export function csvArea(root, { schema, examples, send }) {
  const names = schema.features.map((feature) => feature.name);
  const start = [names, ...examples.slice(0, 3)].map((row) => row.map(quoted).join(",")).join("\n");
  const area = h("textarea", { id: "csv-rows", rows: 9, spellcheck: "false", wrap: "off", "aria-describedby": "csv-hint csv-error", value: `${start}\n` });
  const error = h("p", { class: "error small", id: "csv-error", role: "alert" });
  const file = h("input", { type: "file", id: "csv-file", class: "unseen", accept: ".csv,text/csv,text/plain" });
  const form = h("form", { novalidate: true, onsubmit: submit },
    h("label", { class: "label", for: "csv-rows" }, "Rows as CSV"), area,
    h("p", { class: "soft small", id: "csv-hint" }, `The first line names the columns: ${names.length > 8 ? `${names.slice(0, 8).join(", ")} and ${names.length - 8} more` : names.join(", ")}.`), error,
    h("div", { class: "tools" }, h("button", { class: "primary", id: "csv-predict" }, "Predict all rows"), file, h("label", { class: "button", for: "csv-file" }, "Open a file")));
  fill(root, form);
  const open = async (found) => { if (found) area.value = await found.text(); };
  file.addEventListener("change", () => { open(file.files[0]); file.value = ""; });
  area.addEventListener("dragover", (event) => { if ([...event.dataTransfer.types].includes("Files")) event.preventDefault(); });
  area.addEventListener("drop", (event) => { if (event.dataTransfer.files.length) { event.preventDefault(); open(event.dataTransfer.files[0]); } });

  async function submit(event) {
    event.preventDefault();
    complain({ message: "" });
    const body = area.value;
    if (!body.trim()) return complain({ message: "Paste rows first: a line of column names, then a line for each row." });
    const reply = await send({ body, type: "text/csv" }, complain);
    if (reply?.ok) show(body, reply.data.predictions ?? []);
  }

  // Shows a refusal below the rows, with its row selected; the service counts rows from 0, people from 1.
  function complain({ field, message }) {
    const [, row, name] = field?.match(/^(?:rows|records)\[(\d+)\](?:\.([^]*))?$/) ?? [];
    const place = row === undefined ? field : `row ${Number(row) + 1}${name ? `, ${name}` : ""}`;
    error.textContent = message && `${place ? `${place[0].toUpperCase()}${place.slice(1)}: ` : ""}${message}`;
    message ? area.setAttribute("aria-invalid", "true") : area.removeAttribute("aria-invalid");
    if (!message) return null;
    area.focus();
    if (row !== undefined) select(Number(row) + 1);
    return place ?? "the rows";
  }

  function select(line) {
    const lines = area.value.split("\n");
    if (area.value.includes('"') || line >= lines.length) return; // a quoted cell may hold line breaks
    const start = lines.slice(0, line).join("\n").length + 1;
    area.setSelectionRange(start, start + lines[line].length);
  }

  function show(body, predictions) {
    const [head = [], ...rows] = parse(body);
    const titles = titlesOf(schema);
    const whole = () => [[...head, ...titles.map(([title]) => title)], ...predictions.map((one, i) => [...(rows[i] ?? []), ...titles.map(([, of]) => of(one))])];
    const table = h("table", {},
      h("thead", {}, h("tr", {}, h("th", { scope: "col" }, "Row"), ...titles.map(([title]) => h("th", { scope: "col" }, title)), ...head.map((name) => h("th", { scope: "col", class: "soft" }, name)))),
      h("tbody", {}, ...predictions.slice(0, MOST_SHOWN).map((one, i) => h("tr", {}, h("th", { scope: "row" }, String(i + 1)),
        ...titles.map(([, of, shown]) => h("td", { class: "answered" }, (shown ?? String)(of(one)))), ...(rows[i] ?? []).map((cell) => h("td", { class: "soft" }, cell))))));
    $("result").append(h("div", { id: "csv-result" },
      h("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "Answers" }, table),
      h("div", { class: "tools" },
        h("button", { type: "button", id: "csv-save", onclick: () => save("predictions.csv", "text/csv", [`${whole().map((row) => row.map(quoted).join(",")).join("\r\n")}\r\n`]) }, "Download as CSV"),
        predictions.length > MOST_SHOWN && h("p", { class: "soft small" }, `The first ${MOST_SHOWN} of ${number(predictions.length)} rows are shown; the download has all.`))));
  }
}

// Each column of an answer: its title, its value, and how it is shown.
function titlesOf(schema) {
  if (schema.task === "classification") return [[schema.target, (one) => one.label], ["score", (one) => one.score, percent]];
  if (schema.task === "multilabel") return [[schema.target, (one) => (one.labels ?? []).join("; ")]];
  if (schema.targets.length) return schema.targets.map((name) => [name, (one) => one.values?.[name], number]);
  return [[schema.target, (one) => one.value, number]];
}

function quoted(cell) {
  const text = cell === null || cell === undefined ? "" : String(cell);
  return /[",\r\n]|^\s|\s$/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

// RFC 4180, for showing the rows beside their answers; what the model gets is read by the service.
export function parse(text) {
  const rows = [];
  let row = [], cell = "", inside = false, any = false;
  const endRow = () => { if (any || row.length) rows.push([...row, cell]); row = []; cell = ""; any = false; };
  for (let i = 0; i < text.length; i++) {
    const letter = text[i];
    if (inside) {
      if (letter !== '"') cell += letter;
      else if (text[i + 1] === '"') { cell += '"'; i++; }
      else inside = false;
    } else if (letter === '"' && cell === "") { inside = any = true; }
    else if (letter === ",") { row.push(cell); cell = ""; any = true; }
    else if (letter === "\n") endRow();
    else if (letter !== "\r") { cell += letter; any = true; }
  }
  endRow();
  return rows;
}
