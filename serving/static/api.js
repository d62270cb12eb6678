// Talking to the service. Addresses are relative, so the page works below a prefix, too; the key lives in this variable only.

let key = null;
let locked = () => {};

export const hasKey = () => key !== null;
export const useKey = (text) => { key = text || null; };
export const onLocked = (listener) => { locked = listener; };

// Returns {status, ok, data, headers, ms}; status 0: nothing answered. data: the parsed JSON, or null.
export async function call(path, { method = "GET", body, type } = {}) {
  const headers = {};
  if (type) headers["Content-Type"] = type;
  if (key) headers.Authorization = `Bearer ${key}`;
  const started = performance.now();
  try {
    const response = await fetch(path, { method, body, headers, credentials: "omit" });
    const text = await response.text();
    const ms = performance.now() - started;
    if (response.status === 401) locked();
    return { status: response.status, ok: response.ok, data: parsed(text), headers: response.headers, ms };
  } catch {
    return { status: 0, ok: false, data: null, headers: new Headers(), ms: performance.now() - started };
  }
}

function parsed(text) {
  try { return JSON.parse(text); } catch { return null; }
}

// What went wrong, in words for people: {message, field, code}.
export function fault(reply) {
  const found = reply.data?.error;
  if (found?.message) return { message: found.message, field: found.field ?? null, code: found.code };
  if (reply.status === 0) return { message: "The service does not answer. Is it still running, and is the network there?", field: null };
  return { message: `The service answered with status ${reply.status} and no reason.`, field: null };
}

const LONGEST = 100000; // characters of one argument that every shell takes

const shell = (text) => `'${text.replaceAll("'", "'\\''")}'`;
const python = (text) => `'${text.replaceAll("\\", "\\\\").replaceAll("'", "\\'").replaceAll("\n", "\\n").replaceAll("\r", "\\r").replaceAll("\0", "\\x00")}'`;

// The request as commands: {curl, python, file}; file: the name of what has to lie beside them, or null.
export function commands({ body, type, name }) {
  const url = new URL("predict", document.baseURI).href;
  const inline = typeof body === "string" && body.length <= LONGEST && !body.includes("\0");
  const file = inline ? null : name ?? (type === "text/csv" ? "rows.csv" : "request.json");
  const data = inline ? `--data-raw ${shell(body)}` : `--data-binary ${shell(`@${file}`)}`;
  const curl = [`curl -sS ${shell(url)}`, `-H ${shell(`Content-Type: ${type}`)}`, key && '-H "Authorization: Bearer $SLIPWAY_KEY"', data];
  const source = inline ? `${python(body)}.encode()` : `open(${python(file)}, "rb").read()`;
  const headers = [`"Content-Type": ${python(type)}`, key && '"Authorization": "Bearer " + os.environ["SLIPWAY_KEY"]'];
  const lines = [
    "import json", key ? "import os" : null, "import urllib.request", "",
    `body = ${source}`,
    `headers = {${headers.filter(Boolean).join(", ")}}`,
    `request = urllib.request.Request(${python(url)}, data=body, headers=headers)`,
    "with urllib.request.urlopen(request) as reply:",
    "    print(json.dumps(json.load(reply), indent=2))",
  ];
  return { curl: curl.filter(Boolean).join(" \\\n  "), python: lines.filter((line) => line !== null).join("\n"), file };
}
