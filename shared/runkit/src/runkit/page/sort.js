// The heads of tables sort their rows: numbers from the largest, words from the first; again, the other way around; a
// third time, as they stood. What is missing stays last.
(() => {
  const FEW = 3;
  const alike = new Intl.Collator("en", { numeric: true }).compare;
  const NUMBER = /^\[?([+-]?(?:\d[\d,]*)?\.?\d+(?:e[+-]?\d+)?)/i;

  const value = (cell) => {
    const text = cell.textContent.trim().replaceAll("−", "-").replace(/^(\[?)[<≈≥≤]\s*/, "$1");
    const found = NUMBER.exec(text);
    return { text, missing: text === "" || text === "–", number: found ? Number(found[1].replaceAll(",", "")) : NaN };
  };
  const byNumber = (a, b) => b.number - a.number;
  const byText = (a, b) => alike(a.text, b.text);

  // The rows, and how they stand now; `turned`: the other way around.
  const sorted = (rows, column, turned) => {
    const keyed = rows.map((row) => ({ row, ...value(row.cells[column]) }));
    const known = keyed.filter((each) => !each.missing);
    const numbers = known.every(({ number }) => !Number.isNaN(number));
    const compare = numbers ? byNumber : byText;
    known.sort((a, b) => (turned ? compare(b, a) : compare(a, b)));
    const stand = numbers === turned ? "ascending" : "descending";
    return [[...known, ...keyed.filter((each) => each.missing)].map(({ row }) => row), stand];
  };

  const ready = (table) => {
    const body = table.tBodies[0];
    const rows = [...body.rows];
    const heads = [...table.tHead.rows[0].cells];
    if (rows.length < FEW || rows.some((row) => row.cells.length !== heads.length)) return;
    let last = null;
    let times = 0;
    const turn = (head, column) => {
      times = head === last ? (times + 1) % 3 : 1;
      last?.removeAttribute("aria-sort");
      last = head;
      const [order, stand] = times ? sorted(rows, column, times === 2) : [rows, "none"];
      head.setAttribute("aria-sort", stand);
      body.append(...order);
      table.dispatchEvent(new Event("sorted"));
    };
    heads.forEach((head, column) => {
      if (!head.textContent.trim() || head.classList.contains("scale")) return;
      const button = document.createElement("button");
      button.type = "button";
      button.title = "sort";
      button.append(...head.childNodes);
      button.addEventListener("click", () => turn(head, column));
      head.append(button);
    });
  };

  document.querySelectorAll("table").forEach((table) => { if (table.tHead?.rows.length === 1 && table.tBodies[0]) ready(table); });
})();
