// The page: requests signals from the program that served it, and shows them. Nothing else is contacted.
"use strict";

const $ = (id) => document.getElementById(id);
const SIZE = 112; // side of a small picture, in pixels
const BENCH = 420; // longer side of the picture that is painted on
const TIMELINE = 512; // width of the spectrogram that is painted on
const FRAME = 120; // milliseconds

let about = null; // what the server said of the model
let sources = []; // signals that can be completed: {source, picture, label}
let chosen = -1; // number of the one that is painted on
let hidden = null; // one entry for each cell of the grid: 1 where hidden
let cursor = { x: 0, y: 0 }; // cell of the keyboard's brush
let anchor = null, last = null; // cells where a drag began, and where it was
let painting = null; // image of the chosen signal

// Requests.

async function ask(path, body, content) {
  const options = content
    ? { method: "POST", body: content }
    : body && { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body) };
  let response;
  try {
    response = await fetch(path, options);
  } catch {
    throw Object.assign(new Error("The program of this page does not answer. Start it again."), { away: true });
  }
  const found = await response.json();
  if (!response.ok) throw Object.assign(new Error(found.error), { away: found.away });
  return found;
}

// Runs a task for a button: the button rests meanwhile, and a failure is shown.
async function busy(button, task) {
  button.disabled = true;
  $("state").textContent = "Working…";
  try {
    await task();
    $("problem").hidden = true;
  } catch (error) {
    const where = error.away && about ? `${about.server} is away. ` : "";
    $("problem-text").textContent = where + error.message;
    $("problem").hidden = false;
  } finally {
    button.disabled = false;
    $("state").textContent = "";
  }
}

// Pictures.

function element(name, properties, ...children) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
}

async function decoded(picture) {
  const image = new Image();
  image.src = picture.png;
  await image.decode();
  return image;
}

const plane = (picture) => Math.min(Number($("plane").value), picture.planes - 1);

// Returns a canvas that shows the plane of the moment, enlarged to about `side` pixels.
async function canvasOf(picture, label, side = SIZE) {
  const image = await decoded(picture);
  const canvas = element("canvas", { width: picture.width, height: picture.height });
  const scale = side / Math.max(picture.width, Math.min(picture.height, 3 * picture.width));
  const flat = picture.height > 1 ? side / 2 : 24; // a spectrogram has as many columns as there is time
  const sides = about.grid.rows === 1 ? [side, flat] : [picture.width * scale, picture.height * scale];
  [canvas.style.width, canvas.style.height] = sides.map((length) => `${Math.round(length)}px`);
  canvas.setAttribute("role", "img");
  canvas.setAttribute("aria-label", label);
  const draw = () => canvas.getContext("2d").drawImage(
    image, 0, plane(picture) * picture.height, picture.width, picture.height,
    0, 0, picture.width, picture.height);
  draw();
  canvas.redraw = draw;
  return canvas;
}

async function figure(picture, label, { more = [], side = SIZE } = {}) {
  const wide = picture.width > 2 * side || about.grid.rows === 1;
  const made = element("figure", {}, await canvasOf(picture, label, wide ? 2.4 * side : side));
  made.append(element("figcaption", { textContent: label }));
  if (picture.sound) made.append(element("audio", { controls: true, src: picture.sound }));
  made.append(...more);
  return made;
}

const number = (value) => String(Number(value.toPrecision(3)));

function legend(one) {
  return element("div", { className: "legend" }, `${one.label}: ${number(one.low)}`,
    element("img", { src: one.png, alt: "to" }), number(one.high));
}

function redraw() {
  $("plane-shown").textContent = Number($("plane").value) + 1;
  for (const canvas of document.querySelectorAll("canvas")) canvas.redraw?.();
  paint();
}

// Signals to complete.

function request(entries) {
  return about.timed ? { ...entries, time: Number($("time").value) } : entries;
}

