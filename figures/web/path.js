// The path of a method over time, from the table of numbers that Python wrote of it.

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
function curvesAt(schedule, sigma, t) {
  const { times, values, slopes } = schedule;
  const after = Math.max(1, times.findIndex((time, i) => time >= t || i === times.length - 1));
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

/**
 * The path at t, or as near to t as there is a field.
 *
 * From a component of the source with standard deviation std to one point, v is the variance at
 * that time, β²std² + σt², and vSlope its slope.
 */
function pathAt({ schedule, sigma, std }, t) {
  const [first, last] = [schedule.times[0], schedule.times.at(-1)];
  const [, [betaAtEnd], [widthAtEnd]] = curvesAt(schedule, sigma, last);
  const vanishes = (betaAtEnd * std) ** 2 < 1e-12 && widthAtEnd === 0;
  const time = Math.max(first, Math.min(t, last, vanishes ? 1 - NEAREST : 1));
  const [alpha, beta, width] = curvesAt(schedule, sigma, time);
  const v = (beta[0] * std) ** 2 + width[0] ** 2;
  const vSlope = 2 * (beta[0] * beta[1] * std ** 2 + width[0] * width[1]);
  return {
    alpha: alpha[0], alphaSlope: alpha[1], beta: beta[0], betaSlope: beta[1], width: width[0],
    v, vSlope,
  };
}
