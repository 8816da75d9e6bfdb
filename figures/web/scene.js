// The flat picture of the exact page: density, velocities, particles, and what a hand can move.

const LONGEST_ARROW = 1.15; // as a part of the distance between arrows
const LEGEND_ARROW = 36; // pixels
const LEAST_SHARE = 0.02; // of the conditional velocities that are drawn

/** The places of so many arrows along each side of the box. */
function placesOfArrows(count) {
  const [left, right, bottom] = box;
  const spacing = (right - left) / count;
  return Array.from({ length: count ** 2 }, (_, i) => [
    left + ((i % count) + 0.5) * spacing, bottom + (Math.floor(i / count) + 0.5) * spacing,
  ]);
}

/** Add an arrow (dx, dy) in pixels, from these pixels, to the line that the pen draws next. */
function traceArrow(x, y, dx, dy) {
  const [tipX, tipY] = [x + dx, y + dy];
  const head = min(6, 0.4 * hypot(dx, dy)) / (hypot(dx, dy) || 1);
  pen.moveTo(x, y);
  pen.lineTo(tipX, tipY);
  pen.moveTo(tipX - head * (dx - dy * 0.6), tipY - head * (dy + dx * 0.6));
  pen.lineTo(tipX, tipY);
  pen.lineTo(tipX - head * (dx + dy * 0.6), tipY - head * (dy - dx * 0.6));
}

function drawArrow(x, y, dx, dy, look) {
  Object.assign(pen, look);
  pen.beginPath();
  traceArrow(x, y, dx, dy);
  pen.stroke();
}

/** The marginal velocity on a grid, paler where the density is low; returns pixels per speed. */
function drawVelocities(flow, path, grid) {
  const count = max(9, min(17, round(area.width / 39)));
  const cell = (value, low, high) => Math.floor(((value - low) / (high - low)) * grid.cells);
  const arrows = placesOfArrows(count).map(([x, y]) => {
    const at = cell(y, box[2], box[3]) * grid.cells + cell(x, box[0], box[1]);
    const strength = min(1, (8 * grid.values[at]) / grid.peak);
    return { x, y, u: velocityAt(flow, path, x, y), strength };
  });
  const fastest = arrows.reduce((speed, { u }) => max(speed, hypot(...u)), 0) || 1;
  const pixels = (LONGEST_ARROW * area.width) / count / fastest;
  for (const { x, y, u, strength } of arrows) {
    const [dx, dy] = [u[0] * pixels, -u[1] * pixels];
    drawArrow(across(x) - dx / 2, down(y) - dy / 2, dx, dy, {
      strokeStyle: css(colours.ink, 0.22 + 0.68 * strength), lineWidth: 1.2, lineJoin: "round",
    });
  }
  return pixels;
}

/**
 * At every place of a grid the conditional velocity of each point, as strong as it is likely there,
 * and, bold, their mean; returns pixels per speed.
 */
function drawConditionals(flow, path) {
  const count = max(6, min(10, round(area.width / 64)));
  const fans = placesOfArrows(count).map(([x, y]) => ({
    x, y,
    mean: velocityAt(flow, path, x, y),
    own: conditionalsAt(flow, path, x, y)
      .map((each, i) => ({ ...each, chosen: isChosen(flow, i) }))
      .filter(({ part }) => part > LEAST_SHARE),
  }));
  const speeds = fans.flatMap(({ own }) => own.map(({ u }) => hypot(...u)));
  const pixels = (0.95 * area.width) / count / (speeds.reduce((a, b) => max(a, b), 0) || 1);
  for (const { x, y, own, mean } of fans) {
    for (const { u, part, chosen } of own) {
      const colour = chosen ? colours.chosen : colours.generated;
      drawArrow(across(x), down(y), u[0] * pixels, -u[1] * pixels, {
        strokeStyle: css(colour, min(1, 0.15 + part)), lineWidth: chosen ? 4 : 1.4,
      });
    }
    drawArrow(across(x), down(y), mean[0] * pixels, -mean[1] * pixels, {
      strokeStyle: css(colours.ink), lineWidth: 1.6,
    });
  }
  return pixels;
}

function isChosen(flow, i) {
  const point = state.points[state.chosen];
  return point !== undefined && flow.x[i] === point[0] && flow.y[i] === point[1];
}

