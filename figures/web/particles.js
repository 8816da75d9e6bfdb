// Particles that follow the exact field, without noise or with it: finely, and by steps of Euler.

const FINE_STEPS = 32;
const PARTICLES = data.noise.length; // particles, whose noise Python has drawn

// Times of the fine solution: closer towards the end, where the field turns fastest.
const FINE_TIMES = Array.from({ length: FINE_STEPS + 1 }, (_, i) => 1 - (1 - i / FINE_STEPS) ** 2);

/** Each solver: its times for so many steps, and one step of it between two of them. */
const SOLVERS = {
  fine: {
    times: () => FINE_TIMES,
    // The path is followed exactly to where the place seems to come from and to go: first to half
    // of the step, then, by what it seems there, all of it (a midpoint rule, of second order).
    // Noise is exact likewise, so that it widens and narrows nothing, however few the steps.
    paths(flow, from, to) {
      const times = [from, (from + to) / 2, to];
      return { times, paths: times.map((t) => pathAt(flow, t)) };
    },
    step(flow, { times: [start, half, end], paths: [from, middle, to] }, x, y, i) {
      const stirs = stirring(flow, from, i, start, half);
      const [halfX, halfY] = follow(from, middle, x, y, posterior(flow, from, x, y), stirs);
      const seems = posterior(flow, middle, halfX, halfY);
      return follow(from, to, x, y, seems, stirring(flow, middle, i, start, end));
    },
  },
  euler: {
    times: (steps) => Array.from({ length: steps + 1 }, (_, i) => i / steps),
    paths: (flow, from, to) => ({ from, to, path: pathAt(flow, from) }),
    step(flow, { from, to, path }, x, y, i) {
      const { point, mean } = posterior(flow, path, x, y);
      const [ux, uy] = towards(path, x, y, point, mean);
      const length = to - from;
      if (flow.diffusion === 0) return [x + length * ux, y + length * uy];
      const noise = noiseAt(flow, path);
      const [sx, sy] = score(path, x, y, point, mean);
      const [dx, dy] = increment(i, from, to);
      return [
        x + length * (ux + (noise / 2) * sx) + sqrt(noise) * dx,
        y + length * (uy + (noise / 2) * sy) + sqrt(noise) * dy,
      ];
    },
  },
};

/** Where x, y goes from one time to another if it is on the way from this mean to this point. */
function follow(from, to, x, y, { point, mean }, { forgotten, draws } = UNSTIRRED) {
  const widening = sqrt((to.v / from.v) * (1 - forgotten));
  const fresh = sqrt(to.v * forgotten);
  return [
    to.alpha * point[0] + to.beta * mean[0]
      + widening * (x - from.alpha * point[0] - from.beta * mean[0]) + fresh * draws[0],
    to.alpha * point[1] + to.beta * mean[1]
      + widening * (y - from.alpha * point[1] - from.beta * mean[1]) + fresh * draws[1],
  ];
}

/** Where particle i starts: noise around a component of the source, as wide as the path begins. */
function startOf(flow, path, i) {
  const mean = flow.sources[i % flow.sources.length];
  return data.noise[i].map((noise, d) => path.beta * mean[d] + sqrt(path.v) * noise);
}

/**
 * The trails of all particles by one solver, solved little by little so that no picture waits.
 *
 * After change(), the particles are solved again in turn, as many as solve() has time for; until
 * its turn comes, a particle keeps the trail it had.
 */
function makeTrails(solver) {
  const trails = { times: [], places: new Float64Array(0), waiting: 0, change, solve };
  let [flow, paths, next] = [null, [], 0];

  function change(newFlow, steps) {
    const times = solver.times(steps);
    const length = PARTICLES * times.length * 2;
    if (trails.places.length !== length) {
      trails.places = new Float64Array(length).fill(NaN); // canvases draw nothing there
    }
    [flow, trails.times, trails.waiting] = [newFlow, times, PARTICLES];
    paths = times.slice(1).map((t, i) => solver.paths(flow, times[i], t));
  }

  function solve(deadline) {
    const first = pathAt(flow, 0);
    while (trails.waiting > 0 && performance.now() < deadline) {
      solveOne(next, startOf(flow, first, next));
      next = (next + 1) % PARTICLES;
      trails.waiting -= 1;
    }
  }

  function solveOne(i, [x, y]) {
    const { places, times } = trails;
    let at = i * times.length * 2;
    places[at++] = x;
    places[at++] = y;
    for (const path of paths) {
      [x, y] = solver.step(flow, path, x, y, i);
      places[at++] = x;
      places[at++] = y;
    }
  }

  return trails;
}

/** Where time t lies among the times of trails: the last one that is not later, and how far on. */
function momentOf({ times }, t) {
  const before = max(0, min(times.length - 2, times.findLastIndex((time) => time <= t)));
  return [before, (t - times[before]) / (times[before + 1] - times[before])];
}

/** Where particle i is, before it and part of the next step on. */
function placeOn({ times, places }, i, before, part) {
  const at = 2 * (i * times.length + before);
  return [
    places[at] + part * (places[at + 2] - places[at]),
    places[at + 1] + part * (places[at + 3] - places[at + 1]),
  ];
}

/** The mean distance between where particles end by two solvers: NaN until all are solved. */
function apart(some, others) {
  let sum = 0;
  for (let i = 0; i < PARTICLES; i++) {
    const [x, y] = placeOn(some, i, some.times.length - 2, 1);
    const [otherX, otherY] = placeOn(others, i, others.times.length - 2, 1);
    sum += hypot(x - otherX, y - otherY);
  }
  return sum / PARTICLES;
}
