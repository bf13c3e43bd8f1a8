"use strict";
(() => {
  const $ = (id) => document.getElementById(id);
  const all = (selector, from = document) => [...from.querySelectorAll(selector)];
  const root = document.documentElement;

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

  // A section that is folded as a whole opens for who follows a link to it.
  function unfolding() {
    const unfold = (hash) => {
      const place = hash.length > 1 && $(hash.slice(1));
      if (place) all(":scope > .printed", place).forEach((fold) => { fold.open = true; });
    };
    document.addEventListener("click", (event) => unfold(event.target.closest?.("a[href^='#']")?.hash || ""));
    addEventListener("hashchange", () => unfold(location.hash));
    unfold(location.hash);
  }

  // A table that sorts by any column but those that are pictures. A head whose words are a term keeps it, beside.
  function sortable(table) {
    const heads = all("thead th", table);
    heads.forEach((head, column) => {
      if (head.classList.contains("unsorted")) return;
      const button = document.createElement("button");
      button.type = "button";
      button.className = "sort";
      if (head.querySelector("button")) button.setAttribute("aria-label", `Sort by ${head.textContent}`);
      else button.append(...head.childNodes);
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

  root.classList.add("scripted");
  theme();
  copying();
  unfolding();
  all("table.sortable").forEach(sortable);
})();
