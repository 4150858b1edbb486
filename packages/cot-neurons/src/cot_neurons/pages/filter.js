// Filters for the neuron cards, made here so that a page without scripts shows no dead controls.
(() => {
  const section = document.getElementById("cards");
  const cards = [...section.querySelectorAll(".card")];
  if (cards.length < 2) return;
  const bar = document.createElement("p");
  bar.className = "filter";
  const make = (label, values) => {
    const select = document.createElement("select");
    select.setAttribute("aria-label", label);
    select.add(new Option(label, ""));
    values.forEach((value) => select.add(new Option(value, value)));
    bar.append(select);
    return select;
  };
  const topics = [...new Set(cards.flatMap((card) => card.dataset.topics.split("|")))].sort();
  const layers = [...new Set(cards.map((card) => card.dataset.layer))].sort((a, b) => a - b);
  const topic = make("every topic", topics);
  const layer = make("every layer", layers);
  const words = document.createElement("input");
  words.type = "search";
  words.placeholder = "text in the card";
  const shown = document.createElement("span");
  bar.append(words, shown);
  const apply = () => {
    let count = 0;
    for (const card of cards) {
      const fits =
        (!topic.value || card.dataset.topics.split("|").includes(topic.value)) &&
        (!layer.value || card.dataset.layer === layer.value) &&
        card.textContent.toLowerCase().includes(words.value.toLowerCase());
      card.hidden = !fits;
      count += fits;
    }
    shown.textContent = `${count} of ${cards.length}`;
  };
  bar.addEventListener("input", apply);
  section.querySelector(".cards").before(bar);
  apply();
})();
