// A soft digit: how much x lies in the left, the middle and the right third (mobius_lib.cantor.math.triadic).
export const triadic = (x, tau) => [...thirds(x, tau)];

const P = new Float64Array(3);
function thirds(x, tau) { // the same in P, which the next call overwrites: a picture asks a hundred thousand times
  const l = (2 * (1 - 3 * x)) / tau, r = (2 * (3 * x - 2)) / tau, top = Math.max(l, 0, r);
  const left = Math.exp(l - top), mid = Math.exp(-top), right = Math.exp(r - top), sum = left + mid + right;
  P[0] = left / sum;
  P[1] = mid / sum;
  P[2] = right / sum;
  return P;
}

