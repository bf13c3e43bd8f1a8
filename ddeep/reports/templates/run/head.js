// The heads: logits of responses with filters switched off. Products of two float32 numbers are exact here.
const sample = page.switch || null;
const size = sample ? sample.indices.length : 0;
const heads = {};
for (const [stage, packed] of Object.entries(sample?.heads || {})) {
  const bias = unpacked(packed.bias), weights = unpacked(packed.weights);
  const dense = !packed.filters; // it sees all filters
  const filters = dense ? weights.map((_, at) => at % page.filters) : unpacked(packed.filters);
  const starts = new Uint32Array(bias.length + 1);
  for (let c = 0; c < bias.length; c++) starts[c + 1] = starts[c] + (dense ? page.filters : unpacked(packed.counts)[c]);
  heads[stage] = { starts, filters, weights, bias };
}
const stageResponses = (stage) => (stage === "finetuned" ? "tuned" : "base");

// Responses of an image of the sample, or of one that was dropped on the page ({base, tuned}).
function responsesOf(image, stage) {
  if (typeof image !== "number") return image[stageResponses(stage)];
  const kept = unpacked(sample.responses[stageResponses(stage)]);
  return kept.subarray(image * page.filters, (image + 1) * page.filters);
}

// Filters that are off: for all classes, and for some of them.
class Off {
  constructor() { this.all = new Set(); this.some = new Map(); }
  has(c, j) { return this.all.has(j) || Boolean(this.some.get(c)?.has(j)); }
  set(j, off, c = null) {
    if (c === null) {
      if (off) this.all.add(j); else { this.all.delete(j); for (const own of this.some.values()) own.delete(j); }
    } else {
      if (!this.some.has(c)) this.some.set(c, new Set());
      if (off) this.some.get(c).add(j); else this.some.get(c).delete(j);
    }
  }
  // [filter, class or null for all], those for all classes first.
  list() {
    const own = [...this.some].flatMap(([c, filters]) => [...filters].filter((j) => !this.all.has(j)).map((j) => [j, c]));
    return [...[...this.all].sort((a, b) => a - b).map((j) => [j, null]), ...own];
  }
  clear() { this.all.clear(); this.some.clear(); }
  get none() { return !this.list().length; }
}

function logitsOf(stage, responses, off) {
  const { starts, filters, weights, bias } = heads[stage];
  const logits = new Float64Array(bias.length);
  const touched = off && !off.none;
  for (let c = 0; c < bias.length; c++) {
    let sum = bias[c];
    for (let at = starts[c]; at < starts[c + 1]; at++) {
      const j = filters[at];
      if (!touched || !off.has(c, j)) sum += weights[at] * responses[j];
    }
    logits[c] = sum;
  }
  return logits;
}

// The parts of one logit, the largest first; they and the bias add up to it exactly.
function partsOf(stage, responses, c, off) {
  const { starts, filters, weights, bias } = heads[stage];
  const terms = [];
  for (let at = starts[c]; at < starts[c + 1]; at++) {
    const j = filters[at];
    terms.push({ filter: j, weight: weights[at], response: responses[j], value: weights[at] * responses[j], off: off.has(c, j) });
  }
  terms.sort((a, b) => b.value - a.value || a.filter - b.filter);
  return { bias: bias[c], terms, logit: exactSum([bias[c], ...terms.filter((one) => !one.off).map((one) => one.value)]) };
}

const best = (logits) => logits.reduce((at, value, c) => (value > logits[at] ? c : at), 0);
function probabilitiesOf(logits) {
  const most = Math.max(...logits);
  const powers = logits.map((value) => Math.exp(value - most));
  const sum = powers.reduce((total, value) => total + value, 0);
  return powers.map((value) => value / sum);
}
const ranked = (logits) => [...logits.keys()].sort((a, b) => logits[b] - logits[a] || a - b);

// The class that each image of the sample is called.
const callAll = (stage, off) => Array.from({ length: size }, (_, image) => best(logitsOf(stage, responsesOf(image, stage), off)));

function judged(told) {
  const weights = unpacked(sample.weights);
  let right = 0, estimate = 0;
  told.forEach((c, image) => { if (c === sample.labels[image]) { right += 1; estimate += weights[image]; } });
  return { right, estimate: (100 * estimate) / sample.images };
}