async function addSource(picture, source, label) {
  sources.push({ picture, source, label });
  const number = sources.length - 1;
  const radio = element("input", { type: "radio", name: "source", value: number });
  radio.addEventListener("change", () => choose(number));
  const canvas = await canvasOf(picture, "", 72);
  $("sources").append(element("label", {}, canvas, radio, ` ${label}`));
  for (const select of [$("first"), $("last")]) {
    select.append(element("option", { value: number, textContent: label }));
  }
  if (number === 1) $("last").value = 1;
  $("no-source").hidden = true;
  return radio;
}

async function choose(number) {
  chosen = number;
  const { picture } = sources[number];
  painting = await decoded(picture);
  const scale = Math.max(1, Math.floor(BENCH / Math.max(picture.width, picture.height)));
  const flat = about.grid.rows === 1;
  $("canvas").width = flat ? TIMELINE : picture.width * scale;
  $("canvas").height = flat ? TIMELINE / 2 : picture.height * scale;
  paint();
}

// The mask. Several variables lie side by side, and are hidden together.

const copies = () => {
  const { rows, columns } = about.grid;
  return rows === 1 ? 1 : Math.max(1, Math.round(sources[chosen].picture.width / columns));
};

function span() {
  if (about.grid.planes === 1) return [0, 1];
  return [Math.max(1, Number($("from").value)) - 1, Math.min(about.grid.planes, Number($("to").value))];
}

function fill(left, top, width, height, value) {
  const { rows, columns } = about.grid;
  const [from, to] = span();
  for (let z = from; z < to; z++) {
    for (let y = Math.max(0, top); y < Math.min(rows, top + height); y++) {
      for (let x = Math.max(0, left); x < Math.min(columns, left + width); x++) {
        hidden[(z * rows + y) * columns + x] = value;
      }
    }
  }
}

const mode = () => Number(document.querySelector("[name=mode]:checked").value);

function dab(x, y) {
  const size = Math.max(1, Number($("size").value)), before = Math.floor((size - 1) / 2);
  const high = about.grid.rows === 1 ? 1 : size;
  fill(x - before, y - (high === 1 ? 0 : before), size, high, mode());
}

// Paints from the last cell of a drag to this one; over a sound, a drag is one gap.
function drag(x, y) {
  if (about.grid.rows === 1) {
    if (mode()) hidden.fill(0);
    fill(Math.min(anchor.x, x), 0, Math.abs(x - anchor.x) + 1, 1, mode());
  } else {
    const steps = Math.max(1, Math.abs(x - last.x), Math.abs(y - last.y));
    for (let step = 0; step <= steps; step++) {
      dab(Math.round(last.x + (x - last.x) * step / steps), Math.round(last.y + (y - last.y) * step / steps));
    }
  }
  last = { x, y };
  cursor = { x, y };
  paint();
}

function paint() {
  if (chosen < 0 || !painting) return;
  const { rows, columns } = about.grid, { picture } = sources[chosen];
  const canvas = $("canvas"), context = canvas.getContext("2d"), z = plane(picture);
  const wide = canvas.width / columns / copies(), high = canvas.height / rows;
  context.imageSmoothingEnabled = false;
  context.drawImage(painting, 0, z * picture.height, picture.width, picture.height, 0, 0, canvas.width, canvas.height);
  for (let copy = 0; copy < copies(); copy++) {
    const start = copy * columns * wide;
    context.fillStyle = "rgba(255, 120, 0, 0.8)";
    for (let y = 0; y < rows; y++) {
      for (let x = 0; x < columns; x++) {
        if (hidden[(z * rows + y) * columns + x]) context.fillRect(start + x * wide, y * high, wide, high);
      }
    }
    if (document.activeElement === canvas) {
      context.strokeStyle = "#00c2ff";
      context.lineWidth = 2;
      context.strokeRect(start + cursor.x * wide, cursor.y * high, wide, high);
    }
  }
  const share = hidden.reduce((sum, one) => sum + one, 0) / hidden.length;
  const cell = hidden[(z * rows + cursor.y) * columns + cursor.x] ? "hidden" : "observed";
  $("canvas-state").textContent =
    `Row ${cursor.y + 1}, column ${cursor.x + 1}: ${cell}. ${(100 * share).toFixed(1)} % is hidden.`;
}

