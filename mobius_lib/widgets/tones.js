// Colours of a map: from pale to full, as pixels; and a colour of the style sheet as three numbers.
const TONES = 64;

function tones(paper, hue, from, to) {
  return Array.from({ length: TONES }, (_, n) => {
    const p = from + (n * (to - from)) / (TONES - 1), [r, g, b] = paper.map((v, i) => v + p * (hue[i] - v));
    return (255 << 24) | (b << 16) | (g << 8) | r;
  });
}

const rgb = ({ g, color }, name) => { // of a pen; a canvas gives every colour back as #rrggbb
  g.fillStyle = color(name);
  return [1, 3, 5].map((i) => parseInt(g.fillStyle.slice(i, i + 2), 16));
};
