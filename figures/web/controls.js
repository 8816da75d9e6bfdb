// What changes the state: the controls of the page, the link, the hand on the surface.

const reads = (event) => Number(event.target.value);

function offer(id, choices, byHand = "") {
  const all = byHand ? [...choices, { name: "", title: byHand }] : choices;
  named(id).replaceChildren(...all.map(({ name, title }) => new Option(title, name)));
  if (byHand) named(id).lastChild.hidden = true; // shown after a change by hand, never chosen
}

function onChange(id, event, change) {
  named(id).addEventListener(event, (happened) => {
    mixing = null;
    change(happened);
    changed();
  });
}

/** Which control changes what. */
function listen() {
  const count = () => COUNTS[named("points").value];
  onChange("target", "change", (event) => {
    takeTarget(event.target.value, count());
    fitBox();
  });
  onChange("points", "input", () => takeTarget(state.target, count()));
  onChange("source", "change", (event) => {
    takeSource(event.target.value);
    fitBox();
  });
  onChange("method", "change", (event) => {
    takeMethod(event.target.value);
    fitBox();
  });
  onChange("sigma", "input", (event) => { state.sigma = widths()[event.target.value]; });
  onChange("diffusion", "input", (event) => { state.diffusion = reads(event); });
  onChange("steps", "input", (event) => { state.steps = reads(event); });
  onChange("others", "input", (event) => { state.others = reads(event); });
  onChange("view", "change", (event) => { state.view = event.target.value; });
  onChange("mix", "click", () => { mixing = performance.now(); });
  named("all").addEventListener("click", () => choose(null));
  named("reset").addEventListener("click", () => start({}));
  named("copy").addEventListener("click", copyLink);
  for (const each of document.querySelectorAll("[data-shows]")) {
    each.addEventListener("change", () => {
      state.shows[each.checked ? "add" : "delete"](each.dataset.shows);
      show();
    });
  }
  for (const id of ["time", "play", "loop", "backwards"]) {
    named(id).addEventListener("click", keepLink);
  }
  window.addEventListener("hashchange", () => start(heard(location.hash)));
}

let keeping = 0;

/** Put the state into the address, when the hand rests: browsers refuse it at every picture. */
function keepLink() {
  clearTimeout(keeping);
  keeping = setTimeout(() => history.replaceState(null, "", writeLink(clock)), 400);
}

async function copyLink() {
  history.replaceState(null, "", writeLink(clock));
  try {
    await navigator.clipboard.writeText(location.href);
    say("The link is copied.");
  } catch {
    say("The link is in the address bar; this browser does not let a page copy it.");
  }
}

/** Turn the surface by pointer and by arrow keys. */
function turnable(sheet) {
  const turn = (around, towards) => {
    const [a, b] = state.turned;
    state.turned = [a + around, max(0, min(PI / 2, b + towards))];
    clock.redraw();
    keepLink();
  };
  sheet.addEventListener("pointerdown", (event) => sheet.setPointerCapture(event.pointerId));
  sheet.addEventListener("pointermove", (event) => {
    if (!sheet.hasPointerCapture(event.pointerId)) return;
    turn(event.movementX / 150, -event.movementY / 150);
  });
  sheet.addEventListener("keydown", (event) => {
    if (!(event.key in ARROWS)) return;
    event.preventDefault();
    const [dx, dy] = ARROWS[event.key];
    turn(dx / 10, dy / 10);
  });
}
