// Small charts, made of elements that read as text where they are not seen.

// Rows of a label, a bar (to the right of the middle where any value is negative) and a value.
function bars(rows, { digits = 1, unit = "", most = null, plus = false } = {}) {
  const largest = most ?? Math.max(1e-12, ...rows.map((row) => Math.abs(row.value)));
  const signed = rows.some((row) => row.value < 0);
  return h("ul", { class: signed ? "bars signed" : "bars" }, rows.map((row) => {
    const width = (100 * Math.min(1, Math.abs(row.value) / largest)) / (signed ? 2 : 1);
    const from = signed ? (row.value < 0 ? 50 - width : 50) : 0;
    const kind = row.kind || (row.value < 0 ? "less" : "more");
    return h("li", { class: row.own ? "own" : null },
      h("span", { class: "label" }, row.label),
      h("i", { "aria-hidden": "true" }, h("b", { class: kind, style: `left:${from.toFixed(2)}%;width:${width.toFixed(2)}%` })),
      h("span", { class: "n" }, row.text ?? `${number(row.value, digits, plus)}${unit}`));
  }));
}

// How often each response occurs: this class's images, and all others, each to its own highest.
function densities(own, rest, low, high, name) {
  const width = 240, height = 64, step = width / own.length;
  const line = (values) => {
    const points = [...values].map((value, i) => `${((i + 0.5) * step).toFixed(1)},${(height - (value / 255) * (height - 4)).toFixed(1)}`);
    return `M0,${height} L${points.join(" L")} L${width},${height} Z`;
  };
  return h("figure", { class: "density" },
    svg("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": `Responses to ${name} and to all other classes` },
      svg("path", { d: line(rest), class: "rest" }), svg("path", { d: line(own), class: "own" }),
      svg("line", { x1: 0, x2: width, y1: height, y2: height, class: "base" })),
    h("div", { class: "ends" }, h("span", {}, number(low)), h("span", { class: "legend" }, h("i", { class: "own" }), name, h("i", { class: "rest" }), "all others"), h("span", {}, number(high))));
}
