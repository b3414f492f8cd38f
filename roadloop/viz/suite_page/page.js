// Theme, tips, copying, sorting, filtering and the replay that is shown: all else is in the page.
const find = (id) => document.getElementById(id);
const root = document.documentElement;

const wanted = window.matchMedia("(prefers-color-scheme: dark)");
const theme = (dark) => { root.dataset.theme = dark ? "dark" : "light"; };
theme(wanted.matches);
wanted.addEventListener("change", (event) => theme(event.matches));
find("theme").addEventListener("click", () => theme(root.dataset.theme !== "dark"));

// tips: hover, tap, and arrow keys within a table of cells
const tip = find("tip");
function showTip(target) {
  document.querySelector("td.current")?.classList.remove("current");
  tip.hidden = !target;
  if (!target) return;
  tip.textContent = target.dataset.tip;
  const box = target.getBoundingClientRect();
  const left = Math.min(Math.max(8, box.left + box.width / 2 - tip.offsetWidth / 2),
    root.clientWidth - tip.offsetWidth - 8);
  const above = box.top - tip.offsetHeight - 6;
  tip.style.left = `${left}px`;
  tip.style.top = `${above > 4 ? above : box.bottom + 6}px`;
}
const tipped = (event) => event.target.closest?.("[data-tip]");
document.addEventListener("pointerover", (event) => showTip(tipped(event)));
document.addEventListener("click", (event) => showTip(tipped(event)));
document.addEventListener("focusin", (event) => showTip(tipped(event)));
document.addEventListener("scroll", () => showTip(null), { passive: true, capture: true });
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape") showTip(null);
  const cell = event.target.closest?.(".heat td");
  const way = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] };
  if (!cell || !way[event.key]) return;
  event.preventDefault();
  const [down, right] = way[event.key];
  let row = cell.parentElement;
  do {
    row = down < 0 ? row.previousElementSibling : down > 0 ? row.nextElementSibling : row;
  } while (down && row && (row.classList.contains("group") || !row.offsetParent));
  const next = row?.children[cell.cellIndex + right];
  if (!next?.matches("td")) return;
  cell.tabIndex = -1;
  next.tabIndex = 0;
  next.focus({ preventScroll: true });
  next.scrollIntoView({ block: "nearest", inline: "nearest" });
  next.classList.add("current");
  showTip(next);
});

document.addEventListener("click", async (event) => {
  const button = event.target.closest("button.copy");
  if (!button) return;
  const said = button.textContent;
  let done = true;
  try {
    await navigator.clipboard.writeText(button.dataset.copy);
  } catch {
    const area = Object.assign(document.createElement("textarea"), { value: button.dataset.copy });
    document.body.append(area);
    area.select();
    done = document.execCommand("copy");
    area.remove();
  }
  button.textContent = done ? "Copied" : "Not allowed";
  setTimeout(() => { button.textContent = said; }, 1200);
});

find("measured")?.addEventListener("change", (event) =>
  document.body.classList.toggle("with-measured", event.target.checked));

// the table of cases: sort by a column, filter by family
const cases = find("cases");
if (cases) {
  const body = cases.tBodies[0];
  const heads = [...cases.tHead.rows[0].cells];
  const order = find("order");
  const sortBy = (column, way) => {
    const key = (row) => row.cells[column].dataset.sort ?? "";
    const numbers = heads[column].dataset.kind === "number";
    const rows = [...body.rows];
    rows.sort((one, other) => {
      const [a, b] = [key(one), key(other)];
      if (a === "" || b === "") return (a === "") - (b === "");
      return way * (numbers ? a - b : a.localeCompare(b, "en", { numeric: true }));
    });
    body.append(...rows);
    filter();
    heads.forEach((head, index) => {
      const said = index !== column ? "none" : way > 0 ? "ascending" : "descending";
      if (head.hasAttribute("aria-sort")) head.setAttribute("aria-sort", said);
    });
    if (order) order.value = String(column);
  };
  heads.forEach((head, column) => head.querySelector("button")?.addEventListener("click", () => {
    const first = head.dataset.first === "down" ? -1 : 1;
    const now = head.getAttribute("aria-sort");
    const turned = now === (first > 0 ? "ascending" : "descending");
    sortBy(column, turned ? -first : first);
  }));
  order?.addEventListener("change", () => {
    const column = Number(order.value);
    sortBy(column, heads[column].dataset.first === "down" ? -1 : 1);
  });
  const few = 25;
  const all = find("show-all");
  let whole = false;
  const filter = () => {
    const family = find("family").value;
    const lost = find("only-lost").checked;
    let kept = 0;
    for (const row of body.rows) {
      const wanted = (family === "" || row.dataset.family === family) &&
        !(lost && row.dataset.lost === "0");
      kept += wanted;
      row.hidden = !wanted || (!whole && kept > few);
    }
    const shown = whole ? kept : Math.min(kept, few);
    find("shown").textContent = `${shown} of ${body.rows.length}`;
    all.hidden = shown === kept;
    all.textContent = `Show all ${kept}`;
  };
  all.addEventListener("click", () => {
    whole = true;
    filter();
  });
  // a dot that leads to a case that is not shown shows it
  const reveal = () => {
    const row = document.getElementById(decodeURIComponent(location.hash.slice(1)));
    if (!row || !body.contains(row)) return;
    whole = true;
    find("family").value = "";
    find("only-lost").checked = false;
    filter();
    row.scrollIntoView({ block: "center" });
  };
  window.addEventListener("hashchange", reveal);
  find("family").addEventListener("change", filter);
  find("only-lost").addEventListener("change", filter);
  filter();
  reveal();
}

find("which-replay")?.addEventListener("change", (event) => {
  const chosen = event.target.selectedOptions[0];
  document.querySelectorAll("iframe").forEach((frame, index) => {
    frame.src = chosen.dataset[index ? "second" : "first"];
  });
});
document.body.classList.add("ready");
