// Moving, drawing and erasing points of the target and components of the source: by mouse, by
// finger, by pen, by keyboard.

const REACH = { mouse: 14, pen: 18, touch: 26 }; // pixels around a thing that take hold of it
const STILL = 5; // pixels that a hand may slip without having moved a thing
const SPACING = 0.025; // between points drawn in a stroke, as a part of the box
const placesOf = (kind) => (kind === "source" ? state.means : state.points);
const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] };
const WORDS = { source: "component", point: "point" };

/**
 * Listen to the canvas: tool() says what a hand does there, "move", "point", "source" or "erase".
 *
 * changed(kind) is called after every change, choose(at or null) after a tap, say(words) with what
 * a screen reader should tell. Returns held(), the thing that the keyboard has hold of, or null.
 */
function makeHands({ tool, changed, choose, say }) {
  let grasp = null; // what a pointer is doing
  let held = null; // { kind, at }

  const all = () => ["point", "source"].flatMap((kind) =>
    placesOf(kind).map((_, at) => ({ kind, at })));
  const allowed = (kind) => kind === "point" || !methodNamed(state.method).onlySource;
  const most = (kind) => (kind === "source" ? MOST_MEANS : data.mostPoints);

  /** The nearest thing within so many pixels; of two, the point before the source. */
  function nearest(x, y, reach) {
    let [found, least] = [null, reach];
    for (const each of all()) {
      const [placeX, placeY] = placesOf(each.kind)[each.at];
      const distance = hypot(across(placeX) - x, down(placeY) - y);
      if (distance < least) [found, least] = [each, distance];
    }
    return found;
  }

  const within = ([x, y]) => [
    max(box[0], min(box[1], x)), max(box[2], min(box[3], y)),
  ];

  function refuse() {
    say(`${methodNamed(state.method).title} is defined for one source alone, which stays.`);
  }

  function move({ kind, at }, place) {
    if (!allowed(kind)) return refuse();
    placesOf(kind)[at] = within(place);
    changed(kind);
  }

  function add(kind, place) {
    if (!allowed(kind)) return refuse();
    if (placesOf(kind).length >= most(kind)) return say(`${most(kind)} are the most there can be.`);
    placesOf(kind).push(within(place));
    changed(kind);
  }

  function remove({ kind, at }) {
    if (!allowed(kind)) return refuse();
    if (placesOf(kind).length === 1) return say(`The last ${WORDS[kind]} stays.`);
    placesOf(kind).splice(at, 1);
    held = null;
    if (kind === "point" && state.chosen !== null) {
      if (state.chosen === at) choose(null);
      else if (state.chosen > at) state.chosen -= 1;
    }
    changed(kind);
  }

  const pixelsOf = (event) => [event.offsetX, event.offsetY];

  function press(event) {
    if (event.button !== 0 || grasp) return;
    const [x, y] = pixelsOf(event);
    const thing = nearest(x, y, REACH[event.pointerType] ?? REACH.mouse);
    canvas.setPointerCapture(event.pointerId);
    const [thingX, thingY] = thing ? placesOf(thing.kind)[thing.at] : placeAt(x, y);
    const [dx, dy] = [across(thingX) - x, down(thingY) - y]; // it does not jump to the finger
    grasp = { id: event.pointerId, x, y, dx, dy, thing, moved: false };
    held = null;
    if (tool() === "erase" && thing) remove(thing);
    if (tool() === "point" || tool() === "source") draw(x, y);
  }

  function drag(event) {
    const [x, y] = pixelsOf(event);
    if (!grasp) return hover(x, y);
    if (event.pointerId !== grasp.id) return;
    grasp.moved ||= hypot(x - grasp.x, y - grasp.y) > STILL;
    if (tool() === "move" && grasp.thing && grasp.moved) {
      move(grasp.thing, placeAt(x + grasp.dx, y + grasp.dy));
    }
    if (tool() === "erase") {
      const thing = nearest(x, y, REACH[event.pointerType] ?? REACH.mouse);
      if (thing) remove(thing);
    }
    const far = hypot(x - grasp.x, y - grasp.y) > SPACING * area.width;
    if (tool() === "point" && far) draw(x, y);
  }

  function draw(x, y) {
    add(tool(), placeAt(x, y));
    [grasp.x, grasp.y] = [x, y];
  }

  function release(event) {
    if (event.pointerId !== grasp?.id) return;
    const tapped = tool() === "move" && !grasp.moved && event.type === "pointerup";
    const { thing } = grasp;
    grasp = null;
    if (tapped) choose(thing?.kind === "point" ? thing.at : null);
  }

  function hover(x, y) {
    const thing = nearest(x, y, REACH.mouse);
    canvas.style.cursor = tool() !== "move" ? "crosshair" : thing ? "grab" : "default";
  }

  canvas.addEventListener("pointerdown", press);
  canvas.addEventListener("pointermove", drag);
  canvas.addEventListener("pointerup", release);
  canvas.addEventListener("pointercancel", release);


  /** Take hold of the next thing, or the one before. */
  function step(by) {
    const things = all();
    const now = things.findIndex(({ kind, at }) => kind === held?.kind && at === held.at);
    const next = now < 0 ? (by > 0 ? 0 : -1) : now + by;
    held = things.at(next % things.length);
    tell();
  }

  function tell() {
    const places = placesOf(held.kind);
    const [x, y] = places[held.at].map((value) => label(value.toFixed(2)));
    say(`${WORDS[held.kind]} ${held.at + 1} of ${places.length}, at ${x}, ${y}`);
  }

  function nudge([dx, dy], fine) {
    if (!held) return step(1);
    const length = (box[1] - box[0]) / (fine ? 400 : 50);
    const [x, y] = placesOf(held.kind)[held.at];
    move(held, [x + dx * length, y + dy * length]);
    if (allowed(held.kind)) tell();
  }

  /** A new point in the middle of the box, taken hold of. */
  function insert() {
    held = { kind: "point", at: state.points.length };
    add("point", [(box[0] + box[1]) / 2, (box[2] + box[3]) / 2]);
    held.at = state.points.length - 1;
    tell();
  }

  canvas.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const does = {
      PageDown: () => step(1),
      PageUp: () => step(-1),
      Delete: () => held && remove(held),
      Backspace: () => held && remove(held),
      Insert: () => insert(),
      "+": () => insert(),
      Enter: () => held?.kind === "point" && choose(held.at),
      Escape: () => {
        held = null;
        choose(null);
      },
    }[event.key] ?? (event.key in ARROWS && (() => nudge(ARROWS[event.key], event.shiftKey)));
    if (!does) return;
    event.preventDefault();
    does();
  });
  canvas.addEventListener("blur", () => {
    held = null;
    changed("");
  });
  return () => held;
}
