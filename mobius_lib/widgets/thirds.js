// A soft digit: how much x lies in the left, the middle and the right third (mobius_lib.cantor.math.triadic).
export function triadic(x, tau) {
  const l = (2 * (1 - 3 * x)) / tau, r = (2 * (3 * x - 2)) / tau, top = Math.max(l, 0, r);
  const left = Math.exp(l - top), mid = Math.exp(-top), right = Math.exp(r - top), sum = left + mid + right;
  return [left / sum, mid / sum, right / sum];
}

