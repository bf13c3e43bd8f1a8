// The run's document, its packed tables read as they are.
const page = JSON.parse($("data").textContent);
const KINDS = {
  u1: Uint8Array, i1: Int8Array, u2: Uint16Array, i2: Int16Array, u4: Uint32Array, i4: Int32Array, f4: Float32Array,
};

function bytesOf(text) {
  const raw = atob(text);
  const bytes = new Uint8Array(raw.length);
  for (let i = 0; i < raw.length; i++) bytes[i] = raw.charCodeAt(i);
  return bytes;
}

// The numbers of a packed table; it keeps them, and forgets their text.
function unpacked(table) {
  if (!table.numbers) {
    const bytes = bytesOf(table.bytes);
    table.numbers = new KINDS[table.kind](bytes.buffer);
    table.bytes = null;
  }
  return table.numbers;
}

const classes = page.classes;
const last = page.stages.length - 1;
const final = page.stages[last];
const chosen = page.perClass.map((row, c) => (row.filters.length ? c : -1)).filter((c) => c >= 0);
const users = new Map(); // filter: the classes that have selected it
for (const c of chosen) {
  for (const j of page.perClass[c].filters) {
    if (!users.has(j)) users.set(j, []);
    users.get(j).push(c);
  }
}
const portraitOf = new Map((page.portraits || []).map((portrait) => [portrait.filter, portrait]));
const columnOf = new Map((page.map?.columns || []).map((j, at) => [j, at]));
const hasTable = (name) => Boolean(page.map?.tables[name]);

// An entry of a table of classes by filters; NaN where there is none.
function entry(name, c, j) {
  const table = page.map?.tables[name];
  const at = columnOf.get(j);
  if (!table || at === undefined || page.perClass[c].images === 0) return NaN;
  return unpacked(table)[c * page.map.columns.length + at] * table.step;
}

// The change of a class's accuracy without a filter, in percent points.
const silenced = (c, j) => (100 * entry("knockout", c, j)) / page.perClass[c].images;
const share = (c, j) => (100 * entry("contribution", c, j)) / unpacked(page.map.tables.magnitude)[c];
