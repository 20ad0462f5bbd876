"use strict";
// Conveniences only: without this script the page shows the same things.

// Tables sort by a click on a heading; data-v holds the value behind what is shown.
for (const table of document.querySelectorAll("table.sortable")) {
  table.classList.add("live");
  const body = table.tBodies[0];
  const value = (row, column) => {
    const cell = row.cells[column];
    const text = (cell.dataset.v ?? cell.textContent).trim().replace("−", "-");
    const number = Number(text);
    return text !== "" && !Number.isNaN(number) ? number : text;
  };
  [...table.tHead.rows[0].cells].forEach((head, column) => {
    head.tabIndex = 0;
    const sort = () => {
      const direction = head.dataset.dir === "1" ? -1 : 1;
      for (const other of table.tHead.rows[0].cells) delete other.dataset.dir;
      head.dataset.dir = direction;
      const rows = [...body.rows].map((row) => [value(row, column), row]);
      rows.sort(([a], [b]) => {
        const numbers = typeof a === "number" && typeof b === "number";
        // what has no number stays at the end, whichever way it is sorted
        if (typeof a !== typeof b) return typeof a === "number" ? -1 : 1;
        return direction * (numbers ? a - b : String(a).localeCompare(String(b)));
      });
      body.append(...rows.map(([, row]) => row));
    };
    head.addEventListener("click", sort);
    head.addEventListener("keydown", (event) => { if (event.key === "Enter") sort(); });
  });
}

for (const input of document.querySelectorAll("input[data-filter]")) {
  const table = document.getElementById(input.dataset.filter);
  input.addEventListener("input", () => {
    const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
    for (const row of table.tBodies[0].rows) {
      const text = row.textContent.toLowerCase();
      row.hidden = !words.every((word) => text.includes(word));
    }
  });
}

// Cells turn when dragged. Every element carries its coordinates in data-p (Å).
for (const svg of document.querySelectorAll("svg.cell")) {
  const scale = Number(svg.dataset.scale);
  let turn = svg.dataset.turn.split(" ").map(Number);
  const group = svg.querySelector("g");
  const triad = svg.querySelector(".triad");
  const read = (node) => node.dataset.p.split(" ").map(Number);
  const parts = [...group.children].map((node) => [node, read(node)]);
  const axes = [...triad.querySelectorAll("line")].map((node) => [node, read(node)]);
  const seen = (p, at = 0) => [0, 3, 6].map(
    (r) => turn[r] * p[at] + turn[r + 1] * p[at + 1] + turn[r + 2] * p[at + 2]);
  const set = (node, values) => {
    for (const [name, v] of Object.entries(values)) node.setAttribute(name, v.toFixed(1));
  };
  const draw = () => {
    const order = parts.map(([node, p]) => {
      const [x, y, z] = seen(p);
      if (p.length === 3) {
        set(node, { cx: x * scale, cy: -y * scale });
        return [z, node];
      }
      const [u, v, w] = seen(p, 3);
      set(node, { x1: x * scale, y1: -y * scale, x2: u * scale, y2: -v * scale });
      return [node.classList.contains("e") ? -Infinity : (z + w) / 2, node];
    });
    order.sort(([a], [b]) => a - b);
    group.append(...order.map(([, node]) => node));
    for (const [node, p] of axes) {
      const [x, y] = seen(p);
      set(node, { x2: 20 * x, y2: -20 * y });
      set(node.nextElementSibling, { x: 28 * x, y: -28 * y });
    }
  };
  const rotate = (dx, dy) => {
    const [cx, sx, cy, sy] = [Math.cos(dy), Math.sin(dy), Math.cos(dx), Math.sin(dx)];
    const r = [cy, 0, sy, sx * sy, cx, -sx * cy, -cx * sy, sx, cx * cy];
    turn = [0, 3, 6].flatMap((i) => [0, 1, 2].map(
      (k) => r[i] * turn[k] + r[i + 1] * turn[k + 3] + r[i + 2] * turn[k + 6]));
  };
  svg.addEventListener("pointerdown", (event) => {
    let [x, y] = [event.clientX, event.clientY];
    const move = (e) => {
      rotate((e.clientX - x) / 90, (e.clientY - y) / 90);
      [x, y] = [e.clientX, e.clientY];
      draw();
    };
    svg.setPointerCapture(event.pointerId);
    svg.addEventListener("pointermove", move);
    const stop = () => svg.removeEventListener("pointermove", move);
    svg.addEventListener("pointerup", stop, { once: true });
    svg.addEventListener("pointercancel", stop, { once: true });
  });
}

// On paper nothing stays folded but the long list of structures.
addEventListener("beforeprint", () => {
  for (const folded of document.querySelectorAll("details:not(.long)")) folded.open = true;
});
