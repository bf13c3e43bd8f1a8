{
  // A comparison's charts: one k and one place at a time, zoomed or whole; and the chosen few over all k.
  const found = (selector, from = document) => [...from.querySelectorAll(selector)];
  const MARKS = [
    "M-4,0A4,4 0 1 0 4,0A4,4 0 1 0 -4,0", "M-3.6,-3.6H3.6V3.6H-3.6Z", "M0,-4.6L4.4,3.6H-4.4Z", "M0,-5L5,0L0,5L-5,0Z",
    "M0,4.6L4.4,-3.6H-4.4Z", "M-1.5,-4.5H1.5V-1.5H4.5V1.5H1.5V4.5H-1.5V1.5H-4.5V-1.5H-1.5Z",
    "M-4,-2L-2,-4L0,-2L2,-4L4,-2L2,0L4,2L2,4L0,2L-2,4L-4,2L-2,0Z",
  ];
  const draw = (parent, name, attributes, text) => {
    const made = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    if (text !== undefined) made.textContent = text;
    parent.append(made);
    return made;
  };
  const pressed = (buttons, one) => buttons.forEach((b) => b.setAttribute("aria-pressed", String(b === one)));

  const charts = () => {
    const views = found(".dots-view");
    if (!views.length) return;
    const place = document.getElementById("place");
    const buttons = found("#ks [data-k]");
    const start = views[0].parentNode.dataset;
    let k = start.k;
    const show = () => {
      const at = place ? place.value : "0";
      const offered = views.filter((view) => view.dataset.place === at);
      buttons.forEach((button) => { button.disabled = !offered.some((view) => view.dataset.k === button.dataset.k); });
      if (!offered.some((view) => view.dataset.k === k)) k = offered[0].dataset.k;
      views.forEach((view) => { view.hidden = view.dataset.place !== at || view.dataset.k !== k; });
      found(".few-view").forEach((view) => { view.hidden = view.dataset.place !== at; if (!view.hidden) few(view); });
      pressed(buttons, buttons.find((button) => button.dataset.k === k));
    };
    buttons.forEach((button) => button.addEventListener("click", () => { k = button.dataset.k; show(); }));
    place?.addEventListener("change", () => { k = place.selectedOptions[0].dataset.k; show(); });
    const whole = document.getElementById("whole");
    whole.addEventListener("change", () => {
      found(".dots").forEach((table) => table.classList.toggle("whole", whole.checked));
    });
    found(".few-view").forEach((view) => {
      view.querySelector("fieldset").addEventListener("change", () => few(view));
    });
    let waiting = 0;
    addEventListener("resize", () => { clearTimeout(waiting); waiting = setTimeout(show, 100); });
    show();
  };

  // Round ticks, at most so many, within two ends.
  const ticks = (low, high, most = 5) => {
    const raw = (high - low) / most;
    const power = 10 ** Math.floor(Math.log10(raw));
    const step = [1, 2, 2.5, 5, 10].map((s) => s * power).find((s) => s >= raw);
    const first = Math.ceil(low / step);
    return Array.from({ length: Math.floor(high / step) - first + 1 }, (_, i) => +((first + i) * step).toFixed(6));
  };

  const few = (view) => {
    const svg = view.querySelector("svg.few");
    const boxes = found("input", view);
    const chosen = boxes.filter((box) => box.checked);
    boxes.forEach((box) => { box.disabled = !box.checked && chosen.length >= MARKS.length; });
    const read = (text) => text.split(" ").filter(Boolean).map((point) => point.split(":").map(Number));
    const ks = svg.dataset.ks.split(" ");
    const full = Number(svg.dataset.full);
    const band = read(svg.dataset.null);
    const lines = chosen.map((box) => read(box.dataset.points));
    const values = [full, ...lines.flat().flatMap((point) => point.slice(1))];
    const [wide, tall] = [svg.clientWidth || 600, 320];
    const [left, right, top, bottom] = [46, wide - 12, 12, tall - 38];
    const room = Math.max(0.05, 0.05 * (Math.max(...values) - Math.min(...values)));
    const [low, high] = [Math.min(...values) - room, Math.min(100, Math.max(...values)) + room];
    const x = (at) => ks.length > 1 ? left + 24 + at * (right - left - 48) / (ks.length - 1) : (left + right) / 2;
    const y = (value) => bottom - (value - low) / (high - low) * (bottom - top);
    svg.replaceChildren();
    svg.setAttribute("viewBox", `0 0 ${wide} ${tall}`);
    const clip = draw(draw(svg, "clipPath", { id: `${svg.id}-clip` }), "rect",
      { x: left, y: top, width: right - left, height: bottom - top });
    for (const tick of ticks(low, high)) {
      draw(svg, "line", { class: "grid", x1: left, x2: right, y1: y(tick), y2: y(tick) });
      draw(svg, "text", { x: left - 6, y: y(tick) + 4, "text-anchor": "end" }, String(tick));
    }
    ks.forEach((k, at) => draw(svg, "text", { x: x(at), y: bottom + 16, "text-anchor": "middle" }, k));
    draw(svg, "text", { x: (left + right) / 2, y: tall - 4, "text-anchor": "middle" }, "k, filters per class");
    const inside = draw(svg, "g", { "clip-path": `url(#${clip.parentNode.id})` });
    const corners = [...band.map(([at, a]) => [at, a]), ...band.map(([at, , b]) => [at, b]).reverse()];
    if (band.length) draw(inside, "polygon", { class: "null", points: corners.map(([at, v]) => `${x(at)},${y(v)}`).join(" ") });
    draw(inside, "line", { class: "whole-network", x1: left, x2: right, y1: y(full), y2: y(full) });
    boxes.forEach((box) => { box.nextElementSibling.setAttribute("class", ""); box.nextElementSibling.replaceChildren(); });
    chosen.forEach((box, number) => {
      const group = draw(inside, "g", { class: `series-${number}` });
      const shift = (number - (chosen.length - 1) / 2) * 5; // intervals beside each other
      const points = lines[number].map(([at, value, a, b]) => [x(at) + shift, y(value), y(a), y(b)]);
      draw(group, "polyline", { class: "line", points: points.map(([px, py]) => `${px},${py}`).join(" ") });
      for (const [px, py, a, b] of points) {
        draw(group, "line", { class: "bar", x1: px, x2: px, y1: a, y2: b });
        draw(group, "path", { d: MARKS[number], transform: `translate(${px},${py})` });
      }
      const swatch = box.nextElementSibling;
      swatch.setAttribute("class", `series-${number}`);
      draw(swatch, "path", { d: MARKS[number], transform: "translate(8,6)" });
    });
    const names = chosen.map((box) => box.value).join(", ");
    svg.setAttribute("aria-label", `Test accuracy in percent against k: ${names || "nothing chosen"}. The table has the numbers.`);
  };

  const onlyK = (chosen) => {
    chosen.addEventListener("change", () => {
      for (const row of found("#results tbody tr")) row.hidden = chosen.value !== "" && row.dataset.k !== chosen.value;
    });
  };

  charts();
  if (document.getElementById("only-k")) onlyK(document.getElementById("only-k"));
}
