// Sort, filter and the detail of a unit. All text from the run enters the page by textContent, and
// a unit's address is its hash, so that a link to it opens it.
"use strict";

(() => {
  const byId = (id) => document.getElementById(id);
  const box = byId("cards");
  const cards = [...box.children];
  const dialog = byId("detail");
  const number = (card, name) => Number(card.dataset[name]);
  const isDead = (card) => card.classList.contains("dead");

  // The data come by a script because a page opened from disk may not fetch.
  let loading = null;
  function details() {
    loading ??= new Promise((resolve, reject) => {
      const script = document.createElement("script");
      window.unitscopeDetails = resolve;
      script.src = box.dataset.details;
      script.onerror = () => reject(new Error(`${box.dataset.details} is missing beside this page`));
      document.head.append(script);
    });
    return loading;
  }

  // Sort and filter.

  const orders = {
    unit: (a, b) => number(a, "unit") - number(b, "unit"),
    maximum: (a, b) => number(b, "maximum") - number(a, "maximum"),
    share: (a, b) => number(b, "share") - number(a, "share"),
    rare: (a, b) => number(a, "share") - number(b, "share"),
    selective: (a, b) => number(b, "selectivity") - number(a, "selectivity"),
  };

  function sort() {
    const name = byId("sort").value;
    const deadLast = (a, b) => (name === "unit" ? 0 : isDead(a) - isDead(b));
    cards.sort((a, b) => deadLast(a, b) || orders[name](a, b) || orders.unit(a, b));
    box.append(...cards);
  }

  function numbersIn(text) {
    const parts = text.split(",").map((part) => part.trim()).filter(Boolean);
    const ranges = parts.map((part) => /^(\d+)(?:-(\d+))?$/.exec(part));
    if (!ranges.every(Boolean)) return null;
    return (unit) => ranges.some(([, a, b]) => unit >= Number(a) && unit <= Number(b ?? a));
  }

  async function matcher(text) {
    if (!text) return () => true;
    const wanted = numbersIn(text);
    if (wanted) return wanted;
    const all = await details();
    const has = (patch) =>
      patch.class_name.toLowerCase().includes(text) || patch.image.toLowerCase().includes(text);
    return (unit) => all[unit].patches.some(has);
  }

  async function filter() {
    const field = byId("filter");
    const text = field.value.trim().toLowerCase();
    const matches = await matcher(text).catch(() => () => true);
    if (text !== field.value.trim().toLowerCase()) return;
    let shown = 0;
    for (const card of cards) {
      const keep = !(byId("living").checked && isDead(card)) && matches(number(card, "unit"));
      card.hidden = !keep;
      shown += keep;
    }
    const all = `${cards.length} units`;
    byId("count").textContent = shown === cards.length ? all : `${shown} of ${all}`;
  }

  // The detail.

  const target = () => {
    const match = /^#unit-(\d+)$/.exec(location.hash);
    return match && byId(`unit-${match[1]}`);
  };

  function fill(root, data) {
    for (const place of root.querySelectorAll("[data-field]")) {
      const text = data[place.dataset.field];
      place.textContent = text;
      (place.tagName === "DD" ? place.parentElement : place).hidden = !text;
    }
  }

  // In shares of its own side, so that the style sheet decides how large a picture is.
  function picture(sheet, index, left) {
    const [tile, gap] = [Number(dialog.dataset.tile), Number(dialog.dataset.gap)];
    const [width, height] = [sheet.getAttribute("width"), sheet.getAttribute("height")];
    const x = left + (index % 3) * (tile + gap);
    const y = Math.floor(index / 3) * (tile + gap);
    const share = (part, whole) => `${(100 * part) / whole}%`;
    const place = document.createElement("div");
    place.className = "picture";
    place.style.backgroundImage = `url("${encodeURI(sheet.getAttribute("src"))}")`;
    place.style.backgroundSize = `${share(width, tile)} ${share(height, tile)}`;
    place.style.backgroundPosition = `${share(x, width - tile)} ${share(y, height - tile)}`;
    return place;
  }

  function patchItem(patch, index, sheet) {
    const item = byId("patch").content.cloneNode(true);
    const pictures = item.querySelector(".pictures");
    if (dialog.dataset.paired) pictures.append(picture(sheet, index, 0));
    pictures.append(picture(sheet, index, Number(dialog.dataset.patches)));
    fill(item, patch);
    return item;
  }

  function drawHistogram(drawing) {
    byId("histogram").hidden = !drawing;
    if (!drawing) return;
    dialog.querySelector(".bars").setAttribute("d", drawing.path);
    byId("peak").textContent = drawing.peak.toLocaleString("en");
    const bottom = dialog.querySelector("svg").viewBox.baseVal.height - 6;
    dialog.querySelector(".ticks").replaceChildren(
      ...drawing.ticks.map(([x, label]) => {
        const text = document.createElementNS("http://www.w3.org/2000/svg", "text");
        text.setAttribute("x", x);
        text.setAttribute("y", bottom);
        text.textContent = label;
        return text;
      })
    );
  }

  function shareItem(bar) {
    const item = byId("share").content.cloneNode(true);
    item.querySelector(".bars").setAttribute("width", bar.percent);
    fill(item, bar);
    return item;
  }

  function showClasses(classes) {
    byId("classes").hidden = !classes;
    if (!classes) return;
    byId("shares").replaceChildren(...classes.bars.map(shareItem));
    byId("classes").querySelector("p").textContent = classes.words;
  }

  // Files of the gallery stand one folder up, whatever their names hold.
  const above = (name) => `../${encodeURI(name)}`;

  function toldItem(told) {
    const item = byId("told").content.cloneNode(true);
    const [link, shown] = [item.querySelector("a"), item.querySelector("img")];
    if (told.page) link.href = above(told.page);
    shown.src = above(told.file);
    shown.alt = told.words;
    shown.width = told.width;
    shown.height = told.height;
    shown.classList.toggle("cells", told.pixels);
    fill(item, told);
    return item;
  }

  function noteSection(note) {
    const section = byId("note").content.cloneNode(true);
    fill(section, note);
    if (note.page) section.querySelector("h3 a").href = above(note.page);
    section.querySelector("ul").replaceChildren(...note.pictures.map(toldItem));
    return section;
  }

  async function open(card) {
    box.querySelector(".chosen")?.classList.remove("chosen");
    card.classList.add("chosen");
    byId("detail-link").textContent = `unit ${card.dataset.unit}`;
    byId("detail-link").href = `#${card.id}`;
    if (!dialog.open) dialog.showModal();
    const problem = byId("detail-problem");
    try {
      const detail = (await details())[number(card, "unit")];
      if (card !== target()) return;
      problem.hidden = true;
      fill(dialog.querySelector(".summary"), detail);
      drawHistogram(detail.histogram);
      const sheet = card.querySelector("img");
      byId("patches").replaceChildren(...detail.patches.map((p, i) => patchItem(p, i, sheet)));
      byId("patches-note").hidden = !detail.patches.length;
      byId("patches-title").hidden = !detail.patches.length;
      showClasses(detail.classes);
      byId("notes").replaceChildren(...detail.notes.map(noteSection));
      dialog.scrollTop = 0;
    } catch (error) {
      problem.textContent = error.message;
      problem.hidden = false;
    }
  }

  function follow() {
    const card = target();
    if (card) open(card);
    else if (dialog.open) dialog.close();
  }

  function step(by) {
    const shown = cards.filter((card) => !card.hidden);
    const next = shown[shown.indexOf(target()) + by];
    if (!next) return;
    // Going to the hash would take the focus out of the dialog, and the arrow keys with it.
    history.replaceState(null, "", `#${next.id}`);
    open(next);
  }

  dialog.addEventListener("close", () => {
    const card = target();
    if (!card) return;
    history.replaceState(null, "", "#");
    card.scrollIntoView({ block: "nearest" });
    card.querySelector("a").focus({ preventScroll: true });
  });
  dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());
  dialog.addEventListener("keydown", (event) => {
    if (event.key === "ArrowLeft") step(-1);
    if (event.key === "ArrowRight") step(1);
  });
  byId("close").addEventListener("click", () => dialog.close());
  byId("previous").addEventListener("click", () => step(-1));
  byId("next").addEventListener("click", () => step(1));
  byId("sort").addEventListener("change", sort);
  byId("filter").addEventListener("input", filter);
  byId("living").addEventListener("change", filter);
  byId("tools").addEventListener("submit", (event) => event.preventDefault());
  byId("tools").hidden = false;
  window.addEventListener("hashchange", follow);
  // A page that is loaded again keeps what was typed.
  sort();
  filter();
  follow();
})();
