"use strict";
/* Sliders over what was decoded beforehand, where the page has no decoder. */
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

/* Sliders that move every latent of one picture, which the page decodes itself. */
const explorer = document.getElementById("explorer");
if (explorer) {
  const program = JSON.parse(document.getElementById("decoder-program").textContent);
  const decoder = new Decoder(program);
  const canvas = explorer.querySelector("canvas"), context = canvas.getContext("2d");
  const pixels = context.createImageData(program.width, program.height);
  const sliders = program.latents.map(latent => document.getElementById("slider-" + latent.index));
  const starts = [...explorer.querySelectorAll(".start")];
  const size = program.width * program.height;
  let code = [...program.starts[0]], waiting = false;
  const paint = () => {
    waiting = false;
    const image = decoder.decode(code);
    for (let i = 0; i < size; i++) {
      for (let c = 0; c < 3; c++) pixels.data[4 * i + c] = Math.round(255 * image[(program.channels === 3 ? c : 0) * size + i]);
      pixels.data[4 * i + 3] = 255;
    }
    context.putImageData(pixels, 0, 0);
  };
  const requestPaint = () => { if (!waiting) { waiting = true; requestAnimationFrame(paint); } };
  const showValue = (slider, value) => {
    const text = value.toFixed(2);
    slider.value = value;
    slider.setAttribute("aria-valuetext", text);
    slider.parentElement.querySelector("output").textContent = text;
  };
  const set = (values, chosen) => {
    code = [...values];
    program.latents.forEach((latent, i) => showValue(sliders[i], code[latent.index]));
    starts.forEach((start, i) => start.setAttribute("aria-pressed", String(i === chosen)));
    requestPaint();
  };
  program.latents.forEach((latent, i) => sliders[i].addEventListener("input", () => {
    code[latent.index] = Number(sliders[i].value);
    showValue(sliders[i], code[latent.index]);
    requestPaint();
  }));
  let last = 0;
  starts.forEach((start, i) => start.addEventListener("click", () => { last = i; set(program.starts[i], i); }));
  explorer.querySelector(".reset").addEventListener("click", () => set(program.starts[last], last));
  explorer.querySelector(".random").addEventListener("click", () => {
    const drawn = [...code];
    for (const latent of program.latents) drawn[latent.index] = latent.low + Math.random() * (latent.high - latent.low);
    set(drawn, -1);
  });
  explorer.hidden = false;
  set(program.starts[0], 0);
}

/* Animations move only when they are asked to. */
for (const button of document.querySelectorAll(".animate")) {
  const picture = document.getElementById(button.getAttribute("aria-controls"));
  button.hidden = false;
  button.addEventListener("click", () => {
    picture.hidden = !picture.hidden;
    if (!picture.hidden) picture.src = picture.dataset.src;
    button.setAttribute("aria-expanded", String(!picture.hidden));
    button.textContent = picture.hidden ? "Play" : "Stop";
  });
}
