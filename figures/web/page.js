// What all pages share: the data, colours, the canvas and its axes, heat maps, and the clock.
"use strict";

const data = JSON.parse(document.getElementById("data").textContent);
const canvas = document.querySelector("canvas");
const pen = canvas.getContext("2d");
const named = (id) => document.getElementById(id);

/** A colour of page.css, as red, green and blue from 0 to 255. */
function colourNamed(name) {
  const hex = getComputedStyle(document.documentElement).getPropertyValue(`--${name}`);
  return hex.match(/[0-9a-f]{2}/gi).map((digits) => parseInt(digits, 16));
}

const [SOURCE, MIDWAY, GENERATED] = ["source", "midway", "generated"].map(colourNamed);
const PATHS = "#333333";

const between = (a, b, part) => a.map((value, i) => value + part * (b[i] - value));
const css = (colour, alpha = 1) => `rgba(${colour.map(Math.round).join(",")},${alpha})`;

/** The colour of time t: from that of the source to that of what is generated, past no grey. */
function colourAt(t) {
  return t < 0.5 ? between(SOURCE, MIDWAY, 2 * t) : between(MIDWAY, GENERATED, 2 * t - 1);
}

const decode = (base64) => Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));

// The part of the canvas that shows data.box, in CSS pixels; across and down place a point there.
const area = { left: 0, top: 0, width: 0, height: 0 };
const across = (x) => area.left + ((x - data.box[0]) / (data.box[1] - data.box[0])) * area.width;
const down = (y) => area.top + ((data.box[3] - y) / (data.box[3] - data.box[2])) * area.height;

function inArea(draw) {
  pen.save();
  pen.beginPath();
  pen.rect(area.left, area.top, area.width, area.height);
  pen.clip();
  draw();
  pen.restore();
}

const TICK_FONT = "12px system-ui, sans-serif";
const label = (value) => String(value).replace("-", "−");

/** Pixels to the left of the area: as many as the numbers beside it need. */
function roomForNumbers() {
  pen.font = TICK_FONT;
  const widths = ticks(data.box[2], data.box[3]).map((y) => pen.measureText(label(y)).width);
  return Math.max(40, 12 + Math.ceil(Math.max(...widths)));
}

/** An empty canvas at the screen's own resolution. */
function clear() {
  const { clientWidth: width, clientHeight: height } = canvas;
  const ratio = window.devicePixelRatio || 1;
  const pixels = [Math.round(width * ratio), Math.round(height * ratio)];
  if (canvas.width !== pixels[0] || canvas.height !== pixels[1]) {
    [canvas.width, canvas.height] = pixels;
  }
  pen.setTransform(ratio, 0, 0, ratio, 0, 0);
  pen.clearRect(0, 0, width, height);
  const left = roomForNumbers();
  Object.assign(area, { left, top: 22, width: width - left - 16, height: height - 56 });
  pen.fillStyle = "#fff";
  pen.fillRect(area.left, area.top, area.width, area.height);
}

/** Round numbers within [low, high], seven of them or fewer. */
function ticks(low, high) {
  const rough = (high - low) / 7;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = power * [1, 2, 5, 10].find((factor) => factor * power >= rough);
  const first = Math.ceil(low / step);
  const count = Math.floor(high / step) - first + 1;
  return Array.from({ length: count }, (_, i) => Number(((first + i) * step).toPrecision(6)));
}

function drawAxes(horizontal, vertical, times = ticks(data.box[0], data.box[1])) {
  const { left, top, width, height } = area;
  pen.strokeStyle = "#666";
  pen.fillStyle = "#444";
  pen.lineWidth = 1;
  pen.strokeRect(left, top, width, height);
  pen.font = TICK_FONT;
  pen.textAlign = "center";
  pen.textBaseline = "top";
  pen.beginPath();
  for (const x of times) {
    pen.moveTo(across(x), top + height);
    pen.lineTo(across(x), top + height + 4);
    pen.fillText(label(x), across(x), top + height + 7);
  }
  pen.textAlign = "right";
  pen.textBaseline = "middle";
  for (const y of ticks(data.box[2], data.box[3])) {
    pen.moveTo(left, down(y));
    pen.lineTo(left - 4, down(y));
    pen.fillText(label(y), left - 7, down(y));
  }
  pen.stroke();
  pen.font = "italic 15px Georgia, 'Times New Roman', serif";
  pen.textBaseline = "alphabetic";
  pen.fillText(horizontal, left + width, top + height + 32, width); // no wider than the area
  pen.textAlign = "left";
  pen.fillText(vertical, left - 1, top - 8, width);
}

const sheet = document.createElement("canvas");

/** Values (C, C), rows along y, as a colour: that of alpha where they are full, or more. */
function drawHeatMap(values, full, colour, alpha) {
  const cells = values.length ** 0.5;
  [sheet.width, sheet.height] = [cells, cells];
  const image = new ImageData(cells, cells);
  for (let row = 0; row < cells; row++) {
    for (let column = 0; column < cells; column++) {
      const part = Math.min(1, values[row * cells + column] / full);
      // Rows of an image go down, those of values up.
      image.data.set([...colour, 255 * alpha * part], 4 * ((cells - 1 - row) * cells + column));
    }
  }
  sheet.getContext("2d").putImageData(image, 0, 0);
  pen.imageSmoothingQuality = "high";
  pen.drawImage(sheet, area.left, area.top, area.width, area.height);
}

const gradient = (colour, alpha) => `linear-gradient(90deg, #fff, ${css(colour, alpha)})`;

/**
 * The clock of a page: the play button, the time slider and the space bar.
 *
 * Time runs from 0 to 1 in so many seconds and then again, with a rest at either end. Every
 * change calls draw, at most once for every picture the screen shows.
 */
function makeClock(seconds, draw) {
  const RESTS = { start: 0.7, end: 1.5 };
  const icons = { play: "M4 2v12l10-6z", pause: "M3 2h3.5v12H3zM9.5 2H13v12H9.5z" };
  const clock = { t: 0, playing: false, play, pause, redraw };
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
    if (clock.t >= 1) {
      clock.t = 0;
      rest = RESTS.start;
    } else {
      clock.t = Math.min(1, clock.t + elapsed / seconds);
      if (clock.t === 1) rest = RESTS.end;
    }
  }

  function play() {
    if (clock.t >= 1) clock.t = 0;
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

  const toggle = () => (clock.playing ? pause() : play());
  named("play").addEventListener("click", toggle);
  named("time").addEventListener("input", (event) => {
    clock.t = Number(event.target.value);
    pause();
  });
  document.addEventListener("keydown", (event) => {
    const own = event.target.closest?.("button, input[type=checkbox]");
    if (event.key !== " " || own) return;
    event.preventDefault();
    if (!event.repeat) toggle();
  });
  window.addEventListener("resize", redraw);
  if (matchMedia("(prefers-reduced-motion: reduce)").matches) pause();
  else play();
  return clock;
}
