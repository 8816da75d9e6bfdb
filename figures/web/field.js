// The exact density and velocity of a flow to n points: the field of exact.py, for browsers.
//
// Given component k of the source, of mean m and standard deviation s, and point y of the target,
// x at time t is Gaussian with mean αy + βm and variance v = β²s² + σt².

const { PI, exp, log, hypot, max, min, round } = Math;
const { means, std, points, schedule } = data;
const pointsX = Float64Array.from(points, ([x]) => x);
const pointsY = Float64Array.from(points, ([, y]) => y);
const NEAREST = 1e-4; // how near to t = 1 the field is taken where it has no limit there

/** A cubic between two numbers that are a step apart, s of the way on: [its value, its slope]. */
function hermite(start, end, startSlope, endSlope, step, s) {
  const [rise, first, last] = [end - start, step * startSlope, step * endSlope];
  const [second, third] = [3 * rise - 2 * first - last, first + last - 2 * rise];
  return [
    start + s * (first + s * (second + s * third)),
    (first + s * (2 * second + s * 3 * third)) / step,
  ];
}

/** α, β and σt at time t, each with its slope, between the times of the table. */
function curvesAt(t, sigma) {
  const { times, values, slopes } = schedule;
  const after = max(1, times.findIndex((time, i) => time >= t || i === times.length - 1));
  const before = after - 1;
  const step = times[after] - times[before];
  const curves = [[0, 0], [0, 0], [0, 0]];
  values.forEach((part, power) => part.forEach((curve, i) => {
    const slope = slopes[power][i];
    const [value, rate] = hermite(
      curve[before], curve[after], slope[before], slope[after], step, (t - times[before]) / step);
    curves[i][0] += sigma ** power * value;
    curves[i][1] += sigma ** power * rate;
  }));
  return curves;
}

/** The path at t, or as near to t as there is a field; v is the variance, vSlope its slope. */
function pathAt(t, sigma) {
  const [first, last] = [schedule.times[0], schedule.times.at(-1)];
  const [, [betaAtEnd], [widthAtEnd]] = curvesAt(last, sigma);
  const vanishes = (betaAtEnd * std) ** 2 < 1e-12 && widthAtEnd === 0;
  const time = max(first, min(t, last, vanishes ? 1 - NEAREST : 1));
  const [[alpha, alphaSlope], [beta, betaSlope], [width, widthSlope]] = curvesAt(time, sigma);
  const v = (beta * std) ** 2 + width ** 2;
  const vSlope = 2 * (beta * betaSlope * std ** 2 + width * widthSlope);
  return { alpha, alphaSlope, beta, betaSlope, width, v, vSlope };
}

/** What a place (x, y) tells of where it comes from: log-density, mean of points, mean of means. */
function posterior({ alpha, beta, v }, x, y, n) {
  const squares = new Float64Array(means.length * n);
  means.forEach(([mx, my], k) => {
    for (let i = 0; i < n; i++) {
      const [dx, dy] = [x - beta * mx - alpha * pointsX[i], y - beta * my - alpha * pointsY[i]];
      squares[k * n + i] = dx * dx + dy * dy;
    }
  });
  const nearest = squares.reduce((a, b) => min(a, b));
  // Weights are taken relative to the largest, and so do not all vanish; e^-50 is left out.
  let [total, pointX, pointY, meanX, meanY] = [0, 0, 0, 0, 0];
  means.forEach(([mx, my], k) => {
    for (let i = 0; i < n; i++) {
      const farther = (squares[k * n + i] - nearest) / (2 * v);
      if (farther > 50) continue;
      const weight = exp(-farther);
      total += weight;
      pointX += weight * pointsX[i];
      pointY += weight * pointsY[i];
      meanX += weight * mx;
      meanY += weight * my;
    }
  });
  return {
    logDensity: log(total / (squares.length * 2 * PI * v)) - nearest / (2 * v),
    point: [pointX / total, pointY / total],
    mean: [meanX / total, meanY / total],
  };
}

function velocity(t, x, y, n, sigma) {
  const { alpha, alphaSlope, beta, betaSlope, v, vSlope } = pathAt(t, sigma);
  const { point, mean } = posterior({ alpha, beta, v }, x, y, n);
  return [x, y].map((value, d) => alphaSlope * point[d] + betaSlope * mean[d]
    + (vSlope / (2 * v)) * (value - alpha * point[d] - beta * mean[d]));
}

function density(t, x, y, n, sigma) {
  return exp(posterior(pathAt(t, sigma), x, y, n).logDensity);
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
function densityGrid(t, n, sigma) {
  const { alpha, beta, v } = pathAt(t, sigma);
  const [left, right, bottom] = data.box;
  const cells = round(max(48, min(256, (4 * (right - left)) / v ** 0.5)));
  const cell = (right - left) / cells;
  const width = max(v ** 0.5, 0.7 * cell);
  const scale = 1 / (2 * PI * width ** 2 * n * means.length);
  const values = new Float64Array(cells * cells);
  for (const [mx, my] of means) {
    for (let i = 0; i < n; i++) {
      const [x, y] = [alpha * pointsX[i] + beta * mx, alpha * pointsY[i] + beta * my];
      const [firstColumn, horizontal] = gaussianAlong(x - left, width, cell, cells);
      const [firstRow, vertical] = gaussianAlong(y - bottom, width, cell, cells);
      for (let row = 0; row < vertical.length; row++) {
        const start = (firstRow + row) * cells + firstColumn;
        const factor = scale * vertical[row];
        for (let column = 0; column < horizontal.length; column++) {
          values[start + column] += factor * horizontal[column];
        }
      }
    }
  }
  const peak = values.reduce((a, b) => max(a, b));
  return { cells, values, peak, widened: width > v ** 0.5 };
}
