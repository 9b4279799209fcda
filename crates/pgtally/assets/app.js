// What pages can do beyond HTML: keys, copying, the live tap, the health chart. Everything that comes from the network
// is put into the page as text, never as markup.
"use strict";
(() => {
  const root = document.documentElement;
  root.classList.add("js");

  const one = (selector) => document.querySelector(selector);
  const rows = () => Array.from(document.querySelectorAll("[data-row]"));
  const isTyping = (element) => element.matches("input, textarea, select, [contenteditable]");

  // Keys. A row is its link: Enter opens it as everywhere.
  const move = (step) => {
    const all = rows();
    if (all.length === 0) return;
    const at = all.indexOf(document.activeElement);
    const next = at < 0 ? (step > 0 ? 0 : all.length - 1) : Math.min(all.length - 1, Math.max(0, at + step));
    all[next].focus();
    all[next].scrollIntoView({ block: "nearest" });
  };
  const help = () => {
    const dialog = one("#help");
    if (dialog && !dialog.open) dialog.showModal();
  };
  const keys = {
    "/": () => { const field = one("#filter"); if (field) { field.focus(); field.select(); } },
    "?": help,
    j: () => move(1),
    k: () => move(-1),
    p: () => { const pause = one("#pause"); if (pause) pause.click(); },
    c: () => { const copy = one("[data-copy]"); if (copy) copy.click(); },
  };
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.altKey || event.metaKey) return;
    if (event.key === "Escape" && isTyping(event.target)) { event.target.blur(); return; }
    if (isTyping(event.target) || (one("#help") && one("#help").open)) return;
    if (/^[1-7]$/.test(event.key)) {
      const link = document.querySelectorAll("nav a")[Number(event.key) - 1];
      if (link) link.click();
      return;
    }
    const action = keys[event.key];
    if (action) { event.preventDefault(); action(); }
  });
  document.addEventListener("click", (event) => {
    const opener = event.target.closest("[data-help]");
    if (opener) help();
    const copy = event.target.closest("[data-copy]");
    if (copy) copyText(copy);
  });

  const say = (text) => { const status = one("#status"); if (status) status.textContent = text; };

  async function put(button, text) {
    await navigator.clipboard.writeText(text);
    say("copied");
    const label = button.textContent;
    button.textContent = "copied";
    setTimeout(() => { button.textContent = label; }, 1200);
  }

  async function copyText(button) {
    const source = document.getElementById(button.dataset.copy);
    if (!source) return;
    try {
      await put(button, source.textContent);
    } catch (_) {
      // No clipboard without a secure context: the text is selected, for the keys that copy.
      const range = document.createRange();
      range.selectNodeContents(source);
      const selection = getSelection();
      selection.removeAllRanges();
      selection.addRange(range);
      say("selected; press Ctrl+C");
    }
  }

  // A list that is refreshed keeps the row that had the focus.
  let focused = null;
  document.addEventListener("htmx:beforeSwap", () => {
    const active = document.activeElement;
    focused = active && active.matches("[data-row]") ? active.getAttribute("href") : null;
  });
  document.addEventListener("htmx:afterSettle", () => {
    if (!focused) return;
    const row = rows().find((link) => link.getAttribute("href") === focused);
    if (row) row.focus();
  });

  // The live tap.
  const tap = one("#tap");
  if (tap) liveTap(tap);

  function liveTap(table) {
    const ROWS_MAX = 500;
    const body = table.querySelector("tbody");
    const pause = one("#pause");
    const told = new Set();
    let isPaused = false;
    let waiting = [];
    let dropped = 0;
    let seen = 0;
    const cell = (row, text, name) => {
      const cell = document.createElement("td");
      cell.textContent = text;
      if (name) cell.className = name;
      row.append(cell);
      return cell;
    };
    const show = (it) => {
      const row = document.createElement("tr");
      if (it.error) row.classList.add("error");
      else if (it.n_plus_one) row.classList.add("n_plus_one");
      else if (it.slow) row.classList.add("slow");
      cell(row, it.at.slice(11, 23));
      cell(row, it.duration_ms.toFixed(2), "number");
      cell(row, it.rows, "number");
      const marks = [it.n_plus_one ? "N+1" : "", it.slow ? "slow" : "", it.error ? `error ${it.error}` : ""];
      if (it.repeat > 1) marks.unshift(`×${it.repeat}`);
      cell(row, marks.filter(Boolean).join(" "));
      const route = cell(row, "", "route");
      if (it.request) {
        const link = document.createElement("a");
        link.href = `/requests/${encodeURIComponent(it.request)}`;
        link.textContent = it.route;
        route.append(link);
      } else {
        route.textContent = it.route;
      }
      const text = cell(row, "", "sql");
      if (it.counted) {
        const link = document.createElement("a");
        link.href = `/statements/${it.fingerprint}`;
        link.dataset.row = "";
        link.textContent = visible(it.statement || "(text no longer kept)");
        text.append(link);
      } else {
        text.textContent = visible(it.statement || "");
      }
      if (it.psql) {
        const copy = document.createElement("button");
        copy.type = "button";
        copy.className = "small";
        copy.textContent = "Copy with values";
        copy.addEventListener("click", () => put(copy, it.psql).catch(() => {
          const area = document.createElement("textarea");
          area.readOnly = true;
          area.value = it.psql;
          area.setAttribute("aria-label", "For psql");
          copy.replaceWith(area);
          area.select();
          say("selected; press Ctrl+C");
        }));
        text.append(" ", copy);
      }
      return row;
    };
    const flush = () => {
      if (waiting.length === 0) return;
      const fragment = document.createDocumentFragment();
      for (const it of waiting.slice(-ROWS_MAX).reverse()) fragment.append(show(it));
      waiting = [];
      body.prepend(fragment);
      while (body.rows.length > ROWS_MAX) body.deleteRow(-1);
      one("#nothing").hidden = true;
    };
    const count = () => {
      const lost = dropped > 0 ? `, ${dropped} not shown (too many at once)` : "";
      one("#count").textContent = `${seen} statements${lost}${isPaused ? ", paused" : ""}`;
    };
    const source = new EventSource(table.dataset.source);
    source.onopen = () => { one("#state").textContent = "listening"; };
    source.onerror = () => { one("#state").textContent = "connection lost; trying again"; };
    source.onmessage = (event) => {
      const it = JSON.parse(event.data);
      seen += 1;
      waiting.push(it);
      if (waiting.length > 4 * ROWS_MAX) waiting.splice(0, waiting.length - ROWS_MAX);
      const pattern = `${it.route} ${it.fingerprint}`;
      if (it.n_plus_one && !told.has(pattern) && told.size < 100) {
        told.add(pattern);
        one("#toast").textContent = `N+1 on ${it.route}: ${visible(it.statement || "").slice(0, 120)}`;
        setTimeout(() => { one("#toast").textContent = ""; }, 8000);
      }
    };
    source.addEventListener("dropped", (event) => { dropped += JSON.parse(event.data).dropped; });
    setInterval(() => { if (!isPaused) flush(); count(); }, 250);
    pause.addEventListener("click", () => {
      isPaused = !isPaused;
      pause.textContent = isPaused ? "Go on" : "Pause";
      pause.setAttribute("aria-pressed", String(isPaused));
    });
    one("#clear").addEventListener("click", () => {
      body.replaceChildren();
      waiting = [];
      one("#nothing").hidden = false;
    });
    addEventListener("pagehide", () => source.close());
  }

  // Control characters and those that turn text round are shown, as the server shows them.
  function visible(text) {
    return text.replace(/[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u061c\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff]/g,
      (it) => `⟦U+${it.codePointAt(0).toString(16).toUpperCase().padStart(4, "0")}⟧`);
  }

  // The health chart.
  const chart = one("#chart");
  if (chart && window.uPlot) healthChart(chart);

  function healthChart(element) {
    const POINTS_MAX = 300;
    const style = getComputedStyle(root);
    const colour = (name) => style.getPropertyValue(name).trim();
    const axis = { stroke: colour("--faint"), grid: { stroke: colour("--line"), width: 1 }, ticks: { stroke: colour("--line") } };
    const data = [[], [], []];
    const size = () => ({ width: Math.max(260, element.clientWidth), height: 240 });
    const plot = new uPlot({
      ...size(),
      series: [
        {},
        { label: "queries/s", stroke: colour("--bar"), width: 2 },
        { label: "active sessions", stroke: colour("--bar-child"), width: 2, scale: "sessions" },
      ],
      axes: [axis, { ...axis, size: 60 }, { ...axis, side: 1, scale: "sessions", grid: { show: false } }],
      scales: { y: { range: (_, low, high) => [0, Math.max(1, high)] }, sessions: { range: (_, low, high) => [0, Math.max(1, high)] } },
    }, data, element);
    addEventListener("resize", () => plot.setSize(size()));
    let last = null;
    const poll = async () => {
      try {
        const answer = await fetch(element.dataset.source);
        if (!answer.ok) throw new Error(answer.status);
        const now = await answer.json();
        const at = Date.now() / 1000;
        if (last) {
          data[0].push(at);
          data[1].push(Math.max(0, (now.queries - last.queries) / (at - last.at)));
          data[2].push(now.sessions.active + now.sessions.in_transaction);
          for (const series of data) if (series.length > POINTS_MAX) series.shift();
          plot.setData(data);
        }
        last = { at, queries: now.queries };
        element.dataset.points = String(data[0].length);
      } catch (_) {
        say("pgtally does not answer");
      }
    };
    poll();
    setInterval(poll, 1000);
  }
})();
