// The held-out pictures that a trained network is judged on, as its reader sees and chooses them.

const SHOWN = 2; // thumbnails a class

const ink = (r, g, b) => (255 << 24) | (b << 16) | (g << 8) | r;

function image(W, H, pixel) { // pixel(x, y) gives an ink
  const c = el("canvas", { width: W, height: H }), g = c.getContext("2d"), img = g.createImageData(W, H);
  const pixels = new Uint32Array(img.data.buffer);
  for (let n = 0; n < W * H; n++) pixels[n] = pixel(n % W, Math.floor(n / W));
  g.putImageData(img, 0, 0);
  return c;
}

const grey = (bytes, side) => image(side, side, (x, y) => ink(...Array(3).fill(bytes[side * y + x])));

function thumbnails({ button, write }, names, labels, face) { // face(row) gives a canvas
  const rows = names.flatMap((_, c) => labels.flatMap((label, row) => (label === c ? [row] : [])).slice(0, SHOWN));
  return rows.map((row) => {
    const b = button(() => write({ picture: row }), face(row));
    b.ariaLabel = `${names[labels[row]]}, picture ${row}`;
    return { b, row };
  });
}

function nextWrong(classes, labels, from) { // the next picture that is named wrongly; where none is, the same
  const rows = classes.flatMap((c, row) => (c === labels[row] ? [] : [row]));
  return rows.find((row) => row > from) ?? rows[0] ?? from;
}
