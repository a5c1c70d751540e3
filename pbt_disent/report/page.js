"use strict";
for (const mover of document.querySelectorAll(".mover")) {
  const strip = mover.parentElement.querySelector(".strip");
  const slider = mover.querySelector("input");
  const canvas = mover.querySelector("canvas");
  const output = mover.querySelector("output");
  const width = Number(mover.dataset.width), height = Number(mover.dataset.height);
  const low = Number(mover.dataset.low), high = Number(mover.dataset.high);
  const show = () => {
    const step = Number(slider.value);
    canvas.getContext("2d").drawImage(strip, step * (width + 1), 0, width, height, 0, 0, width, height);
    const value = (low + (high - low) * step / Number(slider.max)).toFixed(2);
    output.textContent = value;
    slider.setAttribute("aria-valuetext", value);
  };
  slider.addEventListener("input", show);
  strip.decode().then(show);
  mover.hidden = false;
}
