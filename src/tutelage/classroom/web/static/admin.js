"use strict";
// Brings the figures up to date while somebody looks at them. Without it the page stays as it was loaded.

const figures = document.querySelector("#figures");
const live = document.querySelector("#live");
const EVERY_MS = 15000;

async function update() {
  if (!live.checked || document.hidden || figures.contains(document.activeElement)) return;
  const response = await fetch(figures.dataset.from, { redirect: "manual" });
  if (response.type === "opaqueredirect") location.reload(); // the login is over
  if (!response.ok) return;
  const open = [...figures.querySelectorAll("details[open]")].map((each) => each.id);
  figures.innerHTML = await response.text();
  open.forEach((id) => { const each = document.getElementById(id); if (each) each.open = true; });
}

if (live) {
  live.closest("p").hidden = false;
  live.checked = localStorage.getItem("live") !== "no";
  live.addEventListener("change", () => localStorage.setItem("live", live.checked ? "yes" : "no"));
  setInterval(() => update().catch(() => {}), EVERY_MS); // a server that is away is asked again
}
