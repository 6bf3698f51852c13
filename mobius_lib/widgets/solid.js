// Bodies in space, seen from the front: x to the right, y up, z to the viewer.
export function turned(p, [yaw, pitch]) { // about the upright axis, then about the level one
  const [x, y, z] = p, cy = Math.cos(yaw), sy = Math.sin(yaw), cp = Math.cos(pitch), sp = Math.sin(pitch);
  const x1 = cy * x + sy * z, z1 = cy * z - sy * x;
  return [x1, cp * y - sp * z1, sp * y + cp * z1];
}

// A pointer that is dragged over a canvas sets the trait `turn`, 100 pixels a radian.
function turnable({ model, on, write }, canvas, when = () => true) {
  let last = null;
  on(canvas, "pointerdown", (e) => {
    if (e.button || !when()) return;
    last = [e.clientX, e.clientY];
    canvas.setPointerCapture(e.pointerId);
  });
  on(canvas, "pointermove", (e) => {
    if (!last) return;
    const [yaw, pitch] = model.get("turn"), around = yaw + (e.clientX - last[0]) / 100;
    const tilt = clamp(pitch + (e.clientY - last[1]) / 100, -1.6, 1.6);
    last = [e.clientX, e.clientY];
    write({ turn: [around - 2 * Math.PI * Math.round(around / (2 * Math.PI)), tilt] });
  });
  for (const end of ["pointerup", "pointercancel"]) on(canvas, end, () => { last = null; });
}

