// What all pages share: the data, elements by their names, and the colours of the style.
"use strict";

const data = JSON.parse(document.getElementById("data").textContent);
const named = (id) => document.getElementById(id);

/** A colour of page.css, as red, green and blue from 0 to 255. */
function colourNamed(name) {
  const hex = getComputedStyle(document.documentElement).getPropertyValue(`--${name}`);
  return hex.match(/[0-9a-f]{2}/gi).slice(0, 3).map((digits) => parseInt(digits, 16));
}

const NAMES = ["ink", "quiet", "grey", "paper", "frame", "source", "midway",
  "generated", "chosen", "euler"];
const colours = {};

/** Take the colours from the style again: those of a dark page are others. */
function readColours() {
  for (const name of NAMES) colours[name] = colourNamed(name);
}

readColours();
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
  readColours();
  window.dispatchEvent(new Event("resize")); // all is drawn again
});

const between = (a, b, part) => a.map((value, i) => value + part * (b[i] - value));
const css = (colour, alpha = 1) => `rgba(${colour.map(Math.round).join(",")},${alpha})`;
const gradient = (colour, alpha) =>
  `linear-gradient(90deg, ${css(colours.paper)}, ${css(colour, alpha)})`;

/** The colour of time t: from that of the source to that of what is generated, past no grey. */
function colourAt(t) {
  const { source, midway, generated } = colours;
  return t < 0.5 ? between(source, midway, 2 * t) : between(midway, generated, 2 * t - 1);
}