function cellAt(event) {
  const canvas = $("canvas"), box = canvas.getBoundingClientRect();
  const { rows, columns } = about.grid;
  const across = (event.clientX - box.left) / box.width * columns * copies();
  const within = (value, count) => Math.max(0, Math.min(count - 1, value));
  return {
    x: within(Math.floor(across) % columns, columns),
    y: within(Math.floor((event.clientY - box.top) / box.height * rows), rows),
  };
}

// The bits of the mask, the first entry in the highest bit, as base64.
function packed() {
  const bytes = new Uint8Array(Math.ceil(hidden.length / 8));
  hidden.forEach((one, place) => { bytes[place >> 3] |= one << (7 - (place & 7)); });
  let text = "";
  for (const byte of bytes) text += String.fromCharCode(byte);
  return btoa(text);
}

function watchCanvas() {
  const canvas = $("canvas");
  canvas.addEventListener("pointerdown", (event) => {
    if (chosen < 0) return;
    canvas.setPointerCapture(event.pointerId);
    anchor = last = cellAt(event);
    drag(anchor.x, anchor.y);
  });
  canvas.addEventListener("pointermove", (event) => {
    if (!anchor) return;
    const { x, y } = cellAt(event);
    drag(x, y);
  });
  for (const end of ["pointerup", "pointercancel"]) canvas.addEventListener(end, () => { anchor = null; });
  canvas.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
    if (chosen < 0 || !(step || event.key === " ")) return;
    event.preventDefault();
    if (step) {
      cursor.x = Math.max(0, Math.min(about.grid.columns - 1, cursor.x + step[0]));
      cursor.y = Math.max(0, Math.min(about.grid.rows - 1, cursor.y + step[1]));
    } else {
      dab(cursor.x, cursor.y);
    }
    paint();
  });
  canvas.addEventListener("focus", paint);
  canvas.addEventListener("blur", paint);
}

// What the buttons do.

async function draw() {
  const seed = Number($("draw-seed").value), count = Number($("draw-count").value);
  const found = await ask("api/draw", request({ seed, count }));
  const figures = found.pictures.map((picture) => {
    const button = element("button", { type: "button", textContent: "Complete this" });
    button.addEventListener("click", async () => {
      const radio = await addSource(picture, request({ seed: picture.seed }), `seed ${picture.seed}`);
      radio.checked = true;
      await choose(Number(radio.value));
      $("canvas").focus();
    });
    return figure(picture, `seed ${picture.seed}`, { more: about.complete ? [button] : [] });
  });
  $("drawn").replaceChildren(...await Promise.all(figures));
  $("drawn-legends").replaceChildren(...found.legends.map(legend));
}

async function complete() {
  if (chosen < 0) throw new Error("Choose a signal first.");
  const body = request({ source: sources[chosen].source, hidden: packed(), seed: Number($("complete-seed").value) });
  const found = await ask("api/complete", body);
  const figures = found.pictures.map((picture) => figure(picture, picture.label));
  $("completed").replaceChildren(...await Promise.all(figures));
  $("completed-legends").replaceChildren(...found.legends.map(legend));
  $("taken").textContent = `The server took ${found.seconds.toFixed(2)} s.`;
}

async function slide() {
  const ends = [$("first").value, $("last").value];
  if (ends.includes("")) throw new Error("Draw signals, or choose a file, first.");
  const body = request({ sources: ends.map((one) => sources[one].source), seed: 0 });
  const found = await ask("api/slide", body);
  const figures = await Promise.all(found.pictures.map((picture, place) =>
    figure(picture, `${Math.round(100 * place / (found.pictures.length - 1))} %`, { side: 2 * SIZE })));
  $("share").max = figures.length - 1;
  const show = () => {
    const place = Number($("share").value);
    $("between").replaceChildren(figures[place]);
    figures[place].querySelector("canvas").redraw();
    $("share").setAttribute("aria-valuetext", figures[place].textContent);
  };
  $("share").oninput = show;
  $("between-legends").replaceChildren(...found.legends.map(legend));
  $("slider").hidden = false;
  show();
}

