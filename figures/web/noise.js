// Noise along the flow, dx = (u + ½ g² ∇ log p) dt + g dW: how strong, and each particle's motion.

const CELLS = 2048; // of time, between whose ends the motions are drawn; those of FINE_TIMES, too
const UNSTIRRED = { forgotten: 0, draws: [0, 0] };
let motions = null; // the Brownian motions of all particles, when they have been asked for

/**
 * g² on the path: that of `noise.py`, for a source of standard deviation std.
 *
 * No more than what vanishes with β, so that particles arrive without noise, and Euler's steps, too,
 * stay stable where the score is steep.
 */
function noiseAt({ diffusion, std }, { alpha, alphaSlope, beta, betaSlope }) {
  const most = (2 * std ** 2 * beta * (alphaSlope * beta - alpha * betaSlope)) / alpha;
  return max(0, min(diffusion ** 2, alpha > 0 ? most : Infinity));
}

/** One of the normal numbers that a counter makes: SplitMix (Steele, Lea & Flood 2014), Box–Muller. */
function normal(counter) {
  const [radius, turn] = [2 * counter + 1, 2 * counter + 2].map((count) => {
    let bits = Math.imul(count, 0x9e3779b9);
    bits = Math.imul(bits ^ (bits >>> 16), 0x85ebca6b);
    bits = Math.imul(bits ^ (bits >>> 13), 0xc2b2ae35);
    return (((bits ^ (bits >>> 16)) >>> 0) + 0.5) / 2 ** 32;
  });
  return sqrt(-2 * log(radius)) * Math.cos(2 * PI * turn);
}

/** The places [x, y] of every particle's motion at all ends of cells, always the same. */
function drawMotions() {
  const drawn = new Float64Array(PARTICLES * (CELLS + 1) * 2);
  for (let at = 0; at < drawn.length; at++) {
    const begins = at % (2 * (CELLS + 1)) < 2;
    drawn[at] = begins ? 0 : drawn[at - 2] + normal(at) / sqrt(CELLS);
  }
  return drawn;
}

/** How far the motion of particle i goes between two times. */
function increment(i, from, to) {
  motions ??= drawMotions();
  const [start, end] = [from, to].map((t) => 2 * (i * (CELLS + 1) + round(t * CELLS)));
  return [motions[end] - motions[start], motions[end + 1] - motions[start + 1]];
}

/** What noise does to particle i meanwhile: how much of where it was is forgotten, and for what. */
function stirring(flow, path, i, from, to) {
  if (flow.diffusion === 0) return UNSTIRRED;
  return {
    forgotten: -Math.expm1((-(to - from) * noiseAt(flow, path)) / path.v),
    draws: increment(i, from, to).map((moved) => moved / sqrt(to - from)),
  };
}
