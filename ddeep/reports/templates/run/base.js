// Helpers. Names of classes and files come from strangers: they become text, never markup.
const $ = (id) => document.getElementById(id);
const all = (selector, from = document) => [...from.querySelectorAll(selector)];
const root = document.documentElement;
const SVG = "http://www.w3.org/2000/svg";

function fill(element, properties, children) {
  for (const [name, value] of Object.entries(properties)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}
const h = (tag, properties = {}, ...children) => fill(document.createElement(tag), properties, children);
const svg = (tag, properties = {}, ...children) => fill(document.createElementNS(SVG, tag), properties, children);

// A number for readers: a real minus sign, no minus zero.
function number(value, digits = 2, plus = false) {
  if (value === null || value === undefined || Number.isNaN(value)) return "";
  let text = value.toFixed(digits);
  if (Number(text) === 0) text = text.replace("-", "");
  else if (plus && value > 0) text = `+${text}`;
  return text.replace("-", "−");
}
const percent = (value, digits = 1) => (value === null || value === undefined ? "–" : `${number(value, digits)} %`);
const many = (count, one, more) => `${count.toLocaleString("en")} ${count === 1 ? one : more}`;

// Some browsers refuse storage to files.
function remember(key, value) {
  try { localStorage.setItem(key, value); } catch { /* not remembered */ }
}
function remembered(key) {
  try { return localStorage.getItem(key); } catch { return null; }
}

// A term with its meaning a click away.
const term = (key, text) => h("button", { type: "button", class: "term", popovertarget: `term-${key}` }, text);

// The sum of numbers to the last bit, whatever their order (Shewchuk 1997).
function exactSum(values) {
  const parts = [];
  for (let x of values) {
    let kept = 0;
    for (let y of parts) {
      if (Math.abs(x) < Math.abs(y)) [x, y] = [y, x];
      const high = x + y;
      const low = y - (high - x);
      if (low !== 0) parts[kept++] = low;
      x = high;
    }
    parts.length = kept;
    parts.push(x);
  }
  return parts.reduceRight((sum, part) => sum + part, 0);
}

// Values and their total, rounded so that the rounded values add up to the rounded total.
function addingUp(values, total, digits) {
  const unit = 10 ** digits;
  const floors = values.map((value) => Math.floor(value * unit));
  const missing = Math.round(total * unit) - floors.reduce((sum, value) => sum + value, 0);
  const order = values.map((_, i) => i).sort((a, b) => floors[a] - values[a] * unit - (floors[b] - values[b] * unit));
  for (const i of order.slice(0, Math.max(0, missing))) floors[i] += 1;
  return [floors.map((count) => count / unit), Math.round(total * unit) / unit];
}

// Meanings open beside their terms.
function terms() {
  document.addEventListener("click", (event) => {
    const button = event.target.closest?.("[popovertarget]");
    const meaning = button && $(button.getAttribute("popovertarget"));
    if (!meaning) return;
    const at = button.getBoundingClientRect();
    const width = Math.min(340, innerWidth - 24);
    meaning.style.width = `${width}px`;
    meaning.style.left = `${Math.max(12, Math.min(at.left, innerWidth - width - 12))}px`;
    if (at.bottom > innerHeight - 170) {
      meaning.style.top = "auto";
      meaning.style.bottom = `${innerHeight - at.top + 6}px`;
    } else {
      meaning.style.bottom = "auto";
      meaning.style.top = `${at.bottom + 6}px`;
    }
  });
}
