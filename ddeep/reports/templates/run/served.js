// Where `ddeep serve` shows the page: an image dropped on the switch is looked at by the run's own network.
const LARGEST = 32 * 2 ** 20;

async function look(file) {
  if (file.size > LARGEST) throw new Error("Images of at most 32 MiB can be looked at.");
  const answer = await fetch("look", { method: "POST", body: file, headers: { "Content-Type": "application/octet-stream" } });
  const found = await answer.json();
  if (!answer.ok) throw new Error(found.error);
  const picture = new Image();
  picture.src = found.picture;
  await picture.decode();
  const grid = found.grid;
  const maps = found.maps && unpacked(found.maps);
  const cells = maps ? found.maps.shape[1] * found.maps.shape[2] : 0;
  const places = new Map(found.filters.map((j, at) => [j, at]));
  const responses = Object.fromEntries(Object.entries(found.responses).map(([name, packed]) => [name, unpacked(packed)]));
  return { name: file.name, picture, grid, ...responses, mapOf: (j) => (maps && places.has(j) ? maps.subarray(places.get(j) * cells, (places.get(j) + 1) * cells) : null) };
}

function dropping() {
  const says = h("span", { role: "status", id: "drop-says" });
  const input = h("input", { type: "file", accept: "image/*", id: "file" });
  const zone = h("div", { class: "drop", id: "drop" }, h("label", { for: "file" }, "Drop an image here, or choose one: "), input, " ", says);
  const take = async (file) => {
    if (!file) return;
    says.textContent = "The network looks at it …";
    try {
      board.open(await look(file));
      says.textContent = "";
    } catch (error) {
      says.textContent = error.message;
    }
  };
  input.addEventListener("change", () => take(input.files[0]));
  const area = $("switch");
  area.addEventListener("dragover", (event) => { event.preventDefault(); zone.classList.add("over"); });
  area.addEventListener("dragleave", () => zone.classList.remove("over"));
  area.addEventListener("drop", (event) => {
    event.preventDefault();
    zone.classList.remove("over");
    take(event.dataTransfer.files[0]);
  });
  $("switchboard").before(zone);
}
