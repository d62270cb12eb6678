// A picture as a file: chosen, dropped or pasted, and sent as the very bytes that it has.

import { fill, h } from "./dom.js";

export function upload(root, { schema, pictures, send, fail }) {
  const [height, width] = schema.shape.slice(-2);
  const shown = h("canvas", { class: "shown", width: 320, height: 200, role: "img", "aria-label": "The picture", hidden: true });
  const name = h("p", { class: "soft small" });
  const file = h("input", { type: "file", id: "file", class: "unseen", accept: "image/png,image/jpeg,image/webp,image/bmp,image/gif" });
  const zone = h("label", { class: "drop", for: "file" }, shown,
    h("span", { class: "big" }, "Choose a picture"), h("span", { class: "soft small" }, "or drop it here, or paste it"));
  let next = 0;

  async function take(blob, called) {
    name.textContent = `${called} · ${Math.max(1, Math.round(blob.size / 1024))} KB, sent as it is; the model gets ${width} × ${height} pixels of it`;
    try {
      const bitmap = await createImageBitmap(blob);
      const scale = Math.min(1, 320 / Math.max(bitmap.width, bitmap.height));
      shown.width = Math.max(1, bitmap.width * scale);
      shown.height = Math.max(1, bitmap.height * scale);
      shown.getContext("2d").drawImage(bitmap, 0, 0, shown.width, shown.height);
      shown.hidden = false;
    } catch { // the browser cannot show it; whether the model can read it is for the service to say
      shown.hidden = true;
    }
    send({ body: blob, type: blob.type || typeOf(new Uint8Array(await blob.slice(0, 12).arrayBuffer())), name: called });
  }

  const first = (list) => {
    const found = [...list].find((item) => item instanceof File);
    if (found) take(found, found.name || "pasted.png");
    else fail("That was no file. Drop or paste a picture.");
  };
  file.addEventListener("change", () => { if (file.files.length) first(file.files); file.value = ""; });
  zone.addEventListener("dragover", (event) => { event.preventDefault(); zone.classList.add("over"); });
  zone.addEventListener("dragleave", () => zone.classList.remove("over"));
  zone.addEventListener("drop", (event) => { event.preventDefault(); zone.classList.remove("over"); first(event.dataTransfer.files); });
  document.onpaste = (event) => { if (event.clipboardData?.files.length) first(event.clipboardData.files); };

  const example = () => {
    const bytes = Uint8Array.from(atob(pictures[next++ % pictures.length]), (letter) => letter.charCodeAt(0));
    const type = typeOf(bytes);
    take(new Blob([bytes], { type }), `example.${type.split("/")[1]}`);
  };
  fill(root, file, zone, name, pictures.length > 0 && h("div", { class: "tools" }, h("button", { type: "button", id: "example", onclick: example }, "Try an example")));
}

function typeOf(bytes) {
  const start = String.fromCharCode(...bytes.slice(0, 12));
  if (start.startsWith("\x89PNG")) return "image/png";
  if (start.startsWith("\xff\xd8")) return "image/jpeg";
  if (start.startsWith("GIF8")) return "image/gif";
  if (start.startsWith("BM")) return "image/bmp";
  return start.slice(8, 12) === "WEBP" ? "image/webp" : "application/octet-stream";
}
