// The exact density and velocity of a flow to a few points: the field of exact.py, for browsers.
//
// Given component k of the source, of mean m and standard deviation s, and point y of the target,
// x at time t is Gaussian with mean αy + βm and variance v = β²s² + σt². What all of them do
// together is a mean, by how likely they are at x: this is the central idea of flow matching.

const { PI, exp, log, hypot, max, min, round, sqrt } = Math;

// Powers of e, from a table: several times as fast as the browser's own, and a million a picture.
const FARTHEST = 50; // what is smaller than e^−50 of another weight is left out
const FINENESS = 64; // entries of the table for every 1 of z; between them four terms of Taylor's
const POWERS = new Float64Array(FARTHEST * FINENESS + 1).map((_, i) => exp(-i / FINENESS));

/** e^−z for z from 0 to FARTHEST, right to 1e-11. */
function expOfMinus(z) {
  const entry = Math.trunc(z * FINENESS);
  const rest = entry / FINENESS - z;
  return POWERS[entry] * (1 + rest * (1 + rest * (1 / 2 + rest * (1 / 6 + rest / 24))));
}

/**
 * What the functions of this file ask for.
 *
 * schedule: the table of a method; sigma: its σ; sources and std: the source; points: the target,
 * [x, y] each; shares: how much of the target each point is, or null where all are the same.
 * Points without a share are left out. diffusion: how strong noise along the flow may be.
 */
function makeFlow({ schedule, sigma, sources, std, points, shares = null, diffusion = 0 }) {
  const kept = points.map((_, i) => i).filter((i) => !shares || shares[i] > 0);
  const total = kept.reduce((sum, i) => sum + (shares ? shares[i] : 1), 0);
  return {
    schedule, sigma, sources, std, diffusion,
    x: Float64Array.from(kept, (i) => points[i][0]),
    y: Float64Array.from(kept, (i) => points[i][1]),
    shares: Float64Array.from(kept, (i) => (shares ? shares[i] : 1) / total),
  };
}

let weights = new Float64Array(1); // of every pair of component and point, used again and again

/**
 * Fill `weights` with those of the place x, y, relative to the largest of them.
 *
 * Returns the square of the distance to the nearest middle: what that largest is of.
 */
function weigh({ sources, shares, x: pointsX, y: pointsY }, { alpha, beta, v }, x, y) {
  const count = pointsX.length;
  if (weights.length < count * sources.length) weights = new Float64Array(count * sources.length);
  let nearest = Infinity;
  for (let k = 0, at = 0; k < sources.length; k++) {
    const fromX = x - beta * sources[k][0];
    const fromY = y - beta * sources[k][1];
    for (let i = 0; i < count; i++, at++) {
      const dx = fromX - alpha * pointsX[i];
      const dy = fromY - alpha * pointsY[i];
      const square = dx * dx + dy * dy;
      weights[at] = square;
      if (square < nearest) nearest = square;
    }
  }
  const scale = 1 / (2 * v);
  for (let k = 0, at = 0; k < sources.length; k++) {
    for (let i = 0; i < count; i++, at++) {
      const farther = (weights[at] - nearest) * scale;
      weights[at] = farther < FARTHEST ? shares[i] * expOfMinus(farther) : 0;
    }
  }
  return nearest;
}

/** What a place tells of where it comes from: log-density, mean of points, mean of means. */
function posterior(flow, path, x, y) {
  const nearest = weigh(flow, path, x, y);
  const { sources, x: pointsX, y: pointsY } = flow;
  const count = pointsX.length;
  let total = 0;
  let pointX = 0;
  let pointY = 0;
  let meanX = 0;
  let meanY = 0;
  for (let k = 0, at = 0; k < sources.length; k++) {
    const before = total;
    for (let i = 0; i < count; i++, at++) {
      const weight = weights[at];
      total += weight;
      pointX += weight * pointsX[i];
      pointY += weight * pointsY[i];
    }
    meanX += (total - before) * sources[k][0];
    meanY += (total - before) * sources[k][1];
  }
  return {
    logDensity: log(total / (sources.length * 2 * PI * path.v)) - nearest / (2 * path.v),
    point: [pointX / total, pointY / total],
    mean: [meanX / total, meanY / total],
  };
}