/** The paths that the particles would have to the chosen point alone. */
function drawOwnPaths(flow) {
  const paths = FINE_TIMES.map((t) => pathAt(flow, t));
  const point = state.points[state.chosen];
  Object.assign(pen, { strokeStyle: css(colours.chosen, 0.45), lineWidth: 0.8 });
  pen.beginPath();
  for (let i = 0; i < PARTICLES; i++) {
    const start = startOf(flow, paths[0], i);
    const mean = flow.sources[i % flow.sources.length];
    paths.forEach((path, step) => {
      const [x, y] = follow(paths[0], path, ...start, { point, mean });
      if (step) pen.lineTo(across(x), down(y));
      else pen.moveTo(across(x), down(y));
    });
  }
  pen.stroke();
}

function drawTrails(trails, t, look) {
  const [last, part] = momentOf(trails, t);
  const { times, places } = trails;
  Object.assign(pen, { lineWidth: 0.8, ...look });
  pen.beginPath();
  for (let i = 0; i < PARTICLES; i++) {
    const first = 2 * i * times.length;
    pen.moveTo(across(places[first]), down(places[first + 1]));
    for (let at = first + 2; at <= first + 2 * last; at += 2) {
      pen.lineTo(across(places[at]), down(places[at + 1]));
    }
    const [x, y] = placeOn(trails, i, last, part);
    pen.lineTo(across(x), down(y));
  }
  pen.stroke();
}

/** All particles at once, each by a function that traces its outline. */
function drawParticles(trails, t, look, trace) {
  const [before, part] = momentOf(trails, t);
  Object.assign(pen, look);
  pen.beginPath();
  for (let i = 0; i < PARTICLES; i++) {
    const [x, y] = placeOn(trails, i, before, part);
    trace(across(x), down(y));
  }
  pen.fill();
  pen.stroke();
}

function traceDot(x, y) {
  pen.moveTo(x + 2.8, y);
  pen.arc(x, y, 2.8, 0, 2 * PI);
}

const traceSquare = (x, y) => pen.rect(x - 3.2, y - 3.2, 6.4, 6.4);

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

function drawSource({ means, std }) {
  const look = { strokeStyle: css(colours.source, 0.9), lineWidth: 1.3 };
  drawCircles(means, across(2 * std) - across(0), look, [4, 3]);
  const paper = { strokeStyle: css(colours.paper), lineWidth: 1 };
  drawCircles(means, 4, { fillStyle: css(colours.source), ...paper });
}

function drawPoints({ points, chosen }) {
  const count = points.length;
  const [fillStyle, strokeStyle] = [css(colours.generated), css(colours.paper)];
  const outlined = { fillStyle, strokeStyle, lineWidth: min(1, 20 / count) };
  drawCircles(points, max(1.8, 6 - 0.65 * log(count)), outlined);
  if (chosen === null) return;
  const look = { strokeStyle: css(colours.paper), lineWidth: 1.5 };
  drawCircles([points[chosen]], 8, { fillStyle: css(colours.chosen), ...look });
}

/** Where the keyboard is: a ring around one thing that can be moved. */
function drawHeld(held) {
  const centre = held && placesOf(held.kind)[held.at];
  if (centre) drawCircles([centre], 12, { strokeStyle: css(colours.ink), lineWidth: 2 });
}

/** Everything, at time t; returns what the words of the page tell. */
function drawScene(flow, t, trails, held) {
  const path = pathAt(flow, t);
  const grid = densityGrid(flow, path, box);
  const shown = (name) => state.shows.has(name);
  const colour = colourAt(t);
  let speed = null;
  clear();
  inArea(() => {
    if (shown("density")) drawHeatMap(grid.values, grid.peak, colour, 0.85);
    if (state.chosen !== null) drawOwnPaths(flow);
    for (const [name, line] of [["fine", colours.ink], ["euler", colours.euler]]) {
      if (shown(name) && shown("trails")) {
        drawTrails(trails[name], t, { strokeStyle: css(line, name === "fine" ? 0.3 : 0.6) });
      }
    }
    if (shown("arrows")) {
      const fans = state.chosen !== null && shown("shares");
      const pixels = fans ? drawConditionals(flow, path) : drawVelocities(flow, path, grid);
      speed = LEGEND_ARROW / pixels;
    }
    drawSource(state);
    if (shown("fine")) {
      const look = { fillStyle: css(colours.ink), strokeStyle: css(colours.paper), lineWidth: 1 };
      drawParticles(trails.fine, t, look, traceDot);
    }
    if (shown("euler")) {
      const [fillStyle, strokeStyle] = [css(colours.paper, 0.6), css(colours.euler)];
      drawParticles(trails.euler, t, { fillStyle, strokeStyle, lineWidth: 1.6 }, traceSquare);
    }
    drawPoints(state);
    drawHeld(held);
  });
  drawAxes(...labelsOf(state.target));
  return { path, grid, speed };
}

const labelsOf = (name) => (name ? targetNamed(name).labels : ["x₁", "x₂"]);
