// A bar over a list that narrows it to what fits: over the elements in one with `data-filters` (key -> what no choice is
// called), and over the rows of tables that are long. What is chosen stands in the address, #LIST:KEY=VALUE&q=WORDS, so
// that it can be passed on. Of a table so many rows are shown at first, and a button shows more. Made here, so that a
// page without scripts shows no dead controls, and everything.
(() => {
  const LONG = 15;
  const AT_ONCE = 100;

  const inTable = (table) => {
    const heads = [...table.tHead.rows[0].cells].map((cell) => cell.textContent);
    const told = (row, key) => row.cells[heads.indexOf(key)].textContent.split(", ");
    return { items: () => [...table.tBodies[0].rows], told, before: table.closest(".wide") ?? table, atOnce: AT_ONCE };
  };
  const inCards = (list) => ({
    items: () => [...list.children], told: (card, key) => card.dataset[key].split("|"), before: list, atOnce: Infinity,
  });

  const control = (name, label, made) => {
    made.name = name;
    made.setAttribute("aria-label", label);
    return made;
  };
  const choice = (key, label, values) => {
    const made = control(key, label, document.createElement("select"));
    made.add(new Option(label, ""));
    values.forEach((value) => made.add(new Option(value, value)));
    return made;
  };
  const search = () => {
    const made = control("q", "text to look for", document.createElement("input"));
    made.type = "search";
    made.placeholder = "text to look for";
    return made;
  };
  const distinct = (all) => [...new Set(all)].filter((value) => value && value !== "–");
  const alike = new Intl.Collator("en", { numeric: true }).compare;

  const narrow = (list) => {
    const { items, told, before, atOnce } = list.tHead ? inTable(list) : inCards(list);
    if (items().length < 2) return;
    const filters = Object.entries(JSON.parse(list.dataset.filters ?? "{}"));
    const entries = new Map(items().map((item) => [item, {
      text: item.textContent.toLowerCase(), told: Object.fromEntries(filters.map(([key]) => [key, told(item, key)])),
    }]));
    const choices = filters
      .map(([key, label]) => [key, label, distinct([...entries.values()].flatMap((entry) => entry.told[key])).sort(alike)])
      .filter(([, , values]) => values.length > 1)
      .map((each) => choice(...each));
    const words = search();
    const shown = document.createElement("span");
    shown.setAttribute("role", "status");
    const bar = document.createElement("p");
    bar.className = "filter";
    bar.append(...choices, words, shown);
    const box = document.createElement("div");  // the bar stays in sight as long as the list is
    before.replaceWith(box);
    const more = document.createElement("button");
    more.type = "button";
    more.className = "more";
    box.append(bar, before, more);

    let most = atOnce;
    const apply = () => {
      const asked = words.value.toLowerCase().split(/\s+/);
      let count = 0;
      for (const item of items()) {
        const { text, told } = entries.get(item);
        const fits = asked.every((word) => text.includes(word)) &&
          choices.every(({ name, value }) => !value || told[name].includes(value));
        count += fits;
        item.hidden = !fits || count > most;
      }
      more.hidden = count <= most;
      more.textContent = `show ${Math.min(atOnce, count - most)} more`;
      const cut = more.hidden ? "" : `, the first ${most.toLocaleString("en")} shown`;
      shown.textContent = `${count.toLocaleString("en")} of ${entries.size.toLocaleString("en")}${cut}`;
    };
    const place = list.id || list.closest("section")?.id;
    const toAddress = () => {
      const chosen = [...choices, words].filter(({ value }) => value).map(({ name, value }) => [name, value]);
      address.note(`${place}${chosen.length ? `:${new URLSearchParams(chosen)}` : ""}`);
    };
    const fromAddress = () => {
      const [there, chosen] = address.now().split(/:(.*)/s);
      if (there !== place || chosen === undefined) return;
      const asked = new URLSearchParams(chosen);
      for (const each of [...choices, words]) each.value = asked.get(each.name) ?? "";
      apply();
      bar.scrollIntoView();
    };
    bar.addEventListener("input", () => { most = atOnce; apply(); toAddress(); });
    more.addEventListener("click", () => { most += atOnce; apply(); });
    list.addEventListener("sorted", apply);
    address.follow(fromAddress);
    apply();
    fromAddress();
  };

  const isLong = (table) => table.tHead && table.tBodies[0]?.rows.length > LONG && !table.closest("details");
  document.querySelectorAll("[data-filters], table").forEach((list) => {
    if (list.dataset.filters || isLong(list)) narrow(list);
  });
})();
