"use strict";
for (const player of document.querySelectorAll(".player")) {
  const frames = [...player.querySelectorAll("img")];
  const names = player.dataset.names.split(" ");
  const [controls, button, slider, output] = ["div", "button", "input", "output"].map((n) => document.createElement(n));
  let timer = null;

  const show = (i) => {
    frames.forEach((frame, j) => { frame.hidden = j !== i; });
    slider.value = i;
    output.textContent = `${player.dataset.before}${names[i]}`;
    slider.setAttribute("aria-valuetext", output.textContent);
  };
  const pause = () => {
    clearInterval(timer);
    timer = null;
    button.textContent = "Play";
  };
  const play = () => {
    timer = setInterval(() => show((Number(slider.value) + 1) % frames.length), Number(player.dataset.wait));
    button.textContent = "Pause";
  };

  controls.className = "controls";
  Object.assign(slider, { type: "range", min: 0, max: frames.length - 1 });
  slider.setAttribute("aria-label", player.dataset.what);
  button.addEventListener("click", () => (timer === null ? play() : pause()));
  slider.addEventListener("input", () => { pause(); show(Number(slider.value)); });
  controls.append(button, slider, output);
  player.append(controls);

  show(0);
  pause();
  if (frames.length > 1 && !matchMedia("(prefers-reduced-motion: reduce)").matches) play();
}
