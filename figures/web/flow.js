// The flow page: particles, their trails, and densities, all drawn from the numbers in data.

const [frames, count, dims] = data.shape;
const overTime = dims === 1;
const decode = (base64) => Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));
// The numbers are little-endian, as typed arrays are on every machine that has a browser.
const positions = new Uint16Array(decode(data.paths).buffer);
const densities = decode(data.densities);
const targetDensity = decode(data.target);
const TRAIL = 0.16; // how long a trail lasts, in units of t
const PIECES = 12; // of a trail, each paler than the one after it

/** Where t lies among so many evenly spaced times: the one before it, and how far on. */
function placeOf(t, times) {
  const place = Math.min(Math.max(t, 0), 1) * (times - 1);
  const before = Math.min(Math.floor(place), times - 2);
  return [before, place - before];
}

/** The row of numbers at time t, of an array with one row for each of so many times. */
function rowAt(t, numbers, times) {
  const [before, part] = placeOf(t, times);
  const length = numbers.length / times;
  const first = before * length;
  return Float64Array.from({ length }, (_, i) =>
    numbers[first + i] + part * (numbers[first + length + i] - numbers[first + i]));
}

/** The states at time t, one particle after another. */
function statesAt(t) {
  return rowAt(t, positions, frames).map((value, i) =>
    data.low[i % dims] + (value / 65535) * (data.high[i % dims] - data.low[i % dims]));
}

const pixelsOf = overTime
  ? (states, i, t) => [across(t), down(states[i])]
  : (states, i) => [across(states[2 * i]), down(states[2 * i + 1])];

/** In the plane only the last of each trail; over time all of it. Older pieces are paler. */
function drawTrails(t) {
  const start = overTime ? 0 : Math.max(0, t - TRAIL);
  if (t <= start) return;
  const pieces = overTime ? Math.max(1, Math.round(t * (frames - 1))) : PIECES;
  const fading = overTime ? 4 * TRAIL : TRAIL;
  pen.strokeStyle = css(colours.ink);
  pen.lineWidth = overTime ? 0.5 : 0.8;
  let [time, states] = [start, statesAt(start)];
  for (let piece = 1; piece <= pieces; piece++) {
    const laterTime = start + ((t - start) * piece) / pieces;
    const later = statesAt(laterTime);
    const age = Math.min(1, (t - (time + laterTime) / 2) / fading);
    pen.globalAlpha = overTime ? 0.08 + 0.2 * (1 - age) : 0.42 * (1 - age);
    pen.beginPath();
    for (let i = 0; i < count; i++) {
      pen.moveTo(...pixelsOf(states, i, time));
      pen.lineTo(...pixelsOf(later, i, laterTime));
    }
    pen.stroke();
    [time, states] = [laterTime, later];
  }
  pen.globalAlpha = 1;
}

function drawParticles(t) {
  const states = statesAt(t);
  const radius = Math.max(1.3, Math.min(2.2, area.width / 330));
  const fills = data.classes ? data.classes.colours : [css(colourAt(t), 0.85)];
  fills.forEach((fill, k) => {
    pen.fillStyle = fill;
    pen.beginPath();
    for (let i = 0; i < count; i++) {
      if (data.classes && data.classes.labels[i] !== k) continue;
      const [x, y] = pixelsOf(states, i, t);
      pen.moveTo(x + radius, y);
      pen.arc(x, y, radius, 0, 2 * Math.PI);
    }
    pen.fill();
  });
}

/** A density of x on its side: from time t to the right. */
function drawProfile(values, t, fill, stroke = "transparent") {
  const [low, high] = box.slice(2);
  pen.beginPath();
  pen.moveTo(across(t), down(low));
  values.forEach((value, i) => {
    const x = low + ((i + 0.5) / values.length) * (high - low);
    pen.lineTo(across(t + (0.2 * value) / 255), down(x));
  });
  pen.lineTo(across(t), down(high));
  Object.assign(pen, { fillStyle: fill, strokeStyle: stroke, lineWidth: 1.6 });
  pen.fill();
  pen.stroke();
}

function drawTarget() {
  if (overTime) drawProfile(targetDensity, 1, css(colours.grey, 0.45));
  else drawHeatMap(targetDensity, 130, colours.grey, 0.45);
}

function drawDensity(t, colour) {
  const density = rowAt(t, densities, data.densityFrames);
  if (overTime) drawProfile(density, t, css(colour, 0.25), css(colour));
  else drawHeatMap(density, 255, colour, 0.6);
}

function draw(t) {
  const colour = colourAt(t);
  const shown = (id) => named(id).checked;
  clear();
  inArea(() => {
    if (shown("target")) drawTarget();
    if (shown("density") && !overTime) drawDensity(t, colour);
    if (shown("trails")) drawTrails(t);
    if (shown("density") && overTime) drawDensity(t, colour); // a line, which trails would hide
    if (shown("particles")) drawParticles(t);
  });
  if (overTime) drawAxes("t", ...data.labels, [0, 0.2, 0.4, 0.6, 0.8, 1]);
  else drawAxes(...data.labels);
  if (!data.classes) named("dots").setAttribute("fill", css(colour));
  named("density-swatch").style.background = gradient(colour, 0.6);
}

/** A row of the legend for every class, whose colour tells it. */
function describeClasses() {
  const row = named("particles").closest("li");
  data.classes.names.forEach((name, k) => {
    const item = row.cloneNode(true);
    item.querySelector("input").remove();
    item.classList.add("indented");
    const label = item.querySelector("label");
    const mark = label.querySelector("svg");
    mark.querySelector("g").removeAttribute("id");
    mark.querySelector("g").setAttribute("fill", data.classes.colours[k]);
    label.replaceChildren(mark, document.createTextNode(name));
    named("trails").closest("li").before(item);
  });
  named("dots").setAttribute("fill", css(colours.ink));
  named("what-colour-tells").textContent = "The colour tells the class.";
}

/** The words that depend on what is in the page. */
function describe() {
  if (data.classes) describeClasses();
  const group = (number) => number.toLocaleString("en");
  named("source-name").textContent = data.names[0] && `: ${data.names[0]}`;
  named("end-name").textContent = "generated";
  named("target-name").textContent = data.names[1] && `: ${data.names[1]}`;
  named("counts").textContent = count < data.count
    ? `${group(count)} of ${group(data.count)} particles are drawn, and the density is that of all.`
    : `All ${group(count)} particles are drawn.`;
  named("dimensions").textContent = data.dim > 2
    ? `The picture shows the first two of ${data.dim} dimensions.` : "";
  named("scale").textContent = overTime
    ? "Densities are drawn to one scale."
    : "At every time the densest place has the fullest colour.";
  named("target-row").hidden = data.target === "";
  named("target").checked = data.target !== "";
  document.body.classList.toggle("over-time", overTime);
}

describe();
const clock = makeClock(6, draw);
for (const box of document.querySelectorAll("input[type=checkbox]")) {
  box.addEventListener("change", clock.redraw);
}

// For the console, and for tests.
window.lab = {
  positions(t) {
    const states = Array.from(statesAt(t));
    return Array.from({ length: count }, (_, i) => states.slice(dims * i, dims * (i + 1)));
  },
  state: () => ({ t: clock.t, playing: clock.playing }),
};