async function upload() {
  const [file] = $("upload").files;
  $("upload-problem").hidden = true;
  if (!file) return;
  try {
    if (file.size > about.upload_bytes) {
      throw new Error(`Expected a file of at most ${about.upload_bytes >> 20} MB, received ` +
        `${(file.size / 2 ** 20).toFixed(1)} MB.`);
    }
    const picture = await ask(`api/upload?name=${encodeURIComponent(file.name)}`, null, file);
    const radio = await addSource(picture, picture.source, file.name);
    radio.checked = true;
    await choose(Number(radio.value));
  } catch (error) {
    if (error.away) throw error;
    $("upload-problem").textContent = error.message;
    $("upload-problem").hidden = false;
  } finally {
    $("upload").value = "";
  }
}

function clear() {
  hidden.fill(0);
  paint();
}

function hide() {
  const { rows, columns } = about.grid;
  const value = (id) => Math.floor(Number($(id).value));
  if (rows === 1) {
    const each = about.shape[0] / columns, first = Math.floor(value("left") / each);
    fill(first, 0, Math.ceil((value("left") + value("width")) / each) - first, 1, 1);
  } else {
    fill(value("left"), value("top"), value("width"), value("height"), 1);
  }
  paint();
}

async function begin() {
  about = await ask("api/about");
  const { planes, rows, columns } = about.grid;
  document.title = `Try ${about.model}`;
  $("title").textContent = `Try ${about.model}`;
  $("summary").textContent =
    `${about.plural} of ${about.shape.join(" × ")} (${about.axes.join(", ")}, channels), served by ${about.server}`;
  hidden = new Uint8Array(planes * rows * columns);
  cursor = { x: columns >> 1, y: rows >> 1 };
  $("draw-count").max = about.draws;
  $("time-label").hidden = !about.timed;
  $("completing").hidden = !about.complete;
  $("sliding").hidden = !about.slide;
  $("upload").accept = about.uploads.join(",");
  $("moments").hidden = $("span").hidden = planes === 1;
  $("plane-label").textContent = about.axes[0];
  $("plane").max = planes - 1;
  $("to").value = $("from").max = $("to").max = planes;
  $("size").value = Math.max(1, Math.round(columns / 6));
  if (rows === 1) {
    for (const label of document.querySelectorAll(".high")) label.hidden = true;
    $("left-label").textContent = "First sample";
    $("width-label").textContent = "Number of samples";
    $("width").value = Math.round(about.shape[0] / 10);
  } else {
    $("width").value = columns >> 1;
    $("height").value = rows >> 1;
  }
  sources = [];
  $("sources").replaceChildren();
  $("first").replaceChildren();
  $("last").replaceChildren();
  for (const [place, picture] of about.examples.entries()) {
    await addSource(picture, picture.source, `example ${place + 1}`);
  }
  $("main").hidden = false;
  if (sources.length) {
    document.querySelector("[name=source]").checked = true;
    await choose(0);
  }
}

function play() {
  const playing = $("play").getAttribute("aria-pressed") === "true";
  $("play").setAttribute("aria-pressed", !playing);
  $("play").textContent = playing ? "Play" : "Pause";
}

setInterval(() => {
  if ($("play").getAttribute("aria-pressed") !== "true") return;
  $("plane").value = (Number($("plane").value) + 1) % about.grid.planes;
  redraw();
}, FRAME);

function on(form, button, task) {
  $(form).addEventListener("submit", (event) => {
    event.preventDefault();
    busy(button, task);
  });
}

on("draw", document.querySelector("#draw [type=submit]"), draw);
on("complete", $("submit"), complete);
on("slide", document.querySelector("#slide [type=submit]"), slide);
$("upload").addEventListener("change", () => busy($("upload"), upload));
// The mask and what was drawn stay if the server was away for a while.
$("again").addEventListener("click", () => busy($("again"), about ? () => ask("api/about") : begin));
$("clear").addEventListener("click", clear);
$("hide").addEventListener("click", hide);
$("plane").addEventListener("input", redraw);
$("play").addEventListener("click", play);
watchCanvas();
busy($("again"), begin);
