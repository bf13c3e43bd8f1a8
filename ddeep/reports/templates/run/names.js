// Names that the reader gives to filters: kept in this browser, exported as JSON, shown wherever a filter is.
const NAMES = `ddeep-names:${page.key}`;
const LONGEST = 80;
const given = new Map(Object.entries(page.names).map(([j, name]) => [Number(j), name]));
try {
  for (const [j, name] of Object.entries(JSON.parse(remembered(NAMES) || "{}"))) {
    if (typeof name === "string") given.set(Number(j), name);
  }
} catch { /* what was kept is not ours */ }

const nameOf = (j) => given.get(j) || "";
const labelOf = (j) => (nameOf(j) ? `${j} ${nameOf(j)}` : String(j));

function giveName(j, name) {
  given.set(j, name.slice(0, LONGEST));
  remember(NAMES, JSON.stringify(Object.fromEntries(given)));
  for (const element of all(`[data-named="${j}"]`)) element.textContent = nameOf(j);
  for (const input of all(`[data-naming="${j}"]`)) if (input !== document.activeElement) input.value = nameOf(j);
  $("export").hidden = ![...given.values()].some(Boolean);
}

// A filter's number, and its name where it has one; it leads to the filter's page, if that is there.
function filterLink(j, word = "") {
  const parts = [word && `${word} `, h("span", { class: "number" }, String(j)), h("span", { class: "given", "data-named": j }, nameOf(j))];
  return page.map && portraitOf.has(j) ? h("a", { class: "filter-link", href: `#filter-${j}` }, parts) : h("span", { class: "filter-link" }, parts);
}
const classLink = (c) => (page.perClass[c].filters.length ? h("a", { href: `#class-${c}` }, classes[c]) : h("span", {}, classes[c]));

function naming(j) {
  const input = h("input", {
    type: "text", class: "naming", maxlength: LONGEST, "data-naming": j, placeholder: "give it a name",
    "aria-label": `Name of filter ${j}`, autocomplete: "off", spellcheck: "false",
  });
  input.value = nameOf(j);
  input.addEventListener("input", () => giveName(j, input.value.trim()));
  return input;
}

function exporting() {
  const button = h("button", { type: "button", id: "export", hidden: true }, "Export names");
  button.addEventListener("click", () => {
    const names = Object.fromEntries([...given].filter(([, name]) => name).map(([j, name]) => [String(j), name]));
    const text = JSON.stringify({ schema: "ddeep.names/1", of: page.key, layer: page.layer, names }, null, 2);
    const link = h("a", { href: `data:application/json;charset=utf-8,${encodeURIComponent(text)}`, download: "filter-names.json" });
    document.body.append(link);
    link.click();
    link.remove();
  });
  $("theme").before(button);
  button.hidden = ![...given.values()].some(Boolean);
}
