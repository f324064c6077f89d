"use strict";
// Times answers, listens to the keyboard, and lets image and explanation take turns. Without it all pages work, but for these.

const one = (selector) => document.querySelector(selector);
const all = (selector) => [...document.querySelectorAll(selector)];
const form = one("form[data-main]");
const button = form && form.querySelector("button[type=submit]");
const say = (text) => { one("#status").textContent = text; };

let begun = null; // when the image was there
let blurs = 0;
let waiting = false;
let failed = false;

// an answer and its time

async function timed(image) {
  try {
    await image.decode();
  } catch {
    failed = true;
    button.disabled = true;
    form.querySelector("fieldset").disabled = true;
    one(".failed").hidden = false;
    return;
  }
  begun = performance.now();
  preload();
}

function preload() {
  const holder = one("[data-next]");
  if (holder) new Image().src = holder.dataset.next;
}

function submitted(event) {
  if (waiting || failed) {
    event.preventDefault();
    return;
  }
  if (form.dataset.question !== undefined) {
    if (begun !== null) form.elements.rt_ms.value = (performance.now() - begun).toFixed(1);
    form.elements.blurs.value = blurs;
  }
  waiting = true; // a second click sends nothing
}

function hold(milliseconds) {
  waiting = true;
  button.disabled = true;
  setTimeout(() => {
    waiting = false;
    button.disabled = false;
    say(button.dataset.ready);
  }, milliseconds);
}

// the keyboard

const own = "a, button, summary, select, textarea, input:not([type=radio])";

function pressed(event) {
  if (event.ctrlKey || event.altKey || event.metaKey || event.repeat) return;
  const elsewhere = event.target.closest(own);
  const typing = event.target.closest("select, textarea, input:not([type=radio])");
  if (/^[1-9]$/.test(event.key) && form && !typing) {
    const choice = form.querySelectorAll("input[type=radio]")[event.key - 1];
    if (choice && !choice.matches(":disabled")) {
      choice.checked = true;
      choice.focus();
    }
  } else if (event.key === "Enter" && form && !elsewhere && !waiting && !failed) {
    event.preventDefault();
    form.requestSubmit();
  } else if (event.key === " " && one("[data-pause]") && !elsewhere) {
    event.preventDefault();
    one("[data-pause]").click();
  }
}

// image and explanation in turns

function explain(pair) {
  const pause = one("[data-pause]");
  const beside = one("[data-beside]");
  const still = matchMedia("(prefers-reduced-motion: reduce)");
  let together = sessionStorage.getItem("beside");
  let paused = false;
  let pointed = false;
  const isTogether = () => (together === null ? still.matches : together === "yes");
  const moves = () => pair.dataset.mode === "alternate" && !isTogether() && !paused && !pointed;

  function draw() {
    const stacked = !isTogether();
    pair.classList.toggle("stacked", stacked);
    pair.classList.toggle("explained", stacked && pair.dataset.mode === "toggle" && paused);
    pair.tabIndex = stacked ? 0 : -1;
    pause.hidden = !stacked;
    all(".note.controls").forEach((note) => { note.hidden = !stacked; });
    pause.textContent = paused ? pause.dataset.on : pause.dataset.off;
    beside.textContent = stacked ? beside.dataset.off : beside.dataset.on;
  }

  pair.setAttribute("role", "group");
  pair.setAttribute("aria-label", pair.dataset.label);
  all(".controls").forEach((control) => { control.hidden = false; });
  pause.addEventListener("click", () => {
    paused = !paused;
    draw();
    say(pair.dataset.mode === "toggle" ? pause.textContent : pair.dataset[paused ? "held" : "moving"]);
  });
  beside.addEventListener("click", () => {
    together = isTogether() ? "no" : "yes";
    sessionStorage.setItem("beside", together);
    draw();
  });
  for (const [kind, on] of [["pointerenter", true], ["pointerleave", false], ["focus", true], ["blur", false]]) {
    pair.addEventListener(kind, () => { pointed = on; draw(); });
  }
  still.addEventListener("change", draw);
  setInterval(() => { if (moves()) pair.classList.toggle("explained"); }, Number(pair.dataset.every));
  draw();
}

// the device, on the start page

async function check(device) {
  function told(name, fits) {
    const mark = device.querySelector(`[data-check=${name}]`);
    mark.textContent = fits ? device.dataset.yes : device.dataset.no;
    mark.classList.toggle("no", !fits);
    return fits;
  }
  const shows = await device.querySelector("img").decode().then(() => true, () => false);
  const wide = window.innerWidth >= 300;
  told("times", typeof performance.now === "function");
  if (![told("images", shows), told("width", wide)].every(Boolean) && one("[data-begin]")) {
    one(".screened").hidden = false;
    one("[data-begin]").hidden = true;
  }
}

if (form) form.addEventListener("submit", submitted);
if (button && Number(button.dataset.wait) > 0) hold(Number(button.dataset.wait));
if (one("[data-timed]")) timed(one("[data-timed] img"));
else preload();
if (one(".pair")) {
  const pair = one(".pair");
  if (pair.dataset.mode !== "side_by_side") explain(pair);
}
if (one("[data-device]")) check(one("[data-device]"));
document.addEventListener("keydown", pressed);
window.addEventListener("blur", () => { blurs += 1; });
// a page out of the browser's memory may be an old one
window.addEventListener("pageshow", (event) => { if (event.persisted) location.reload(); });
if (one("[data-announce]")) setTimeout(() => say(one("[data-announce]").dataset.announce), 100);
