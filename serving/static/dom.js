// Elements, words and numbers: what every part of the page needs. Text goes in as text, never as markup.

export const $ = (id) => document.getElementById(id);

// h("p", { class: "soft", onclick: f }, "text", child): attributes by name; functions become listeners; null and false are left out.
export function h(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") made.addEventListener(name.slice(2), value);
    else if (name === "value" || name === "checked") made[name] = value;
    else if (value !== null && value !== undefined && value !== false) made.setAttribute(name, value === true ? "" : value);
  }
  made.append(...children.filter((child) => child !== null && child !== undefined && child !== false));
  return made;
}

export function fill(parent, ...children) {
  parent.replaceChildren(...children.filter(Boolean));
  return parent;
}

export function announce(text) {
  let live = $("told");
  if (!live) document.body.append((live = h("p", { id: "told", class: "unseen", role: "status", "aria-live": "polite" })));
  live.textContent = text;
}

const plain = new Intl.NumberFormat("en", { maximumSignificantDigits: 6, useGrouping: false });
const grouped = new Intl.NumberFormat("en", { maximumSignificantDigits: 6 });
const tiny = new Intl.NumberFormat("en", { maximumSignificantDigits: 3, notation: "scientific" });

export function number(value, { group = true } = {}) {
  if (typeof value !== "number" || !Number.isFinite(value)) return "–";
  const size = Math.abs(value);
  if (size !== 0 && (size < 1e-4 || size >= 1e12)) return tiny.format(value).replace("E", "e");
  return (group && size >= 1e4 ? grouped : plain).format(value);
}

export const short = (value) => (Number.isFinite(value) ? number(Number.isInteger(value) ? value : Number(value.toPrecision(3))) : "–");

export function percent(share) {
  if (share > 0 && share < 0.0005) return "< 0.1 %";
  if (share < 1 && share >= 0.9995) return "> 99.9 %";
  return `${(100 * share).toFixed(1)} %`;
}

export function milliseconds(value) {
  if (typeof value !== "number") return "–";
  return value < 10 ? `${value.toFixed(1)} ms` : value < 10000 ? `${Math.round(value)} ms` : `${(value / 1000).toFixed(1)} s`;
}

export async function copy(text, button, said = "Copied") {
  try {
    await navigator.clipboard.writeText(text);
  } catch { // no permission, or a plain http address: the old way
    const area = h("textarea", { class: "unseen", value: text });
    document.body.append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
    button.focus();
  }
  const before = button.textContent;
  button.textContent = said;
  button.disabled = true;
  announce(said);
  setTimeout(() => { button.textContent = before; button.disabled = false; }, 1200);
}

// The first characters of a digest; pressing it copies all of them.
export function digest(text, { length = 12, what = "digest" } = {}) {
  const shown = text.length > length ? text.slice(0, length) : text;
  const button = h("button", { type: "button", class: "digest", title: text, "aria-label": `${what} ${shown}, copy` }, shown);
  button.addEventListener("click", () => copy(text, button));
  return button;
}

// Makes the buttons of a tablist behave as one: arrows, Home and End move, a press selects.
export function tabs(list, choose) {
  const all = [...list.querySelectorAll("[role=tab]")];
  const select = (tab) => {
    for (const one of all) {
      one.setAttribute("aria-selected", String(one === tab));
      one.tabIndex = one === tab ? 0 : -1;
    }
    choose(tab.id);
  };
  list.onclick = (event) => { const tab = event.target.closest("[role=tab]"); if (tab) select(tab); };
  list.onkeydown = (event) => {
    const at = all.indexOf(document.activeElement);
    const to = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: all.length - 1 }[event.key];
    if (to === undefined || at < 0) return;
    event.preventDefault();
    const tab = all[(to + all.length) % all.length];
    tab.focus();
    select(tab);
  };
}

export function save(name, type, parts) {
  const url = URL.createObjectURL(new Blob(parts, { type }));
  h("a", { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 10000);
}
