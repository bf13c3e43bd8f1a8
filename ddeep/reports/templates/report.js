"use strict";
(() => {
  const $ = (id) => document.getElementById(id);
  const all = (selector, from = document) => [...from.querySelectorAll(selector)];
  const root = document.documentElement;
  const numeric = (text) => parseFloat(text.replace("−", "-").replace(/[^\d.e+-]/g, ""));

  // Light and dark: the system's choice until the button is pressed. Some browsers refuse storage to files.
  function theme() {
    const remember = (value) => { try { localStorage.setItem("ddeep-theme", value); } catch { /* not remembered */ } };
    const remembered = () => { try { return localStorage.getItem("ddeep-theme"); } catch { return null; } };
    if (["light", "dark"].includes(remembered())) root.dataset.theme = remembered();
    $("theme").hidden = false;
    $("theme").addEventListener("click", () => {
      const now = root.dataset.theme || (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light");
      root.dataset.theme = now === "dark" ? "light" : "dark";
      remember(root.dataset.theme);
    });
  }

  function copying() {
    if (!navigator.clipboard) return;
    $("copy").hidden = false;
    $("copy").addEventListener("click", async () => {
      await navigator.clipboard.writeText($("command").textContent);
      $("copy").textContent = "copied";
    });
  }

  // The numbers of a cell that holds nothing but numbers, such as "−0.3", "<0.001", "98.2 to 99.9" or "50 30 18".
  const figures = (text) => {
    if (/[^\d\s.,<%±+−–…-]/.test(text.replace(/\bto\b|e[-+]?\d+/g, " "))) return [];
    const found = text.replaceAll("−", "-").match(/[-+]?\d[\d,]*(\.\d+)?(e[-+]?\d+)?/g) || [];
    return found.map((number) => parseFloat(number.replaceAll(",", "")));
  };

  // Numbers before words and dashes, whichever way (1 or -1) both are sorted; lists by their first number that differs.
  const compare = (a, b, sign) => {
    const [x, y] = [figures(a), figures(b)];
    if (!x.length !== !y.length) return x.length ? -1 : 1;
    if (!x.length) return sign * a.localeCompare(b, undefined, { numeric: true });
    const at = x.findIndex((number, place) => number !== y[place]);
    return sign * (at < 0 ? x.length - y.length : at < y.length ? x[at] - y[at] : 1);
  };

  // A table that sorts by any column.
  function sortable(table) {
    const heads = all("thead th", table);
    heads.forEach((head, column) => {
      const button = document.createElement("button");
      button.type = "button";
      button.append(...head.childNodes);
      head.append(button);
      button.addEventListener("click", () => {
        const first = head.classList.contains("n") ? "descending" : "ascending";
        const other = first === "ascending" ? "descending" : "ascending";
        const way = head.getAttribute("aria-sort") === first ? other : first;
        heads.forEach((h) => h.removeAttribute("aria-sort"));
        head.setAttribute("aria-sort", way);
        const sign = way === "ascending" ? 1 : -1;
        const text = (row) => row.cells[column].textContent.trim();
        table.tBodies[0].append(...all("tbody tr", table).sort((a, b) => compare(text(a), text(b), sign)));
      });
    });
  }

  // Classes that lose at least so much accuracy.
  function losses() {
    const rows = all("#by-class tbody tr");
    const drops = rows.map((row) => parseFloat(row.dataset.drop)).filter((drop) => !Number.isNaN(drop));
    const least = $("least");
    least.min = Math.floor(10 * Math.min(0, ...drops)) / 10;
    least.max = Math.floor(10 * Math.max(0, ...drops)) / 10;
    least.value = least.min;
    const options = all("#pick option[data-drop]");
    const show = () => {
      const floor = parseFloat(least.value);
      const any = floor <= parseFloat(least.min);
      const loses = (drop) => any || parseFloat(drop) >= floor;
      rows.forEach((row) => { row.hidden = !loses(row.dataset.drop); });
      options.forEach((option) => { option.hidden = option.disabled = !loses(option.dataset.drop); });
      const shown = rows.filter((row) => !row.hidden).length;
      const points = floor.toFixed(1).replace("-", "−");
      $("least-shown").textContent =
        any ? `all ${rows.length} classes` : `${shown} of ${rows.length} classes lose ${points} points or more`;
    };
    least.addEventListener("input", show);
    show();
  }

  // One class at a time, or all of them.
  function picker() {
    const pick = $("pick");
    const sections = all(".klass");
    const sectionOf = (index) => sections.find((section) => section.dataset.index === index);
    const show = (index) => {
      pick.value = index;
      sections.forEach((section) => { section.hidden = index !== "" && section.dataset.index !== index; });
      if (index !== "" && sectionOf(index)) sectionOf(index).open = true;
    };
    const step = (by) => {
      const open = [...pick.options].filter((option) => !option.disabled);
      const at = open.findIndex((option) => option.value === pick.value);
      show(open[(at + by + open.length) % open.length].value);
    };
    pick.addEventListener("change", () => show(pick.value));
    $("previous").addEventListener("click", () => step(-1));
    $("next").addEventListener("click", () => step(1));
    const follow = () => {
      const match = /^#class-(\d+)/.exec(location.hash);
      if (!match || !sectionOf(match[1])) return;
      show(pick.value === "" ? "" : match[1]);
      sectionOf(match[1]).open = true;
      $(location.hash.slice(1))?.scrollIntoView();
    };
    addEventListener("hashchange", follow);
    show(sections.length > 20 ? sections[0].dataset.index : "");
    follow();
    $("maps")?.addEventListener("change", () => $("sections").classList.toggle("on", $("maps").checked));
  }

  // The class × filter heat maps: one at a time, in any order, the cell under the pointer or the focus in words.
  function heatMaps() {
    const views = all(".heat-view");
    const tables = views.map((view) => view.querySelector("table"));
    const tabs = all("[data-heat]");
    const headsOf = (table) => [...table.tHead.rows[0].cells].slice(1);
    const rowsOf = (table) => [...table.tBodies[0].rows];
    const nameOf = (row) => row.cells[0].textContent.trim();

    const choose = (key) => {
      views.forEach((view) => { view.hidden = view.dataset.key !== key; });
      tabs.forEach((tab) => tab.setAttribute("aria-pressed", String(tab.dataset.heat === key)));
    };
    tabs.forEach((tab) => tab.addEventListener("click", () => choose(tab.dataset.heat)));
    choose(views[0].dataset.key);

    const heads = headsOf(tables[0]);
    const group = new Map(heads.map((head, at) => [head.dataset.index, at]));
    const users = new Map(heads.map((head) => [head.dataset.index, []])); // filter: names of classes that select it
    for (const row of rowsOf(tables[0])) {
      [...row.cells].slice(1).forEach((cell, at) => {
        if (cell.classList.contains("own")) users.get(heads[at].dataset.index).push(nameOf(row));
      });
    }

    const orderColumns = (key) => {
      for (const table of tables) {
        const own = headsOf(table);
        const order = own.map((_, at) => at).sort((a, b) => key(own[a].dataset.index) - key(own[b].dataset.index));
        for (const row of [table.tHead.rows[0], ...rowsOf(table)]) {
          const cells = [...row.cells].slice(1);
          row.append(...order.map((at) => cells[at]));
        }
      }
    };
    const columnKeys = { group: (j) => group.get(j), index: Number, users: (j) => -users.get(j).length };
    $("order-columns").addEventListener("change", (event) => orderColumns(columnKeys[event.target.value]));

    const orderRows = (before) => tables.forEach((table) => table.tBodies[0].append(...rowsOf(table).sort(before)));
    const lost = new Map(all("#by-class tbody tr").map((row) => [row.dataset.index, parseFloat(row.dataset.drop) || 0]));
    const rowOrders = {
      index: (a, b) => a.dataset.index - b.dataset.index,
      name: (a, b) => nameOf(a).localeCompare(nameOf(b)),
      drop: (a, b) => lost.get(b.dataset.index) - lost.get(a.dataset.index),
    };
    $("order-rows").addEventListener("change", (event) => orderRows(rowOrders[event.target.value]));

    $("only-selected").addEventListener("change", (event) => {
      for (const table of tables) {
        headsOf(table).forEach((head, at) => {
          const hide = event.target.checked && users.get(head.dataset.index).length === 0;
          for (const row of [table.tHead.rows[0], ...rowsOf(table)]) row.cells[at + 1].hidden = hide;
        });
      }
    });

    const tell = (cell) => {
      const row = cell.parentNode;
      const j = headsOf(row.closest("table"))[cell.cellIndex - 1].dataset.index;
      const figures = tables.map((table, at) => {
        const twin = rowsOf(table).find((other) => other.dataset.index === row.dataset.index).cells[cell.cellIndex];
        return twin.textContent && `${views[at].dataset.key} ${twin.textContent}`;
      });
      const who = users.get(j);
      const names = who.length > 6 ? `${who.slice(0, 6).join(", ")} and ${who.length - 6} more` : who.join(", ");
      const selected = who.length ? `Selected by ${names}.` : "No class selects it.";
      $("readout").textContent = `${nameOf(row)} × filter ${j}: ${figures.filter(Boolean).join(", ")}. ${selected}`;
    };

    const moves = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] };
    const move = (table, event) => {
      if (!moves[event.key] || event.target.tagName !== "TD") return;
      event.preventDefault();
      const [down, right] = moves[event.key];
      const rows = rowsOf(table);
      const row = rows[rows.indexOf(event.target.parentNode) + down];
      let at = event.target.cellIndex + right;
      while (row?.cells[at]?.hidden) at += right || 1;
      const next = row?.cells[at];
      if (next?.tagName !== "TD") return;
      all("td[tabindex]", table).forEach((cell) => cell.removeAttribute("tabindex"));
      next.tabIndex = 0;
      next.focus();
    };

    for (const table of tables) {
      for (const head of headsOf(table)) {
        const button = document.createElement("button");
        button.type = "button";
        button.tabIndex = -1; // hundreds of them: for the pointer; the keyboard has the menus
        button.textContent = head.textContent;
        button.setAttribute("aria-label", `Sort the classes by filter ${head.dataset.index}`);
        head.replaceChildren(button);
        button.addEventListener("click", () => {
          const value = (row) => numeric(row.cells[head.cellIndex].textContent) || 0;
          const by = new Map(rowsOf(table).map((row) => [row.dataset.index, value(row)]));
          orderRows((a, b) => by.get(b.dataset.index) - by.get(a.dataset.index));
        });
      }
      table.addEventListener("pointerover", (event) => { if (event.target.tagName === "TD") tell(event.target); });
      table.addEventListener("focusin", (event) => { if (event.target.tagName === "TD") tell(event.target); });
      table.addEventListener("keydown", (event) => move(table, event));
      const first = table.querySelector("td");
      if (first) first.tabIndex = 0;
    }
  }

  root.classList.add("scripted");
  theme();
  copying();
  all("table.sortable").forEach(sortable);
  if ($("least")) losses();
  if ($("pick")) picker();
  if (document.querySelector(".heat-view td")) heatMaps();
})();
