// Filters for the traces, made here so that a page without scripts shows no dead controls.
(() => {
  const cards = [...document.querySelectorAll(".trace")];
  if (cards.length < 2) return;
  const bar = document.createElement("p");
  bar.className = "filter";
  const names = { arm: "every arm", outcome: "right and wrong", kinds: "every kind of step", blame: "whatever failed" };
  const choices = {};
  for (const [key, label] of Object.entries(names)) {
    const values = new Set(cards.flatMap((card) => card.dataset[key].split("|")).filter(Boolean));
    if (values.size < 2) continue;
    const select = document.createElement("select");
    select.setAttribute("aria-label", label);
    select.add(new Option(label, ""));
    [...values].sort().forEach((value) => select.add(new Option(value, value)));
    choices[key] = select;
    bar.append(select);
  }
  const words = document.createElement("input");
  words.type = "search";
  words.placeholder = "text in the trace";
  words.setAttribute("aria-label", "text in the trace");
  const shown = document.createElement("span");
  bar.append(words, shown);
  const apply = () => {
    let count = 0;
    for (const card of cards) {
      const fits =
        Object.entries(choices).every(([key, { value }]) => !value || card.dataset[key].split("|").includes(value)) &&
        card.textContent.toLowerCase().includes(words.value.toLowerCase());
      card.hidden = !fits;
      count += fits;
    }
    shown.textContent = `${count} of ${cards.length}`;
  };
  bar.addEventListener("input", apply);
  document.querySelector(".traces").before(bar);
  const asked = new URLSearchParams(location.hash.slice(1));
  for (const [key, select] of Object.entries(choices)) if (asked.has(key)) select.value = asked.get(key);
  if (asked.has("q")) words.value = asked.get("q");
  apply();
})();
