// Cards drawn some at a time, search and filters over all of them, and, where `expgen serve` serves the page,
// where features fire in a text that is pasted. Everything a text says goes in as text, never as markup.
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const root = document.getElementById("explorer");
  const served = "served" in document.documentElement.dataset;
  const STEP = 20;
  const SIGNS = ["+", "−"];

  const el = (name, attributes, ...children) => {
    const made = document.createElement(name);
    for (const [key, value] of Object.entries(attributes ?? {})) if (value != null) made.setAttribute(key, value);
    made.append(...children.flat().filter((child) => child != null));
    return made;
  };
  const svg = (name, attributes, ...children) => {
    const made = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    made.append(...children);
    return made;
  };
  const number = (value, digits = 2) => (value == null ? "–" : value.toFixed(digits).replace("-", "−"));
  const short = (value) => (value == null ? "–" : String(Number(value.toPrecision(3))).replace("-", "−"));
  const seen = (text) => text.replace(/\n/g, "↵").replace(/\t/g, "⇥");

  // What is searched: one entry per polarity of a feature.
  const entries = data.cards.flatMap((card, i) =>
    card.sides.map((side, pole) => {
      const raised = pole ? card.suppresses : card.promotes;
      const peaks = side.excerpts.map(([pieces, , at]) => pieces[at]);
      const candidates = side.candidates.map(([text]) => text);
      const labels = side.labels.map(([concept]) => concept);
      const words = [card.name + "+-"[pole], side.text ?? "", ...candidates, ...labels, ...raised, ...peaks];
      const nulls = side.scores[0]?.slice(4, 7).filter((value) => value != null) ?? [];
      return { i, pole, side, words: words.join("\n").toLowerCase(), above: side.score > Math.max(-Infinity, ...nulls) };
    })
  );

  // Controls.
  const bar = el("p", { class: "filter" });
  const words = el("input", { type: "search", placeholder: "search descriptions, labels, tokens", "aria-label": "search" });
  bar.append(words);
  const choice = (key, label, options) => {
    const made = el("select", { "aria-label": label, name: key });
    for (const [value, text] of options) made.add(new Option(text, value));
    if (options.length > 1) bar.append(made);
    return made;
  };
  const several = (name, all) => [["", `every ${name}`], ...[...new Set(all)].map((each) => [each, `${name} ${each}`])];
  const sources = several("source", data.cards.map((card) => card.source));
  const source = choice("source", "source", sources.length > 2 ? sources : sources.slice(0, 1));
  const layer = choice("layer", "layer", several("layer", data.cards.map((card) => card.layer).sort((a, b) => a - b)));
  const pole = choice("polarity", "polarity", [["", "high and low"], ["0", "+ fires high"], ["1", "− fires low"]]);
  const least = choice("score", "score", [
    ["", "any score"], ...(data.scorer ? [["nulls", "above every null"]] : []),
    ...(data.scorer ? [0.2, 0.4, 0.6, 0.8].map((value) => [value, `score ≥ ${value}`]) : []),
  ]);
  const order = choice("sort", "sort", [
    ...(data.scorer ? [["best", "best score first"], ["worst", "worst score first"]] : []),
    ["sharp", "highest peak first"], ["dense", "densest first"], ["number", "by number"],
  ]);
  const told = el("span", { class: "told", role: "status" });
  bar.append(told);

  const SORTS = {
    best: (entry) => -(entry.side.score ?? -Infinity),
    worst: (entry) => entry.side.score ?? Infinity,
    sharp: (entry) => -(entry.side.sigmas ?? -Infinity),
    dense: (entry) => -(entry.side.density ?? 0),
    number: (entry) => data.cards[entry.i].layer * 1e9 + data.cards[entry.i].neuron,
  };

  const fits = (entry, asked) =>
    asked.every((word) => entry.words.includes(word)) &&
    (!source.value || data.cards[entry.i].source === source.value) &&
    (!layer.value || String(data.cards[entry.i].layer) === layer.value) &&
    (!pole.value || String(entry.pole) === pole.value) &&
    (!least.value || (least.value === "nulls" ? entry.above : entry.side.score >= Number(least.value)));

  // One line of text: `values` are activations as they are, `peak` the feature's own, `at` the token that is underlined.
  const line = (pieces, values, peak, at, title) => {
    const shown = pieces.map((piece, i) => {
      const share = Math.max(0, Math.min(1, values[i] / peak));
      const attributes = { class: i === at ? "peak" : null, style: share > 0 ? `--s:${share.toFixed(2)}` : null };
      return el("span", { ...attributes, title: short(values[i]) }, seen(piece));
    });
    return el("li", null, el("b", { title }, short(values[at])), el("span", { class: "text" }, shown));
  };

  const excerpt = (side, [pieces, coded, at, strength, sequence]) => {
    const values = [...coded].map((letter) => (parseInt(letter, 36) / 35) * side.peak);
    values[at] = Math.sign(side.peak) * strength;
    return line(pieces, values, side.peak, at, `sequence ${sequence}`);
  };

  const histogram = ([low, high, counts]) => {
    if (!counts.length) return null;
    const top = Math.log1p(Math.max(...counts));
    const step = (high - low) / counts.length;
    const bars = counts.map((count, i) => {
      const height = (40 * Math.log1p(count)) / top;
      const middle = low + (i + 0.5) * step;
      const bar = svg("rect", { x: 5 * i, y: 40 - height, width: 4, height, class: middle < 0 ? "minus" : "plus" });
      bar.append(svg("title", {}, document.createTextNode(`${count} tokens around ${short(middle)}`)));
      return bar;
    });
    const text = (x, anchor, words) => {
      const made = svg("text", { x, y: 53, "text-anchor": anchor });
      made.textContent = words;
      return made;
    };
    const width = 5 * counts.length;
    return svg("svg", { viewBox: `0 0 ${width} 56`, class: "histogram", role: "img", "aria-label": "histogram of activations" },
      ...bars, text(0, "start", short(low)), text(width, "end", short(high)));
  };

  const chips = (title, list) =>
    list.length ? el("p", { class: "chips" }, `${title} `, list.map((token) => el("code", null, seen(token)))) : null;

  const score = ([scorer, value, low, high, ...rest]) => {
    const nulls = data.nulls.map((name, i) => (rest[i] == null ? null : `${name} ${number(rest[i])}`)).filter(Boolean);
    const span = low == null ? "" : ` [${number(low)}, ${number(high)}]`;
    const line = el("p", { class: "score" }, `${scorer} `, el("strong", null, number(value)), span);
    if (nulls.length) line.append(` · nulls: ${nulls.join(", ")}`);
    return line;
  };

  const others = (candidates) =>
    candidates.length
      ? el("details", null, el("summary", null, `${candidates.length} more candidate${candidates.length > 1 ? "s" : ""}`),
          el("ul", null, candidates.map(([text, measured]) => el("li", null, text, measured ? ` — ${measured}` : ""))))
      : null;

  const half = (card, side, i) => {
    const made = el("section", { class: `side ${i ? "minus" : "plus"}` });
    const facts = side.peak == null ? [] : [`peak ${short(side.peak)}`, side.sigmas == null ? null : `${short(side.sigmas)} σ`,
      `fires at ${short(100 * side.density)} % of tokens`].filter(Boolean);
    made.append(el("h4", null, `${SIGNS[i]} fires ${i ? "low" : "high"} `, el("small", null, facts.join(" · "))));
    if (side.text != null && side.peak != null) made.append(el("p", { class: "words" }, side.text));
    if (side.missing != null) made.append(el("p", { class: "missing" }, side.missing));
    made.append(...side.scores.map(score));
    for (const part of [others(side.candidates), chips("labels", side.labels.map(([concept, auroc]) =>
      auroc == null ? concept : `${concept} (AUROC ${number(auroc)})`)), chips("raises", i ? card.suppresses : card.promotes)]) if (part && side.peak != null) made.append(part);
    made.append(el("ol", { class: "excerpts" }, side.excerpts.map((each) => excerpt(side, each))));
    if (served && side.peak != null) made.append(asker(card.name + "+-"[i], side));
    return made;
  };

  const draw = (card) =>
    el("article", { class: "card", "data-name": card.name },
      el("header", null, el("h3", null, `${card.source} · layer ${card.layer} · ${card.neuron}`), histogram(card.histogram)),
      el("div", { class: "sides" }, card.sides.map((side, i) => (pole.value && pole.value !== String(i) ? null : half(card, side, i)))));

  // The list, a step at a time.
  const list = el("div", { class: "cards" });
  const more = el("button", { type: "button", class: "more" }, "more");
  let waiting = [];
  const grow = () => {
    list.append(...waiting.splice(0, STEP).map((i) => draw(data.cards[i])));
    more.hidden = !waiting.length;
  };
  const apply = () => {
    const asked = words.value.toLowerCase().split(/\s+/).filter(Boolean);
    const rank = SORTS[order.value];
    const found = entries.filter((entry) => fits(entry, asked));
    found.sort((a, b) => rank(a) - rank(b) || a.i - b.i);
    waiting = [...new Set(found.map((entry) => entry.i))];
    const all = data.cards.length;
    const rest = data.total > all ? ` (neurons.sqlite holds all ${data.total.toLocaleString("en")})` : "";
    told.textContent = `${waiting.length.toLocaleString("en")} of ${all.toLocaleString("en")} features${rest}`;
    list.replaceChildren();
    grow();
  };

  // A text that is pasted: the local server knows where features fire in it.
  const text = el("textarea", { rows: 3, placeholder: "paste a text", "aria-label": "text" });
  const ask = async (body) => {
    const reply = await fetch("api/fires", {
      method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) });
    const answer = await reply.json();
    if (!reply.ok) throw new Error(typeof answer.detail === "string" ? answer.detail : "the server refused this text");
    return answer;
  };
  const asking = async (place, body, show) => {
    if (!text.value.trim()) { place.replaceChildren(el("p", { class: "missing" }, "Paste a text above first.")); text.focus(); return; }
    place.replaceChildren(el("p", { class: "missing" }, "…"));
    try { place.replaceChildren(...show(await ask({ text: text.value, ...body }))); }
    catch (error) { place.replaceChildren(el("p", { class: "missing" }, error.message)); }
  };
  const asker = (name, side) => {
    const place = el("div", { class: "asked" });
    const button = el("button", { type: "button" }, "in your text");
    button.onclick = () => asking(place, { feature: name }, ({ tokens, activations }) => {
      const sign = Math.sign(side.peak);
      const at = activations.indexOf(Math.max(...activations));
      const pieces = tokens.map((token) => token.text);
      return [el("ol", { class: "excerpts" }, line(pieces, activations.map((value) => sign * value), side.peak, at))];
    });
    return el("div", null, button, place);
  };
  const strongest = (answer) => [
    el("table", null,
      el("thead", null, el("tr", null, ["feature", "at", "σ", "of its peak", "description"].map((name) => el("th", null, name)))),
      el("tbody", null, answer.features.map((found) => {
        const link = el("a", { href: `#q=${encodeURIComponent(found.name)}` }, el("code", null, found.name));
        const cells = [link, el("code", null, seen(answer.tokens[found.token].text)), number(found.sigmas, 1),
          `${Math.round(100 * found.share)} %`, found.description ?? "–"];
        return el("tr", null, cells.map((cell) => el("td", null, cell)));
      }))),
  ];
  const pasted = () => {
    if (!served) {
      return el("p", { class: "note" }, "Where features fire in a text of yours: start ",
        el("code", null, "expgen serve --report FOLDER-OF-THIS-PAGE --model MODEL"), " and open the address it prints.");
    }
    const place = el("div", { class: "wide asked" });
    const button = el("button", { type: "button" }, "which features fire?");
    button.onclick = () => asking(place, {}, strongest);
    text.value = new URLSearchParams(address.now()).get("text") ?? "";
    if (text.value) button.click();
    return el("div", { class: "pasted" }, text, button, place);
  };

  const fromAddress = () => {
    const given = new URLSearchParams(address.now());
    if (!given.has("q") && !given.has("layer")) return false;
    words.value = given.get("q") ?? "";
    for (const [key, control] of Object.entries({ source, layer, polarity: pole, score: least })) control.value = given.get(key) ?? "";
    return true;
  };
  const follow = () => { if (fromAddress()) { apply(); root.scrollIntoView(); } };

  root.append(pasted(), bar, list, more);
  bar.addEventListener("input", apply);
  more.addEventListener("click", grow);
  address.follow(follow);
  const there = fromAddress();
  apply();
  if (there) root.scrollIntoView();
})();
