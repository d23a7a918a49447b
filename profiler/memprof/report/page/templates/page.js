"use strict";
// Sorting, folding, reading values and zooming. Without this script the page still has every figure and chart.
(() => {
  const SPAN = 1000; // of a chart's coordinates, as in memprof/report/page/scales.py
  const LEAST_GAP = 0.09; // of the axis, between two labels
  const tip = document.getElementById("tip");

  // The same format as in memprof/units.py.
  function formatBytes(size) {
    if (size < 1024) return `${size} B`;
    const units = ["KiB", "MiB", "GiB", "TiB"];
    let place = 0;
    let value = size / 1024;
    while (value >= 999.995 && place < units.length - 1) { value /= 1024; place += 1; }
    return `${value.toLocaleString("en-US", { minimumFractionDigits: 2, maximumFractionDigits: 2 })} ${units[place]}`;
  }

  function element(tag, text, style) {
    const made = document.createElement(tag);
    if (text !== undefined) made.textContent = text; // never as HTML
    if (style) Object.assign(made, style);
    return made;
  }

  function showTip(children, x, y) {
    tip.replaceChildren(...children);
    tip.hidden = false;
    const { width, height } = tip.getBoundingClientRect();
    const left = x + 14 + width > innerWidth ? Math.max(4, x - 14 - width) : x + 14;
    tip.style.left = `${scrollX + left}px`;
    tip.style.top = `${scrollY + Math.max(4, Math.min(y + 14, innerHeight - height - 4))}px`;
  }

  function hideTip() { tip.hidden = true; }

  // Tables: a button in each heading. Unknown values stay last, ties keep their order, a row keeps the text below it.
  function compareCells(first, second, direction) {
    const [a, b] = [first.dataset.sort, second.dataset.sort];
    if (a === undefined || b === undefined) return (a === undefined) - (b === undefined);
    const numbers = a !== "" && b !== "" && !Number.isNaN(Number(a)) && !Number.isNaN(Number(b));
    return direction * (numbers ? Number(a) - Number(b) : a.localeCompare(b));
  }

  function sortBy(table, place) {
    const heads = [...table.querySelectorAll(".heads th")];
    const head = heads[place];
    const first = head.classList.contains("number") ? "descending" : "ascending";
    const other = first === "ascending" ? "descending" : "ascending";
    const order = head.getAttribute("aria-sort") === first ? other : first;
    heads.forEach((each) => each.setAttribute("aria-sort", each === head ? order : "none"));
    const rows = [...table.tBodies[0].rows].filter((row) => !row.classList.contains("below"));
    const below = new Map(rows.map((row) => [row, row.classList.contains("noted") ? [row.nextElementSibling] : []]));
    const direction = order === "ascending" ? 1 : -1;
    rows.sort((one, two) => compareCells(one.cells[place], two.cells[place], direction));
    table.tBodies[0].append(...rows.flatMap((row) => [row, ...below.get(row)]));
  }

  document.querySelectorAll("table.sortable").forEach((table) => {
    if (table.tBodies[0].rows.length < 2) return;
    table.querySelectorAll(".heads th").forEach((head, place) => {
      const button = element("button", head.textContent.trim(), { type: "button" });
      button.addEventListener("click", () => sortBy(table, place));
      head.replaceChildren(button);
    });
  });

  // Bars: the name and the size of a segment.
  document.addEventListener("pointerover", (event) => {
    const segment = event.target.closest?.("[data-tip]");
    if (segment) showTip([element("span", segment.dataset.tip)], event.clientX, event.clientY);
    else if (!event.target.closest?.(".box")) hideTip();
  });

  // The tree of modules is printed as far as it is open; everything else that is folded is printed unfolded.
  document.querySelectorAll(".modules").forEach((modules) => {
    modules.querySelector(".controls").hidden = false;
    const openAll = (open) => modules.querySelectorAll("details").forEach((fold) => { fold.open = open; });
    modules.querySelector(".open-all").addEventListener("click", () => openAll(true));
    modules.querySelector(".close-all").addEventListener("click", () => openAll(false));
  });
  let folded = [];
  addEventListener("beforeprint", () => {
    folded = [...document.querySelectorAll(".figures:not([open]), details.code:not([open])")];
    folded.forEach((fold) => { fold.open = true; });
  });
  addEventListener("afterprint", () => folded.forEach((fold) => { fold.open = false; }));

  // Charts. `view` is the visible part of the x axis, in thousandths.
  function setUpChart(chart) {
    const data = JSON.parse(chart.querySelector("script").textContent);
    const part = (name) => chart.querySelector(name);
    const [plot, box, crosshair, selection, all] = [".plot", ".box", ".crosshair", ".selection", ".all"].map(part);
    const scaled = data.x.log ? Math.log : (value) => value;
    const [low, high] = [scaled(data.x.low), scaled(data.x.high)];
    const places = data.xs.map((x) => (SPAN * (scaled(x) - low)) / (high - low || 1));
    let view = [0, SPAN];
    let current = null; // the index in data.xs of the values in the tooltip

    const toView = (at) => (at - view[0]) / (view[1] - view[0]);
    const fromPointer = (event) => {
      const bounds = box.getBoundingClientRect();
      return Math.min(1, Math.max(0, (event.clientX - bounds.left) / bounds.width));
    };

    function nearest(at) {
      let best = 0;
      places.forEach((place, index) => { if (Math.abs(place - at) < Math.abs(places[best] - at)) best = index; });
      return best;
    }

    function rowsOf(index) {
      const lines = data.lines.map((line) => ({ ...line, y: line.ys[index] })).filter((line) => line.y !== null);
      const shown = data.stacked ? lines.filter((line) => line.y > 0).reverse() : lines;
      const rows = shown.map((line) => {
        const row = element("div");
        const name = element("span");
        const swatch = element("i", "", { className: "swatch" });
        swatch.style.background = `var(--${line.color})`;
        name.append(swatch, line.name);
        row.append(name, element("span", formatBytes(line.y)));
        return row;
      });
      const band = data.bands.find((each) => data.xs[index] >= each.start && data.xs[index] < each.end);
      const sum = data.stacked ? `: ${formatBytes(lines.reduce((total, line) => total + line.y, 0))}` : "";
      const title = data.stacked && band ? band.name : `${data.label} ${data.xs[index].toLocaleString("en-US")}`;
      return [element("b", title + sum), ...rows];
    }

    function read(index, y) {
      current = index;
      const bounds = box.getBoundingClientRect();
      const x = toView(places[index]);
      crosshair.hidden = x < 0 || x > 1;
      crosshair.style.left = `${100 * x}%`;
      showTip(rowsOf(index), bounds.left + x * bounds.width, y ?? bounds.top + 20);
    }

    function leave() { crosshair.hidden = true; current = null; hideTip(); }

    function drawTicks() {
      const holder = part(".x-ticks");
      const visible = data.xs.filter((_, index) => toView(places[index]) >= 0 && toView(places[index]) <= 1);
      const wanted = data.stacked ? [visible[0], visible[visible.length - 1]] : visible;
      const kept = [];
      [...new Set(wanted)].filter((x) => x !== undefined).reverse().forEach((x) => {
        const at = toView(places[data.xs.indexOf(x)]);
        if (!kept.length || kept[kept.length - 1].at - at >= LEAST_GAP) kept.push({ x, at });
      });
      holder.replaceChildren(...kept.reverse().map(({ x, at }) => {
        const label = element("span", x.toLocaleString("en-US"));
        label.style.left = `${100 * at}%`;
        label.classList.toggle("start", at < 0.06);
        label.classList.toggle("end", at > 0.94);
        return label;
      }));
    }

    function show(from, to) {
      view = [Math.max(0, from), Math.min(SPAN, to)];
      const scale = SPAN / (view[1] - view[0]);
      chart.querySelectorAll(".zoomed").forEach((group) => {
        group.setAttribute("transform", `scale(${scale} 1) translate(${-view[0]} 0)`);
      });
      chart.querySelectorAll(".mark-label").forEach((label) => {
        const at = toView(Number(label.dataset.at));
        label.hidden = at < 0 || at > 1;
        label.style.left = `${100 * at}%`;
        label.classList.toggle("left", at > 0.5);
      });
      chart.querySelectorAll(".band-names span").forEach((name) => {
        const [start, end] = [name.dataset.start, name.dataset.end].map((at) => Math.min(1, Math.max(0, toView(Number(at)))));
        name.style.left = `${100 * start}%`;
        name.style.width = `${100 * (end - start)}%`;
      });
      drawTicks();
      all.disabled = view[0] === 0 && view[1] === SPAN;
      if (current !== null) read(current);
    }

    const showAll = () => show(0, SPAN);

    function zoomAround(at, factor) {
      const half = Math.min(SPAN / 2, ((view[1] - view[0]) * factor) / 2);
      if (half < 1) return;
      const middle = Math.min(Math.max(at, half), SPAN - half);
      show(middle - half, middle + half);
    }

    let dragged = null; // the start of a drag, as a share of the box
    box.addEventListener("pointerdown", (event) => {
      if (event.pointerType === "touch") return; // a finger scrolls the page, and reads values with a tap
      dragged = fromPointer(event);
      box.setPointerCapture(event.pointerId);
    });
    box.addEventListener("pointermove", (event) => {
      const at = fromPointer(event);
      read(nearest(view[0] + at * (view[1] - view[0])), event.clientY);
      if (dragged === null) return;
      selection.hidden = Math.abs(at - dragged) < 0.01;
      selection.style.left = `${100 * Math.min(at, dragged)}%`;
      selection.style.width = `${100 * Math.abs(at - dragged)}%`;
    });
    box.addEventListener("pointerup", (event) => {
      const at = fromPointer(event);
      const began = dragged;
      dragged = null;
      selection.hidden = true;
      if (began === null || Math.abs(at - began) < 0.01) {
        read(nearest(view[0] + at * (view[1] - view[0])), event.clientY);
        return;
      }
      const width = view[1] - view[0];
      show(view[0] + Math.min(at, began) * width, view[0] + Math.max(at, began) * width);
    });
    box.addEventListener("pointercancel", () => { dragged = null; selection.hidden = true; });
    // A finger leaves right after the tap; the values stay until the next tap elsewhere.
    box.addEventListener("pointerleave", (event) => { if (dragged === null && event.pointerType !== "touch") leave(); });
    document.addEventListener("pointerdown", (event) => { if (current !== null && !box.contains(event.target)) leave(); });
    box.addEventListener("dblclick", showAll);
    all.addEventListener("click", showAll);
    plot.addEventListener("blur", leave);
    plot.addEventListener("keydown", (event) => {
      const visible = data.xs.map((_, index) => index).filter((index) => toView(places[index]) >= 0 && toView(places[index]) <= 1);
      const [first, last] = [visible[0], visible[visible.length - 1]];
      const step = event.shiftKey ? 10 : 1;
      const moves = {
        ArrowRight: () => read(current === null ? first : Math.min(last, current + step)),
        ArrowLeft: () => read(current === null ? last : Math.max(first, current - step)),
        Home: () => read(first),
        End: () => read(last),
        "+": () => zoomAround(places[current ?? nearest((view[0] + view[1]) / 2)], 0.5),
        "-": () => zoomAround((view[0] + view[1]) / 2, 2),
        0: showAll,
        Escape: leave,
      };
      if (!(event.key in moves) || !visible.length || event.ctrlKey || event.metaKey || event.altKey) return;
      event.preventDefault();
      moves[event.key]();
    });
    part(".controls").hidden = false;
  }

  document.querySelectorAll(".chart").forEach(setUpChart);
})();
