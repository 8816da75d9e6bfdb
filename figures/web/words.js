// What the page says and shows of its state: numbers, words, sliders, the curves of the path.

const shortly = (value) => value.toLocaleString("en", { maximumSignificantDigits: 2 });
const counted = (count, word) => `${count} ${word}${count === 1 ? "" : "s"}`;

function say(words) {
  named("said").textContent = words;
}

/** The words and numbers that change with time. */
function describeMoment(t, { path, grid, speed }) {
  named("swatch").style.background = gradient(colourAt(t), 0.85);
  named("peak").textContent = shortly(grid.peak) + (grid.widened ? " or more" : "");
  named("speed").textContent = speed ? `: this long is ${shortly(speed)}` : "";
  named("moment").setAttribute("d", `M${100 * t} 0V100`);
  for (const name of CURVES) named(`${name}-now`).textContent = path[name].toFixed(2);
  const distance = apart(trails.fine, trails.euler);
  named("apart").textContent = Number.isNaN(distance) ? "…" : shortly(distance);
}

// The curves of the path: α, β and σt over t, in an SVG of 100 by 100 units.
const CURVES = ["alpha", "beta", "width"];
const SAMPLES = Array.from({ length: 101 }, (_, i) => i / 100);

function drawCurves() {
  const paths = SAMPLES.map((t) => pathAt(flow, t));
  const all = CURVES.flatMap((name) => paths.map((path) => path[name]));
  const [low, high] = [min(0, ...all), max(1, ...all)];
  for (const name of CURVES) {
    const heights = paths.map((path) => 100 * (high - path[name]) / (high - low));
    const line = heights.map((height, i) => `${i} ${height.toFixed(2)}`).join("L");
    named(name).setAttribute("d", `M${line}`);
  }
}

// Where the sliders stop: at whole numbers that grow as evenly as these can, and at small widths.
const HUNDREDTHS = Array.from({ length: 101 }, (_, i) => i / 100);
const SIXTIETHS = Array.from({ length: 61 }, (_, i) => i / 60);
const COUNTS = [...new Set(SIXTIETHS.map((part) => round(data.mostPoints ** part)))];
const widths = () =>
  [...new Set([0.001, 0.002, 0.005, state.sigma, ...HUNDREDTHS])].sort((a, b) => a - b);

/** Set a slider that goes over these stops to the first that is not less than the value. */
function setSlider(id, stops, value, words) {
  const slider = named(id);
  slider.max = stops.length - 1;
  slider.value = stops.findIndex((stop) => stop >= value);
  slider.setAttribute("aria-valuetext", words);
  named(`${id}-now`).textContent = value;
}

/** All controls and words, after the state. */
function show() {
  const { method, sigma, source, target, points, chosen, others, steps, diffusion, shows } = state;
  const { about, onlySource, schedule } = methodNamed(method);
  named("method").value = method;
  named("source").value = source;
  named("source").disabled = Boolean(onlySource);
  named("target").value = target;
  setSlider("points", COUNTS, points.length, counted(points.length, "point"));
  named("points").disabled = target === "";
  setSlider("sigma", widths(), sigma, String(sigma));
  named("sigma").disabled = schedule.whyFixed !== "";
  named("why-fixed").textContent = schedule.whyFixed;
  named("about").textContent = `${about}.`;
  named("blur").hidden = schedule.whyFixed !== "" || pathAt({ ...flow, sigma: 1 }, 1).v < 0.01;
  named("std").textContent = Number(flow.std.toPrecision(3));
  named("source-name").textContent = source && `: ${source}`;
  named("end-name").textContent = counted(points.length, "point");
  named("diffusion").value = diffusion;
  named("diffusion-now").textContent = diffusion;
  named("diffusion").setAttribute("aria-valuetext", diffusion ? String(diffusion) : "none");
  named("diffusion-row").hidden = diffusion === 0;
  named("scheme").textContent = diffusion ? "Euler–Maruyama" : "Euler";
  named("steps").value = steps;
  named("steps-shown").textContent = counted(steps, "step");
  named("steps").setAttribute("aria-valuetext", counted(steps, "step"));
  for (const id of ["steps-row", "apart-row"]) named(id).hidden = !shows.has("euler");
  for (const each of document.querySelectorAll("[data-shows]")) {
    each.checked = shows.has(each.dataset.shows);
    each.disabled = state.view !== "flat"; // the surface shows the density alone
  }
  named("choose-one").hidden = chosen !== null;
  named("chosen-one").hidden = chosen === null;
  named("chosen-now").textContent = chosen + 1;
  named("others").value = others;
  named("others-now").textContent = `${round(100 * others)} %`;
  named("mix").hidden = others === 1;
  drawCurves();
  showView();
  clock.redraw();
  keepLink();
}

function showView() {
  const flat = state.view === "flat";
  canvas.hidden = !flat;
  named("surface").hidden = flat;
  named("tool").disabled = !flat;
  named("view").querySelector(`[value=${state.view}]`).checked = true;
}
