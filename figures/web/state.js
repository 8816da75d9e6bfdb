// What the reader has chosen, and how a link carries it.

const MOST_MEANS = 16;
const MOST_STEPS = 100;
const MOST_NOISE = 2;
const BOUND = 1000; // how far out a link may put a point
const methodNamed = (name) => data.methods.find((method) => method.name === name);
const sourceNamed = (name) => data.sources.find((source) => source.name === name);
const targetNamed = (name) => data.targets.find((target) => target.name === name);

/**
 * All that decides the picture, with SEEN, but for the clock; begin() fills it.
 *
 * source and target are the names of what is offered, or "" after a change by hand; means and
 * points are theirs. chosen is the place of one point among the points, or null; others is how
 * much the other points count beside it. shows is a set of what is drawn.
 */
const state = {
  method: "", sigma: 0, source: "", means: [], std: 1, target: "", points: [],
  chosen: null, others: 0,
};

/** What is seen of it when the page is opened. */
const SEEN = {
  steps: 8,
  diffusion: 0, // of particles: 0 for the ordinary equation
  shows: ["density", "arrows", "fine", "trails", "shares"],
  view: "flat",
  turned: [-0.6, 0.9], // the surface: around the vertical axis, and towards the reader
};

function takeSource(name) {
  const { means, std } = sourceNamed(name);
  Object.assign(state, { source: name, means: means.map((mean) => [...mean]), std });
}

function takeTarget(name, count) {
  const points = targetNamed(name).points.slice(0, count).map((point) => [...point]);
  Object.assign(state, { target: name, points, chosen: null });
}

/** Take a method; one that is defined for one source alone takes that too. */
function takeMethod(name, sigma = methodNamed(name).sigma) {
  Object.assign(state, { method: name, sigma });
  const { onlySource } = methodNamed(name);
  if (onlySource && state.source !== onlySource) takeSource(onlySource);
}

/** The flow that is chosen: that to one point, where the others do not count. */
function chosenFlow() {
  const { chosen, others, sigma, std, points, means: sources, diffusion } = state;
  const shares = chosen === null ? null : points.map((_, i) => (i === chosen ? 1 : others));
  return makeFlow({
    schedule: methodNamed(state.method).schedule, sigma, sources, std, points, shares, diffusion,
  });
}

const place = ([x, y]) => `${Number(x.toFixed(3))},${Number(y.toFixed(3))}`;
const written = (places) => places.map(place).join("_");

/** The state and the clock as the fragment of a link. */
function writeLink(clock) {
  const { method, sigma, source, means, std, target, points, chosen, others, steps } = state;
  const { diffusion, shows, view, turned } = state;
  const parts = {
    method, sigma, t: Number(clock.t.toFixed(3)),
    ...(source ? { source } : { means: written(means), std }),
    ...(target ? { target, n: points.length } : { points: written(points) }),
    ...(chosen === null ? {} : { chosen: chosen + 1, others }),
    steps, ...(diffusion ? { diffusion } : {}), shows: [...shows].join("_"),
    ...(view === "flat" ? {} : { view, turned: place(turned) }),
    ...(clock.backwards ? { backwards: 1 } : {}),
    ...(clock.looping ? {} : { once: 1 }),
  };
  return `#${new URLSearchParams(parts).toString().replaceAll("%2C", ",")}`;
}

/** A number written in a link, if it is one and within [low, high]; otherwise undefined. */
function numberIn(text, low, high) {
  const value = /^-?[\d.]+(e-?\d+)?$/.test(text) ? Number(text) : NaN;
  return value >= low && value <= high ? value : undefined;
}

function wholeIn(text, low, high) {
  const value = numberIn(text, low, high);
  return Number.isInteger(value) ? value : undefined;
}

/** Places "x,y_x,y_…", if they are that and no more than so many; otherwise undefined. */
function placesIn(text, most) {
  const places = text.split("_").map((each) => each.split(","));
  const read = places.map((each) => each.map((value) => numberIn(value, -BOUND, BOUND)));
  const good = read.length <= most
    && read.every((each) => each.length === 2 && !each.includes(undefined));
  return good ? read : undefined;
}

const nameIn = (text, known) => (known(text) ? text : undefined);
const oneOf = (text, allowed) => (allowed.includes(text) ? text : undefined);
const SHOWN = ["density", "arrows", "fine", "euler", "trails", "shares"];

// What may stand in a link: a reader for each part, undefined for what it must not be.
const READERS = {
  method: (text) => nameIn(text, methodNamed),
  sigma: (text) => numberIn(text, 0, 10),
  t: (text) => numberIn(text, 0, 1),
  source: (text) => nameIn(text, sourceNamed),
  means: (text) => placesIn(text, MOST_MEANS),
  std: (text) => numberIn(text, 0.01, 10),
  target: (text) => nameIn(text, targetNamed),
  n: (text) => wholeIn(text, 1, data.mostPoints),
  points: (text) => placesIn(text, data.mostPoints),
  chosen: (text) => wholeIn(text, 1, data.mostPoints),
  others: (text) => numberIn(text, 0, 1),
  steps: (text) => wholeIn(text, 1, MOST_STEPS),
  diffusion: (text) => numberIn(text, 0, MOST_NOISE),
  shows: (text) => {
    const names = text === "" ? [] : text.split("_");
    return names.every((name) => SHOWN.includes(name)) ? names : undefined;
  },
  view: (text) => oneOf(text, ["flat", "surface"]),
  turned: (text) => placesIn(text, 1)?.[0],
  backwards: (text) => oneOf(text, ["1"]),
  once: (text) => oneOf(text, ["1"]),
};

/** Read a fragment: what it says, part by part, and the parts that were left out as wrong. */
function readLink(fragment) {
  const [said, wrong] = [{}, []];
  for (const [name, text] of new URLSearchParams(fragment.replace(/^#/, ""))) {
    const value = Object.hasOwn(READERS, name) ? READERS[name](text) : undefined;
    if (value === undefined) wrong.push(name);
    else said[name] = value;
  }
  return { said, wrong };
}

/** Make the state what the program asked for, but where a link says something else. */
function begin(said) {
  const { method, source, target, n, sigma } = data.start;
  takeSource(said.source ?? source);
  if (said.means) Object.assign(state, { source: "", means: said.means, std: said.std ?? 1 });
  takeTarget(said.target ?? target, said.n ?? n);
  if (said.points) Object.assign(state, { target: "", points: said.points });
  const begun = methodNamed(said.method ?? method);
  const own = begun.name === method ? sigma : begun.sigma;
  takeMethod(begun.name, begun.schedule.whyFixed ? own : said.sigma ?? own);
  if (said.chosen <= state.points.length) state.chosen = said.chosen - 1;
  const { steps, diffusion, shows, view, turned, others = 0 } = { ...SEEN, ...said };
  Object.assign(state, { others, steps, diffusion, shows: new Set(shows), view });
  state.turned = [...turned];
  state.turned[1] = max(0, min(PI / 2, turned[1]));
}