/** The velocity at x, y of what goes from a component's mean to a point. */
function towards({ alpha, alphaSlope, beta, betaSlope, v, vSlope }, x, y, point, mean) {
  const rate = vSlope / (2 * v);
  return [
    alphaSlope * point[0] + betaSlope * mean[0] + rate * (x - alpha * point[0] - beta * mean[0]),
    alphaSlope * point[1] + betaSlope * mean[1] + rate * (y - alpha * point[1] - beta * mean[1]),
  ];
}

/** The score ∇ log p at x, y, likewise. */
function score({ alpha, beta, v }, x, y, point, mean) {
  return [(alpha * point[0] + beta * mean[0] - x) / v, (alpha * point[1] + beta * mean[1] - y) / v];
}

/** The marginal velocity; it is linear in both means, and so that of the means is the mean. */
function velocityAt(flow, path, x, y) {
  const { point, mean } = posterior(flow, path, x, y);
  return towards(path, x, y, point, mean);
}

/** The conditional velocities of all points, and how likely x, y is on its way to each of them. */
function conditionalsAt(flow, path, x, y) {
  weigh(flow, path, x, y);
  const count = flow.x.length;
  const found = Array.from({ length: count }, (_, i) => {
    let [part, meanX, meanY] = [0, 0, 0];
    flow.sources.forEach((mean, k) => {
      const weight = weights[k * count + i];
      part += weight;
      meanX += weight * mean[0];
      meanY += weight * mean[1];
    });
    return { part, mean: [meanX / part, meanY / part] };
  });
  const total = found.reduce((sum, { part }) => sum + part, 0);
  return found.map(({ part, mean }, i) => ({
    part: part / total,
    u: part > 0 ? towards(path, x, y, [flow.x[i], flow.y[i]], mean) : [0, 0],
  }));
}

function densityAt(flow, path, x, y) {
  return exp(posterior(flow, path, x, y).logDensity);
}

/** A Gaussian along one side of a grid, where it is not nearly 0: its first cell, its values. */
function gaussianAlong(centre, width, cell, cells) {
  const reach = 5.5 * width;
  const first = max(0, Math.ceil((centre - reach) / cell - 0.5));
  const last = min(cells - 1, Math.floor((centre + reach) / cell - 0.5));
  const values = [];
  for (let i = first; i <= last; i++) {
    values.push(exp(-((((i + 0.5) * cell - centre) / width) ** 2) / 2));
  }
  return [first, values];
}

/**
 * The density at the middles of the cells of a square grid over the box, rows along y.
 *
 * The cells are as fine as the Gaussians need, and each Gaussian, a product of one along x and
 * one along y, fills only the cells it reaches: so all grids take about the same time. Gaussians
 * narrower than a cell are drawn as wide as one.
 */
function densityGrid(flow, { alpha, beta, v }, [left, right, bottom]) {
  const cells = round(max(48, min(256, (4 * (right - left)) / sqrt(v))));
  const cell = (right - left) / cells;
  const width = max(sqrt(v), 0.7 * cell);
  const scale = 1 / (2 * PI * width ** 2 * flow.sources.length);
  const values = new Float64Array(cells * cells);
  for (const [meanX, meanY] of flow.sources) {
    for (let i = 0; i < flow.x.length; i++) {
      const [x, y] = [alpha * flow.x[i] + beta * meanX, alpha * flow.y[i] + beta * meanY];
      const [firstColumn, horizontal] = gaussianAlong(x - left, width, cell, cells);
      const [firstRow, vertical] = gaussianAlong(y - bottom, width, cell, cells);
      for (let row = 0; row < vertical.length; row++) {
        const start = (firstRow + row) * cells + firstColumn;
        const factor = scale * flow.shares[i] * vertical[row];
        for (let column = 0; column < horizontal.length; column++) {
          values[start + column] += factor * horizontal[column];
        }
      }
    }
  }
  const peak = values.reduce((a, b) => max(a, b), 1e-300);
  return { cells, values, peak, widened: width > sqrt(v) };
}
