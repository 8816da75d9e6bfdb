// The exact page: what happens when its state changes, and how it begins.

const BUDGET = 10; // milliseconds of every picture that particles are solved in
const MIXING = 5; // seconds in which the other points are mixed in

const trails = { fine: makeTrails(SOLVERS.fine), euler: makeTrails(SOLVERS.euler) };
const surface = makeSurface(named("surface"));
let flow = null;
let mixing = null; // the moment when the last picture of a mixing was drawn

/** A square around what is chosen, so that all of it is seen. */
function fitBox() {
  const reach = 2.5 * state.std;
  const corners = state.means.flatMap(([x, y]) => [[x - reach, y - reach], [x + reach, y + reach]]);
  const places = [...corners, ...state.points];
  const sides = [0, 1].map((d) => places.map((place) => place[d]));
  const [lows, highs] = [sides.map((side) => min(...side)), sides.map((side) => max(...side))];
  const half = 0.56 * max(highs[0] - lows[0], highs[1] - lows[1]);
  const [x, y] = [0, 1].map((d) => (lows[d] + highs[d]) / 2);
  box = [x - half, x + half, y - half, y + half];
}

/** Something that decides the flow has changed. */
function changed(kind = "") {
  if (kind === "point") state.target = "";
  if (kind === "source") state.source = "";
  flow = chosenFlow();
  trails.fine.change(flow);
  trails.euler.change(flow, state.steps);
  show();
}

function choose(at) {
  mixing = null;
  Object.assign(state, { chosen: at, others: 0 });
  changed();
  say(at === null ? "" : `The flow to point ${at + 1} alone.`);
}

/** Go on with mixing the other points in, if that is going on. */
function mix(now) {
  if (mixing === null) return;
  state.others = min(1, state.others + max(0, now - mixing) / 1000 / MIXING);
  mixing = state.others < 1 ? now : null;
  changed();
}

/** The trails that are needed: those of Euler are measured by the others. */
const needed = () => (state.shows.has("euler") ? [trails.fine, trails.euler] : [trails.fine]);
const settled = () => needed().every(({ waiting }) => waiting === 0);

function draw(t) {
  const now = performance.now();
  mix(now);
  for (const each of needed()) each.solve(now + BUDGET);
  const flat = state.view === "flat";
  const path = pathAt(flow, t);
  const drawn = flat
    ? drawScene(flow, t, trails, held())
    : { path, grid: densityGrid(flow, path, box), speed: null };
  if (!flat) surface(drawn.grid, state.points, colourAt(t), state.turned);
  describeMoment(t, drawn);
  if (!settled() || mixing !== null) clock.redraw();
}

/** What a link says; what it must not say is told, and left out. */
function heard(fragment) {
  const { said, wrong } = readLink(fragment);
  if (wrong.length) say(`The link has parts that this page does not know: ${wrong.join(", ")}.`);
  return said;
}

function start(said) {
  begin(said);
  if (!surface) state.view = "flat";
  fitBox();
  changed();
  clock.turn(said.backwards !== undefined);
  clock.loop(said.once === undefined);
  if (said.t !== undefined) clock.set(said.t);
}

offer("method", data.methods);
offer("source", data.sources, "by hand");
offer("target", data.targets, "by hand");
named("steps").max = MOST_STEPS;
named("diffusion").max = MOST_NOISE;
Object.assign(canvas, { tabIndex: 0, role: "application" });
if (!surface) {
  named("view").disabled = true;
  named("view").title = "This browser has no WebGL 2, which the surface is drawn with.";
}
const clock = makeClock(8, draw);
const held = makeHands({
  tool: () => named("tool").querySelector(":checked").value, changed, choose, say,
});
listen();
turnable(named("surface"));
start(heard(location.hash));

// For the console, and for tests.
window.lab = {
  makeFlow, chosenFlow, pathAt, velocityAt, densityAt, densityGrid, conditionalsAt, trails, placeOn,
  settled, draw, writeLink: () => writeLink(clock), readLink, box: () => box,
  state: () => ({ t: clock.t, playing: clock.playing, backwards: clock.backwards, ...state }),
};
