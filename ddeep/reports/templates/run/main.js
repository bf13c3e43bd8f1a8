// One view at a time: the overview, a class, or a filter, as the address says.
let scrolled = null; // how far the overview was, before it made room

function showView(parts, scrollTo = null) {
  const overview = $("overview");
  if (!overview.hidden) scrolled = scrollY;
  overview.hidden = all("header")[0].hidden = $("provenance").hidden = true;
  $("view").hidden = false;
  $("view").replaceChildren(...parts.flat(Infinity).filter(Boolean));
  const target = scrollTo && $(scrollTo);
  if (target) { target.scrollIntoView({ behavior: "instant" }); target.querySelector("a, input")?.focus({ preventScroll: true }); }
  else { scrollTo = null; window.scrollTo({ top: 0, behavior: "instant" }); $("view").querySelector("h1").focus({ preventScroll: true }); }
  document.title = `${$("view").querySelector("h1").textContent} – ddeep`;
}

function showOverview() {
  const back = $("overview").hidden;
  $("overview").hidden = all("header")[0].hidden = $("provenance").hidden = false;
  $("view").hidden = true;
  $("view").replaceChildren();
  document.title = title;
  if (!back) return;
  const target = location.hash && $(location.hash.slice(1));
  const returns = !target || target.id === "map" || target.id === "classes"; // whence one has come
  if (returns && scrolled !== null) window.scrollTo({ top: scrolled, behavior: "instant" });
  else target?.scrollIntoView({ behavior: "instant" });
}

const title = document.title;

function follow() {
  all(".meaning:popover-open").forEach((meaning) => meaning.hidePopover());
  const [, kind, number_, , filter] = /^#(class|filter|image)-(\d+)(-filter-(\d+))?$/.exec(location.hash) || [];
  const at = Number(number_);
  if (kind === "class" && page.perClass[at]?.filters.length) return classPage(at, filter === undefined ? null : `class-${at}-filter-${filter}`);
  if (kind === "filter" && portraitOf.has(at)) return filterPage(at);
  showOverview();
  if (kind === "image" && sample && sample.indices.includes(at)) {
    board.open(sample.indices.indexOf(at));
    $("switch").scrollIntoView({ behavior: "instant" });
  }
}

root.classList.add("scripted");
terms();
exporting();
examples();
gallery();
const hasSwitch = Boolean($("switchboard") && sample && Object.keys(heads).length);
if (hasSwitch) switchboard();
if (hasSwitch && page.served) dropping();
if ($("heat-map")) heatMap();
if ($("changes") && page.changes) mistakes();
addEventListener("hashchange", follow);
// For the browser's console: the logits of an image of the sample, and how active a filter is at side × side points of it.
globalThis.ddeep = {
  sample: sample?.indices || [],
  logits: (image, stage = final, off = []) => {
    const filters = new Off();
    off.forEach((j) => filters.set(j, true));
    return [...logitsOf(stage, responsesOf(image, stage), filters)];
  },
  light: (image, j, side = 96) => {
    const values = mapOf(tileAt.get(`${image}:${j}`) ?? -1);
    return values && [...lightOf(values, pictures.grid, side)];
  },
};
// A file dropped beside its place must not replace the page.
for (const kind of ["dragover", "drop"]) addEventListener(kind, (event) => event.preventDefault());
if (location.hash) follow();
