// The density as a surface, which a hand turns: WebGL, or nothing where a browser has none.

const HEIGHT = 0.9; // of the peak; the ground goes from −1 to 1
const VERTEX = `#version 300 es
precision highp float;
uniform sampler2D heights; // of the cells, 1 at the peak
uniform int cells;         // along a side
uniform vec2 turned;       // around the vertical axis, and towards the reader
uniform bool isSpot;       // a point on the ground, and not a corner of the surface
uniform float spotSize;    // in pixels
in vec2 spot;              // 0 to 1 along both sides
out vec3 normal;
out float level;

float heightAt(ivec2 cell) {
  return texelFetch(heights, clamp(cell, ivec2(0), ivec2(cells - 1)), 0).r;
}

void main() {
  ivec2 cell = ivec2(gl_VertexID % cells, gl_VertexID / cells);
  vec2 ground = 2.0 * (isSpot ? spot : (vec2(cell) + 0.5) / float(cells)) - 1.0;
  level = isSpot ? 0.0 : heightAt(cell);
  vec2 rise = vec2(heightAt(cell + ivec2(1, 0)) - heightAt(cell - ivec2(1, 0)),
                   heightAt(cell + ivec2(0, 1)) - heightAt(cell - ivec2(0, 1)));
  normal = normalize(vec3(-${HEIGHT} * rise * float(cells) / 4.0, 1.0));
  float c = cos(turned.x), s = sin(turned.x);
  vec3 around = vec3(mat2(c, s, -s, c) * ground, ${HEIGHT} * level - 0.25);
  c = cos(turned.y);
  s = sin(turned.y);
  float nearness = c * around.z - s * around.y;
  float depth = 4.2 - nearness;
  vec2 seen = 2.55 * vec2(around.x, c * around.y + s * around.z);
  gl_Position = vec4(seen, -nearness / 8.0 * depth, depth);
  gl_PointSize = spotSize;
}`;

const FRAGMENT = `#version 300 es
precision highp float;
uniform vec3 paper;
uniform vec3 colour;
uniform bool isSpot;
in vec3 normal;
in float level;
out vec4 shown;
void main() {
  if (isSpot) {
    if (length(gl_PointCoord - 0.5) > 0.5) discard;
    shown = vec4(colour, 1.0);
    return;
  }
  float light = 0.6 + 0.4 * max(0.0, dot(normalize(normal), normalize(vec3(-0.5, -0.4, 0.8))));
  vec3 hue = mix(mix(paper, colour, 0.12), colour, sqrt(clamp(level, 0.0, 1.0)));
  // Lines of the same height, an eighth apart, as on a map.
  float line = abs(fract(8.0 * level - 0.5) - 0.5) / max(fwidth(8.0 * level), 1e-5);
  float drawn = level > 0.03 ? 0.3 * (1.0 - clamp(line, 0.0, 1.0)) : 0.0;
  shown = vec4(mix(hue * light, vec3(0.0), drawn), 1.0);
}`;

/** What draws the surface on a canvas; null where there is no WebGL 2. */
function makeSurface(sheet) {
  const gl = sheet.getContext("webgl2", { antialias: true });
  if (!gl) return null;
  const program = compiled(gl);
  const uniform = (name) => gl.getUniformLocation(program, name);
  let meshed = 0; // cells a side that there are triangles for
  gl.useProgram(program);
  gl.bindTexture(gl.TEXTURE_2D, gl.createTexture());
  gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_MIN_FILTER, gl.NEAREST);
  gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_MAG_FILTER, gl.NEAREST);
  gl.bindBuffer(gl.ELEMENT_ARRAY_BUFFER, gl.createBuffer());
  gl.bindBuffer(gl.ARRAY_BUFFER, gl.createBuffer());
  const spot = gl.getAttribLocation(program, "spot");
  gl.vertexAttribPointer(spot, 2, gl.FLOAT, false, 0, 0);

  /** Two triangles between every four neighbouring middles of cells. */
  function mesh(cells) {
    const corners = new Uint32Array(6 * (cells - 1) ** 2);
    for (let row = 0, at = 0; row < cells - 1; row++) {
      for (let column = 0; column < cells - 1; column++, at += 6) {
        const corner = row * cells + column;
        const above = corner + cells;
        corners.set([corner, corner + 1, above, above, corner + 1, above + 1], at);
      }
    }
    gl.bufferData(gl.ELEMENT_ARRAY_BUFFER, corners, gl.STATIC_DRAW);
    meshed = cells;
  }

  function drawHills({ cells, values, peak }, colour) {
    if (meshed !== cells) mesh(cells);
    const heights = Float32Array.from(values, (value) => value / peak);
    gl.texImage2D(gl.TEXTURE_2D, 0, gl.R32F, cells, cells, 0, gl.RED, gl.FLOAT, heights);
    gl.uniform1i(uniform("cells"), cells);
    gl.uniform1i(uniform("isSpot"), 0);
    gl.uniform3fv(uniform("colour"), colour.map((part) => part / 255));
    gl.disableVertexAttribArray(spot);
    gl.enable(gl.DEPTH_TEST);
    gl.drawElements(gl.TRIANGLES, 6 * (cells - 1) ** 2, gl.UNSIGNED_INT, 0);
  }

  /** Points of the target on the ground, seen through the hills that they make. */
  function drawSpots(points, ratio) {
    const side = box[1] - box[0];
    const ground = points.flatMap(([x, y]) => [(x - box[0]) / side, (y - box[2]) / side]);
    gl.uniform1i(uniform("isSpot"), 1);
    gl.uniform1f(uniform("spotSize"), ratio * max(3, 10 - log(points.length)));
    gl.uniform3fv(uniform("colour"), colours.generated.map((part) => part / 255));
    gl.bufferData(gl.ARRAY_BUFFER, Float32Array.from(ground), gl.DYNAMIC_DRAW);
    gl.enableVertexAttribArray(spot);
    gl.disable(gl.DEPTH_TEST);
    gl.drawArrays(gl.POINTS, 0, points.length);
  }

  /** Draw a grid of the density in this colour, and points of the target in theirs. */
  return function drawSurface(grid, points, colour, turned) {
    const ratio = sharpen(sheet);
    gl.viewport(0, 0, sheet.width, sheet.height);
    gl.clear(gl.COLOR_BUFFER_BIT | gl.DEPTH_BUFFER_BIT);
    gl.uniform2f(uniform("turned"), ...turned);
    gl.uniform3fv(uniform("paper"), colours.paper.map((part) => part / 255));
    drawHills(grid, colour);
    drawSpots(points, ratio);
  };
}

/** The two shaders as a program. */
function compiled(gl) {
  const program = gl.createProgram();
  for (const [kind, text] of [[gl.VERTEX_SHADER, VERTEX], [gl.FRAGMENT_SHADER, FRAGMENT]]) {
    const shader = gl.createShader(kind);
    gl.shaderSource(shader, text);
    gl.compileShader(shader);
    gl.attachShader(program, shader);
  }
  gl.linkProgram(program);
  if (!gl.getProgramParameter(program, gl.LINK_STATUS)) {
    throw new Error(gl.getProgramInfoLog(program));
  }
  return program;
}
