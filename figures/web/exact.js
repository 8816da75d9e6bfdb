// The exact page: density and velocity at the time, and for the n and σ, that its reader chooses.

const LONGEST_ARROW = 1.15; // as a part of the distance between arrows
const LEGEND_ARROW = 36; // pixels

/** Velocities on a square grid over the box, each drawn darker where the density is higher. */
function arrowsAt(t, grid, count) {
  const [left, right, bottom] = data.box;
  const spacing = (right - left) / count;
  const cell = (place) => Math.floor(((place + 0.5) / count) * grid.cells);
  return Array.from({ length: count ** 2 }, (_, i) => {
    const [row, column] = [Math.floor(i / count), i % count];
    const [x, y] = [left + (column + 0.5) * spacing, bottom + (row + 0.5) * spacing];
    const height = grid.values[cell(row) * grid.cells + cell(column)] / grid.peak;
    return { x, y, u: velocity(t, x, y, chosen.n, chosen.sigma), strength: min(1, 8 * height) };
  });
}

/** An arrow (dx, dy) in pixels around the place (x, y) of the plane. */
function drawArrow(x, y, dx, dy) {
  const [tipX, tipY] = [across(x) + dx / 2, down(y) + dy / 2];
  const head = min(6, 0.4 * hypot(dx, dy)) / (hypot(dx, dy) || 1);
  pen.beginPath();
  pen.moveTo(tipX - dx, tipY - dy);
  pen.lineTo(tipX, tipY);
  pen.moveTo(tipX - head * (dx - dy * 0.6), tipY - head * (dy + dx * 0.6));
  pen.lineTo(tipX, tipY);
  pen.lineTo(tipX - head * (dx + dy * 0.6), tipY - head * (dy - dx * 0.6));
  pen.stroke();
}

/** All arrows; returns the speed that the arrow of the legend stands for. */
function drawArrows(t, grid) {
  const count = max(9, min(17, round(area.width / 39)));
  const arrows = arrowsAt(t, grid, count);
  const fastest = arrows.reduce((speed, { u }) => max(speed, hypot(...u)), 0) || 1;
  const pixels = (LONGEST_ARROW * area.width) / count / fastest;
  Object.assign(pen, { lineWidth: 1.2, lineJoin: "round" });
  for (const { x, y, u, strength } of arrows) {
    pen.strokeStyle = css([25, 25, 25], 0.22 + 0.68 * strength);
    drawArrow(x, y, u[0] * pixels, -u[1] * pixels);
  }
  return LEGEND_ARROW / pixels;
}

function drawCircles(centres, radius, look, dashes = []) {
  Object.assign(pen, { fillStyle: "transparent", ...look });
  pen.setLineDash(dashes);
  for (const [x, y] of centres) {
    pen.beginPath();
    pen.arc(across(x), down(y), radius, 0, 2 * PI);
    pen.fill();
    pen.stroke();
  }
  pen.setLineDash([]);
}

function drawSource() {
  const look = { strokeStyle: css(SOURCE, 0.9), lineWidth: 1.3 };
  drawCircles(means, across(2 * std) - across(0), look, [4, 3]);
}

function drawPoints() {
  const { n } = chosen;
  const look = { fillStyle: css(GENERATED), strokeStyle: "#fff", lineWidth: min(1, 20 / n) };
  drawCircles(points.slice(0, n), max(1.5, 5 - 0.55 * log(n)), look);
}

function draw(t) {
  const grid = densityGrid(t, chosen.n, chosen.sigma);
  const colour = colourAt(t);
  let speed;
  clear();
  inArea(() => {
    drawHeatMap(grid.values, grid.peak, colour, 0.85);
    drawSource();
    speed = drawArrows(t, grid);
    drawPoints();
  });
  drawAxes("x₁", "x₂");
  named("swatch").style.background = gradient(colour, 0.85);
  named("peak").textContent = shortly(grid.peak) + (grid.widened ? " or more" : "");
  named("speed").textContent = shortly(speed);
  showPath(t);
}

const shortly = (value) => value.toLocaleString("en", { maximumSignificantDigits: 2 });

// The curves of the path: α, β and σt over t, in an SVG of 100 by 100 units.
const CURVES = ["alpha", "beta", "width"];
const SAMPLES = Array.from({ length: 101 }, (_, i) => i / 100);

function drawCurves() {
  const paths = SAMPLES.map((t) => pathAt(t, chosen.sigma));
  const all = CURVES.flatMap((name) => paths.map((path) => path[name]));
  const [low, high] = [min(0, ...all), max(1, ...all)];
  for (const name of CURVES) {
    const heights = paths.map((path) => 100 * (high - path[name]) / (high - low));
    const line = heights.map((height, i) => `${i} ${height.toFixed(2)}`).join("L");
    named(name).setAttribute("d", `M${line}`);
  }
}

/** α, β and σt at time t, as numbers and as a line through their curves. */
function showPath(t) {
  const path = pathAt(t, chosen.sigma);
  named("moment").setAttribute("d", `M${100 * t} 0V100`);
  for (const name of CURVES) named(`${name}-now`).textContent = path[name].toFixed(2);
}

// Where the sliders stop: at whole numbers that grow as evenly as these can, and at small widths.
const COUNTS = [...new Set(Array.from({ length: 61 }, (_, i) => round(points.length ** (i / 60))))];
const HUNDREDTHS = Array.from({ length: 101 }, (_, i) => i / 100);
const WIDTHS = [...new Set([0.001, 0.002, 0.005, data.sigma, ...HUNDREDTHS])].sort((a, b) => a - b);
const chosen = { n: min(8, points.length), sigma: data.sigma };
const clock = makeClock(8, draw);

/** The numbers chosen, in words, and all that is drawn of them. */
function show() {
  const many = `${chosen.n} ${chosen.n === 1 ? "point" : "points"}`;
  named("points-now").textContent = chosen.n;
  named("points").setAttribute("aria-valuetext", many);
  named("points-shown").textContent = many;
  named("sigma-now").textContent = chosen.sigma;
  named("sigma").setAttribute("aria-valuetext", chosen.sigma);
  drawCurves();
  clock.redraw();
}

function makeSlider(id, stops, name) {
  named(id).max = stops.length - 1;
  named(id).value = stops.findIndex((stop) => stop >= chosen[name]);
  chosen[name] = stops[named(id).value];
  named(id).addEventListener("input", (event) => {
    chosen[name] = stops[event.target.value];
    show();
  });
}

/** The words that depend on what is in the page. */
function describe() {
  const fixed = schedule.whyFixed !== "";
  named("sigma").disabled = fixed;
  named("why-fixed").textContent = schedule.whyFixed;
  named("blur").hidden = fixed || pathAt(1, 1).v < 0.01; // that of a bridge is gone at the end
  named("source-name").textContent = `: ${data.source}`;
  named("end-name").textContent = "the points";
  named("circles").textContent = means.length > 1 ? "circles" : "the circle";
  named("method").textContent = data.method;
  named("std").textContent = Number(std.toPrecision(3));
}

makeSlider("points", COUNTS, "n");
makeSlider("sigma", WIDTHS, "sigma");
describe();
show();

// For the console, and for tests.
window.lab = {
  path: pathAt,
  velocity,
  density,
  grid: densityGrid,
  state: () => ({ t: clock.t, playing: clock.playing, ...chosen }),
};
