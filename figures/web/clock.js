// The clock of all pages: play, stop, set, turn round, go on for ever.

/**
 * The buttons and the slider of time, and the space bar.
 *
 * Time runs between 0 and 1 in so many seconds, either way, and then again if it is to, with a
 * rest at both ends. Every change calls draw, at most once for every picture the screen shows.
 */
function makeClock(seconds, draw) {
  const RESTS = { start: 0.7, end: 1.5 };
  const icons = { play: "M4 2v12l10-6z", pause: "M3 2h3.5v12H3zM9.5 2H13v12H9.5z" };
  const clock = {
    t: 0, playing: false, backwards: false, looping: true, play, pause, redraw, set, turn, loop,
  };
  const ends = () => (clock.backwards ? [1, 0] : [0, 1]);
  let waiting = false;
  let last = null;
  let rest = 0;

  function redraw() {
    if (!waiting) requestAnimationFrame(picture);
    waiting = true;
  }

  function picture(now) {
    waiting = false;
    if (clock.playing) {
      // After a while in another tab, time goes on from where it was.
      advance(last === null ? 0 : Math.min((now - last) / 1000, 0.1));
      last = now;
    }
    const text = clock.t.toFixed(2);
    named("time").value = clock.t;
    named("time").setAttribute("aria-valuetext", text);
    named("now").textContent = text;
    draw(clock.t);
    if (clock.playing) redraw();
  }

  function advance(elapsed) {
    rest -= elapsed;
    if (rest > 0) return;
    const [from, to] = ends();
    if (clock.t === to) {
      clock.t = from;
      rest = RESTS.start;
      return;
    }
    const moved = clock.t + ((to - from) * elapsed) / seconds;
    clock.t = Math.max(0, Math.min(1, moved));
    if (clock.t !== to) return;
    if (clock.looping) rest = RESTS.end;
    else pause();
  }

  function play() {
    const [from, to] = ends();
    if (clock.t === to) clock.t = from;
    [clock.playing, last, rest] = [true, null, 0];
    show("Pause", icons.pause);
  }

  function pause() {
    clock.playing = false;
    show("Play", icons.play);
  }

  function show(label, icon) {
    named("play").setAttribute("aria-label", label);
    named("play").title = `${label} (space)`;
    named("play").querySelector("path").setAttribute("d", icon);
    redraw();
  }

  function set(t) {
    clock.t = t;
    pause();
  }

  function turn(backwards) {
    [clock.backwards, rest] = [backwards, 0];
    named("backwards").setAttribute("aria-pressed", backwards);
    redraw();
  }

  function loop(looping) {
    clock.looping = looping;
    named("loop").setAttribute("aria-pressed", looping);
    redraw();
  }

  const toggle = () => (clock.playing ? pause() : play());
  named("play").addEventListener("click", toggle);
  named("backwards").addEventListener("click", () => turn(!clock.backwards));
  named("loop").addEventListener("click", () => loop(!clock.looping));
  named("time").addEventListener("input", (event) => set(Number(event.target.value)));
  document.addEventListener("keydown", (event) => {
    const own = event.target.closest?.("button, select, summary, input:not([type=range])");
    if (event.key !== " " || own) return;
    event.preventDefault();
    if (!event.repeat) toggle();
  });
  window.addEventListener("resize", redraw);
  if (matchMedia("(prefers-reduced-motion: reduce)").matches) pause();
  else play();
  return clock;
}
