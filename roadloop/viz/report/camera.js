// Where the replay looks: following the ego or free, moved by mouse, wheel, fingers and buttons.

const NEAREST = 60; // px/m
const FARTHEST = 0.4;
const MODES = ["north", "heading", "free"];

class Camera {
  constructor(canvas, changed) {
    this.canvas = canvas;
    this.changed = changed;
    this.x = 0;
    this.y = 0;
    this.angle = 0; // rad, the world is turned by this
    this.scale = 8; // px/m
    this.mode = "north";
    this.pointers = new Map();
    this.moved = 0; // px since the first finger went down: tells a tap from a drag
    canvas.addEventListener("pointerdown", (event) => this.#down(event));
    canvas.addEventListener("pointermove", (event) => this.#move(event));
    for (const end of ["pointerup", "pointercancel", "lostpointercapture"]) {
      canvas.addEventListener(end, (event) => this.pointers.delete(event.pointerId));
    }
    canvas.addEventListener("wheel", (event) => this.#wheel(event), { passive: false });
  }

  get size() {
    return [this.canvas.clientWidth, this.canvas.clientHeight];
  }

  // Centre of the view when following: the ego a little below the middle when its heading is up.
  get anchor() {
    const [w, h] = this.size;
    return [w / 2, this.mode === "heading" ? h * 0.66 : h / 2];
  }

  setMode(mode) {
    if (mode === "free" && this.mode === "heading") this.#keepCentre();
    if (mode === "north") this.angle = 0;
    this.mode = mode;
    this.changed();
  }

  // Changing the anchor must not make the picture jump.
  #keepCentre() {
    const [w, h] = this.size;
    [this.x, this.y] = this.toWorld(w / 2, h / 2);
  }

  follow(ego) {
    if (this.mode === "free") return;
    this.x = ego.x;
    this.y = ego.y;
    this.angle = this.mode === "heading" ? Math.PI / 2 - ego.heading : 0;
  }

  zoom(factor, px, py) {
    const [ax, ay] = this.anchor;
    const at = this.mode === "free" && px !== undefined ? [px, py] : [ax, ay];
    const before = this.toWorld(...at);
    this.scale = Math.max(FARTHEST, Math.min(NEAREST, this.scale * factor));
    const after = this.toWorld(...at);
    this.x += before[0] - after[0];
    this.y += before[1] - after[1];
    this.changed();
  }

  toWorld(px, py) {
    const [ax, ay] = this.anchor;
    const u = (px - ax) / this.scale;
    const v = -(py - ay) / this.scale;
    const [c, s] = [Math.cos(this.angle), Math.sin(this.angle)];
    return [this.x + c * u + s * v, this.y - s * u + c * v];
  }

  toScreen(x, y) {
    const [ax, ay] = this.anchor;
    const [c, s] = [Math.cos(this.angle), Math.sin(this.angle)];
    const [dx, dy] = [x - this.x, y - this.y];
    return [ax + this.scale * (c * dx - s * dy), ay - this.scale * (s * dx + c * dy)];
  }

  // Metres to device pixels; y points up in the world and down on the screen.
  apply(context, ratio) {
    const [ax, ay] = this.anchor;
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.translate(ax, ay);
    context.scale(this.scale, -this.scale);
    context.rotate(this.angle);
    context.translate(-this.x, -this.y);
  }

  // [x0, y0, x1, y1] around what is seen, m
  view() {
    const [w, h] = this.size;
    const corners = [[0, 0], [w, 0], [0, h], [w, h]].map(([px, py]) => this.toWorld(px, py));
    const xs = corners.map((corner) => corner[0]);
    const ys = corners.map((corner) => corner[1]);
    return [Math.min(...xs), Math.min(...ys), Math.max(...xs), Math.max(...ys)];
  }

  #down(event) {
    if (this.pointers.size === 0) this.moved = 0;
    this.pointers.set(event.pointerId, [event.offsetX, event.offsetY]);
    this.canvas.setPointerCapture(event.pointerId);
  }

  #move(event) {
    const last = this.pointers.get(event.pointerId);
    if (!last) return;
    const now = [event.offsetX, event.offsetY];
    this.moved += Math.hypot(now[0] - last[0], now[1] - last[1]);
    if (this.pointers.size === 1 && this.moved > 4) this.#drag(last, now);
    if (this.pointers.size === 2) this.#pinch(event.pointerId, last, now);
    this.pointers.set(event.pointerId, now);
  }

  #drag(last, now) {
    if (this.mode !== "free") this.setMode("free");
    const from = this.toWorld(...last);
    const to = this.toWorld(...now);
    this.x += from[0] - to[0];
    this.y += from[1] - to[1];
    this.changed();
  }

  #pinch(id, last, now) {
    const other = [...this.pointers].find(([key]) => key !== id)[1];
    const before = Math.hypot(last[0] - other[0], last[1] - other[1]);
    const after = Math.hypot(now[0] - other[0], now[1] - other[1]);
    if (before > 1) this.zoom(after / before, (now[0] + other[0]) / 2, (now[1] + other[1]) / 2);
  }

  #wheel(event) {
    event.preventDefault();
    this.zoom(Math.exp(-event.deltaY * (event.deltaMode ? 0.05 : 0.0015)), event.offsetX, event.offsetY);
  }
}
