// Pure functions on one plane: `rows` × `cols` voxels, row after row. Voxel (r, c) covers [r, r + 1) × [c, c + 1).

/** The borders between unlike voxels as one Path2D (x: column, y: row), in chains, so that dashes run on; without those
 *  that label `base` has in the same place, between the same values. */
export function outline(label, rows, cols, base = null) {
  const across = new Uint8Array((rows + 1) * cols); // the edge above (r, c)
  const down = new Uint8Array(rows * (cols + 1)); // the edge left of (r, c)
  for (let r = 0; r < rows; r++) {
    for (let c = 0, i = r * cols; c < cols; c++, i++) {
      const value = label[i], above = r ? label[i - cols] : 0, left = c ? label[i - 1] : 0;
      const same = base !== null && base[i] === value;
      if (value !== above && !(same && (r ? base[i - cols] : 0) === above)) across[i] = 1;
      if (value !== left && !(same && (c ? base[i - 1] : 0) === left)) down[r * (cols + 1) + c] = 1;
      if (r === rows - 1 && value && !same) across[i + cols] = 1;
      if (c === cols - 1 && value && !same) down[r * (cols + 1) + cols] = 1;
    }
  }
  const path = new Path2D();
  const walk = (r, c) => {
    path.moveTo(c, r);
    for (let way = 0, last = 0; ; last = way) {
      const fromR = r, fromC = c;
      if (c < cols && across[r * cols + c]) across[r * cols + c++] = 0, (way = 1);
      else if (r < rows && down[r * (cols + 1) + c]) down[r++ * (cols + 1) + c] = 0, (way = 2);
      else if (c && across[r * cols + c - 1]) across[r * cols + --c] = 0, (way = 3);
      else if (r && down[(r - 1) * (cols + 1) + c]) down[--r * (cols + 1) + c] = 0, (way = 4);
      else return path.lineTo(c, r);
      if (last && way !== last) path.lineTo(fromC, fromR);
    }
  };
  for (let i = 0; i < across.length; i++) if (across[i]) walk(Math.floor(i / cols), i % cols);
  for (let i = 0; i < down.length; i++) if (down[i]) walk(Math.floor(i / (cols + 1)), i % (cols + 1));
  return path;
}

/** Marks the voxels whose centre is within `radius` of the line from a to b, and the voxel that holds b.
 *  Points are [row, col]; `step` is the size of a voxel [along rows, along cols], in the unit of `radius`. */
export function stamp(mask, [rows, cols], a, b, radius, step) {
  const [ay, ax, by, bx] = [a[0] * step[0], a[1] * step[1], b[0] * step[0], b[1] * step[1]];
  const [dy, dx] = [by - ay, bx - ax];
  const long = dy * dy + dx * dx;
  const reach = (at, size) => Math.round(at / size);
  const range = (p, q, size, n) =>
    [Math.max(0, reach(Math.min(p, q) - radius, size) - 1), Math.min(n, reach(Math.max(p, q) + radius, size) + 1)];
  const [top, bottom] = range(ay, by, step[0], rows);
  const [left, right] = range(ax, bx, step[1], cols);
  for (let r = top; r < bottom; r++) {
    for (let c = left; c < right; c++) {
      const y = (r + 0.5) * step[0] - ay, x = (c + 0.5) * step[1] - ax;
      const t = long ? Math.min(1, Math.max(0, (y * dy + x * dx) / long)) : 0;
      if ((y - t * dy) ** 2 + (x - t * dx) ** 2 <= radius * radius) mask[r * cols + c] = 1;
    }
  }
  const [r, c] = b.map(Math.floor);
  if (r >= 0 && r < rows && c >= 0 && c < cols) mask[r * cols + c] = 1;
}

/** Marks the voxels whose centre lies inside the polygon of [row, col] points (even-odd). */
export function fillPolygon(mask, [rows, cols], points) {
  for (let r = 0; r < rows; r++) {
    const y = r + 0.5, cuts = [];
    points.forEach(([r1, c1], i) => {
      const [r2, c2] = points[(i + 1) % points.length];
      if (r1 <= y !== r2 <= y) cuts.push(c1 + ((y - r1) / (r2 - r1)) * (c2 - c1));
    });
    cuts.sort((p, q) => p - q);
    for (let i = 0; i + 1 < cuts.length; i += 2) {
      const [from, to] = [cuts[i], cuts[i + 1]].map((x) => Math.min(cols, Math.max(0, Math.ceil(x - 0.5))));
      mask.fill(1, r * cols + from, r * cols + to);
    }
  }
}

/** Marks the part (joined by faces) of equal label that holds voxel (r, c). */
export function flood(mask, [rows, cols], label, [r, c]) {
  const todo = [r * cols + c], value = label[todo[0]];
  while (todo.length) {
    const i = todo.pop();
    if (mask[i] || label[i] !== value) continue;
    mask[i] = 1;
    const x = i % cols;
    if (x) todo.push(i - 1);
    if (x < cols - 1) todo.push(i + 1);
    if (i >= cols) todo.push(i - cols);
    if (i < (rows - 1) * cols) todo.push(i + cols);
  }
}

/** [row, from, to, value] of the marked voxels: columns from…to - 1. */
export function runsOf(mask, [rows, cols], value) {
  const runs = [];
  for (let r = 0; r < rows; r++) {
    for (let c = 0, from = -1; c <= cols; c++) {
      const on = c < cols && mask[r * cols + c];
      if (on && from < 0) from = c;
      else if (!on && from >= 0) runs.push([r, from, c, value]), (from = -1);
    }
  }
  return runs;
}
