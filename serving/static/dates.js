// Dates as a column writes them (strptime's words) and as a browser's date field does (ISO 8601).

const MONTHS = ["January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November", "December"];
const two = (value) => String(value).padStart(2, "0");
const WORDS = { // pattern, what it means, and how it is written
  Y: ["(\\d{4})", (p, t) => { p.year = +t; }, (p) => String(p.year).padStart(4, "0")],
  y: ["(\\d{2})", (p, t) => { p.year = +t + (+t < 69 ? 2000 : 1900); }, (p) => two(p.year % 100)],
  m: ["(\\d{1,2})", (p, t) => { p.month = +t; }, (p) => two(p.month)],
  d: ["(\\d{1,2})", (p, t) => { p.day = +t; }, (p) => two(p.day)],
  B: ["([A-Za-z]+)", (p, t) => { p.month = MONTHS.findIndex((m) => m.toLowerCase() === t.toLowerCase()) + 1; }, (p) => MONTHS[p.month - 1]],
  b: ["([A-Za-z]{3})", (p, t) => { p.month = MONTHS.findIndex((m) => m.slice(0, 3).toLowerCase() === t.toLowerCase()) + 1; }, (p) => MONTHS[p.month - 1].slice(0, 3)],
  H: ["(\\d{1,2})", (p, t) => { p.hour = +t; }, (p) => two(p.hour)],
  M: ["(\\d{1,2})", (p, t) => { p.minute = +t; }, (p) => two(p.minute)],
  S: ["(\\d{1,2})", (p, t) => { p.second = +t; }, (p) => two(p.second)],
};
const TEXT = { input: "text", write: (text) => text, read: (cell) => cell };

// {input: "date" | "datetime-local" | "text", step, write(text of the field) -> cell, read(cell) -> text of the field}
export function dateField(format, examples) {
  if (!format) return isoField(examples.filter((cell) => typeof cell === "string"));
  const words = [...format.matchAll(/%(.)/g)].map((match) => match[1]);
  const known = words.every((word) => word in WORDS || word === "%") && words.includes("d")
    && (words.includes("Y") || words.includes("y")) && words.some((word) => "mBb".includes(word));
  if (!known) return TEXT;
  const timed = words.includes("H");
  const pattern = new RegExp(`^${format.split(/(%.)/).map((part) => part[0] === "%" ? WORDS[part[1]]?.[0] ?? "%" : part.replace(/[.*+?^${}()|[\]\\]/g, "\\$&")).join("")}$`);
  if (examples.some((cell) => !pattern.test(String(cell).trim()))) return TEXT;
  return {
    input: timed ? "datetime-local" : "date",
    step: words.includes("S") ? 1 : null,
    write(text) {
      const found = /^(\d+)-(\d+)-(\d+)(?:T(\d+):(\d+)(?::(\d+))?)?/.exec(text);
      if (!found) return text;
      const [year, month, day, hour = 0, minute = 0, second = 0] = found.slice(1).map((part) => (part === undefined ? 0 : +part));
      const parts = { year, month, day, hour, minute, second };
      return format.replace(/%(.)/g, (_, word) => (word === "%" ? "%" : WORDS[word][2](parts)));
    },
    read(cell) {
      const found = pattern.exec(String(cell).trim()), parts = { year: 1970, month: 1, day: 1, hour: 0, minute: 0, second: 0 };
      if (!found) return "";
      words.filter((word) => word !== "%").forEach((word, i) => WORDS[word][1](parts, found[i + 1]));
      const day = `${String(parts.year).padStart(4, "0")}-${two(parts.month)}-${two(parts.day)}`;
      return timed ? `${day}T${two(parts.hour)}:${two(parts.minute)}:${two(parts.second)}` : day;
    },
  };
}

function isoField(examples) {
  const plain = /^\d{4}-\d{2}-\d{2}(?:[T ]\d{2}:\d{2}(?::\d{2})?)?$/;
  if (examples.some((cell) => !plain.test(cell))) return TEXT;
  const timed = examples.some((cell) => cell.length > 10);
  return { input: timed ? "datetime-local" : "date", step: timed ? 1 : null, write: (text) => text, read: (cell) => cell.replace(" ", "T") };
}

// A day of the schema, counted from 1970-01-01, as YYYY-MM-DD; nothing where the calendar of a browser ends.
export function dayOf(days) {
  const date = new Date(days * 86400000);
  return Number.isNaN(date.getTime()) ? "" : date.toISOString().slice(0, 10);
}
