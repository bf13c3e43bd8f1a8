// Pictures: every image stands once in one sheet; where a filter is active is drawn here, from its map.
const pictures = page.pictures || null;
const DIM = 0.42, RIM = [255, 176, 0], RIM_AT = 0.5;
const sheet = new Image();
let whenSheet = null;
const tileAt = new Map(); // "image:filter": tile
if (pictures) {
  whenSheet = new Promise((done) => { sheet.onload = done; });
  sheet.src = pictures.sheet;
  pictures.sheet = null;
}
const maps = pictures?.maps ? unpacked(pictures.maps) : null;
const tileImage = pictures ? unpacked(pictures.tiles.image) : [];
const tileResponse = pictures ? unpacked(pictures.tiles.response) : [];
const tileMap = pictures ? unpacked(pictures.tiles.map) : [];
const tileFilter = pictures ? unpacked(pictures.tiles.filter) : [];
for (let t = 0; t < tileImage.length; t++) tileAt.set(`${tileImage[t]}:${tileFilter[t]}`, t);

const mapOf = (tile) => (maps && tile >= 0 && tileMap[tile] >= 0 ? maps.subarray(tileMap[tile] * pictures.maps.shape[1] * pictures.maps.shape[2]) : null);

// How active a filter is at side × side points of the image, from 0 to 1: bilinear between the positions' centres.
function lightOf(values, grid, side) {
  const { down, across } = grid;
  const places = (axis) => Array.from({ length: side }, (_, i) => {
    const at = Math.max(0, Math.min(axis.count - 1, ((i + 0.5) / side - axis.start) / axis.step));
    const low = Math.min(Math.floor(at), Math.max(0, axis.count - 2));
    return [low, Math.min(low + 1, axis.count - 1), at - low];
  });
  const rows = places(down), columns = places(across);
  const light = new Float32Array(side * side);
  let largest = 0;
  for (let i = 0; i < down.count * across.count; i++) largest = Math.max(largest, values[i]);
  if (!largest) return light;
  for (let y = 0; y < side; y++) {
    const [top, bottom, fy] = rows[y];
    for (let x = 0; x < side; x++) {
      const [left, right, fx] = columns[x];
      const upper = values[top * across.count + left] * (1 - fx) + values[top * across.count + right] * fx;
      const lower = values[bottom * across.count + left] * (1 - fx) + values[bottom * across.count + right] * fx;
      light[y * side + x] = (upper * (1 - fy) + lower * fy) / largest;
    }
  }
  return light;
}

// The image lit where the filter is active and dim elsewhere, with a line around the most active region.
function spotlight(context, side, light) {
  const picture = context.getImageData(0, 0, side, side);
  const { data } = picture;
  const inside = (x, y) => x < 0 || y < 0 || x >= side || y >= side || light[y * side + x] >= RIM_AT;
  const rim = Math.max(1, Math.round(side / 96));
  for (let y = 0; y < side; y++) {
    for (let x = 0; x < side; x++) {
      const at = y * side + x;
      const strength = Math.sqrt(light[at]);
      const grey = (data[4 * at] + data[4 * at + 1] + data[4 * at + 2]) / 3;
      const edge = light[at] >= RIM_AT && !(inside(x - rim, y) && inside(x + rim, y) && inside(x, y - rim) && inside(x, y + rim));
      for (let k = 0; k < 3; k++) {
        const colour = (grey + (data[4 * at + k] - grey) * strength) * (DIM + (1 - DIM) * strength);
        data[4 * at + k] = edge ? RIM[k] : colour;
      }
    }
  }
  context.putImageData(picture, 0, 0);
}

const isLit = () => $("lit")?.checked !== false;

// Draw a picture of `source` (the sheet, or an image of its own) into a canvas, lit where `values` say.
function draw(canvas, source, from, size, values, grid) {
  const side = canvas.width;
  const context = canvas.getContext("2d", { willReadFrequently: Boolean(values) });
  context.imageSmoothingQuality = "high";
  context.drawImage(source, from[0], from[1], size, size, 0, 0, side, side);
  if (values && isLit()) spotlight(context, side, lightOf(values, grid, side));
}

const canvasOf = (side, label) => {
  const pixels = Math.round(side * Math.min(2, devicePixelRatio || 1));
  return h("canvas", { width: pixels, height: pixels, class: "picture", style: `--side:${side}px`, role: "img", "aria-label": label });
};

function pictureOf(image, side, label, values = null) {
  const canvas = canvasOf(side, label);
  const from = [(image % pictures.columns) * pictures.side, Math.floor(image / pictures.columns) * pictures.side];
  canvas.redraw = () => draw(canvas, sheet, from, pictures.side, values, pictures.grid);
  whenSheet.then(canvas.redraw);
  return canvas;
}

const describe = (image) => `${pictures.names[image]}, ${classes[pictures.labels[image]]}`;

// A picture with its class and response below.
function tileOf(tile, side = 96) {
  const image = tileImage[tile];
  const j = tileFilter[tile];
  const canvas = pictureOf(image, side, `${describe(image)}, with the activity of filter ${j}`, mapOf(tile));
  canvas.title = describe(image);
  return h("li", { style: `--side:${side}px` }, canvas, h("span", { class: "name" }, classes[pictures.labels[image]]), h("span", { class: "n" }, number(tileResponse[tile])));
}

// Images of a filter; without pictures their numbers.
function tilesOf(shown, side = 96) {
  if (!shown.length) return h("p", { class: "note" }, "None stands on this page.");
  if (pictures) return h("ul", { class: "tiles" }, shown.map((tile) => tileOf(tile, side)));
  return h("p", { class: "note numbers" }, shown.map(([index, response], at) => `${at ? ", " : ""}train:${index} (${number(response)})`));
}

const redrawAll = () => all("canvas.picture").forEach((canvas) => canvas.redraw?.());
