// The flat picture of all pages: a canvas that shows a box of the plane, its axes, a heat map.

const canvas = named("flat");
const pen = canvas.getContext("2d");

// The part of the canvas that shows the box, in CSS pixels; across and down place a point there.
let box = data.box; // x0, x1, y0, y1
const area = { left: 0, top: 0, width: 0, height: 0 };
const across = (x) => area.left + ((x - box[0]) / (box[1] - box[0])) * area.width;
const down = (y) => area.top + ((box[3] - y) / (box[3] - box[2])) * area.height;

/** The place of the plane that is drawn at these pixels of the canvas. */
function placeAt(pixelX, pixelY) {
  return [
    box[0] + ((pixelX - area.left) / area.width) * (box[1] - box[0]),
    box[3] - ((pixelY - area.top) / area.height) * (box[3] - box[2]),
  ];
}

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
  const widths = ticks(box[2], box[3]).map((y) => pen.measureText(label(y)).width);
  return Math.max(40, 12 + Math.ceil(Math.max(...widths)));
}

/** Give a canvas the screen's own resolution; returns device pixels for each CSS pixel. */
function sharpen(sheet) {
  const ratio = window.devicePixelRatio || 1;
  const pixels = [sheet.clientWidth, sheet.clientHeight].map((side) => Math.round(side * ratio));
  if (sheet.width !== pixels[0] || sheet.height !== pixels[1]) {
    [sheet.width, sheet.height] = pixels;
  }
  return ratio;
}

/** An empty canvas. */
function clear() {
  const ratio = sharpen(canvas);
  const { clientWidth: width, clientHeight: height } = canvas;
  pen.setTransform(ratio, 0, 0, ratio, 0, 0);
  pen.clearRect(0, 0, width, height);
  const left = roomForNumbers();
  Object.assign(area, { left, top: 22, width: width - left - 16, height: height - 56 });
  pen.fillStyle = css(colours.paper);
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

function drawAxes(horizontal, vertical, times = ticks(box[0], box[1])) {
  const { left, top, width, height } = area;
  pen.strokeStyle = css(colours.frame);
  pen.fillStyle = css(colours.quiet);
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
  for (const y of ticks(box[2], box[3])) {
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
  const [red, green, blue] = colour.map(Math.round);
  // One number a cell: browsers' machines have the first byte, red, in its lowest place.
  const pixels = new Uint32Array(image.data.buffer);
  const hue = red | (green << 8) | (blue << 16);
  for (let row = 0; row < cells; row++) {
    const start = (cells - 1 - row) * cells; // rows of an image go down, those of values up
    for (let column = 0; column < cells; column++) {
      const part = Math.min(1, values[row * cells + column] / full);
      pixels[start + column] = hue | (Math.round(255 * alpha * part) << 24);
    }
  }
  sheet.getContext("2d").putImageData(image, 0, 0);
  pen.imageSmoothingQuality = "high";
  pen.drawImage(sheet, area.left, area.top, area.width, area.height);
}
