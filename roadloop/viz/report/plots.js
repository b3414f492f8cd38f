// The curves: drawn once per size and theme, with a cursor that follows the clock and can be dragged.

const GUTTER = { left: 40, right: 10, top: 8, bottom: 20 }; // px around the plot area

class Plot {
  constructor(drive, plot, lost, seek) {
    this.drive = drive;
    this.plot = plot;
    this.lost = lost;
    this.curves = plot.curves.map((curve) => ({ ...curve, values: drive[curve.array] }));
    this.range = plot.range || valueRange(plot, this.curves);
    this.figure = document.createElement("figure");
    this.figure.className = "plot";
    const caption = document.createElement("figcaption");
    const title = document.createElement("strong");
    title.textContent = plot.title;
    caption.append(title);
    this.readings = this.curves.map((curve, i) => {
      const reading = document.createElement("span");
      reading.className = `reading curve-${i}`;
      caption.append(reading);
      return reading;
    });
    this.canvas = document.createElement("canvas");
    this.canvas.setAttribute("role", "img");
    const [low, high] = this.range.map((value) => number(value));
    this.canvas.setAttribute("aria-label", `${plot.title} over time, ${low} to ${high} ${plot.unit}`);
    this.figure.append(caption, this.canvas);
    this.#scrubs(seek);
  }

  #scrubs(seek) {
    const at = (event) => {
      const width = this.canvas.clientWidth - GUTTER.left - GUTTER.right;
      const share = (event.offsetX - GUTTER.left) / width;
      seek(Math.max(0, Math.min(1, share)) * (this.drive.steps - 1));
    };
    this.canvas.addEventListener("pointerdown", (event) => {
      this.canvas.setPointerCapture(event.pointerId);
      at(event);
    });
    this.canvas.addEventListener("pointermove", (event) => {
      if (this.canvas.hasPointerCapture(event.pointerId)) at(event);
    });
  }

  // Draws what does not change with the clock.
  layout(colours) {
    this.colours = colours;
    const ratio = window.devicePixelRatio || 1;
    const [w, h] = [this.canvas.clientWidth, this.canvas.clientHeight];
    this.still = null;
    if (!w || !h) return; // not on the page yet
    [this.width, this.height] = [w, h];
    this.canvas.width = Math.round(w * ratio);
    this.canvas.height = Math.round(h * ratio);
    this.still = document.createElement("canvas");
    this.still.width = this.canvas.width;
    this.still.height = this.canvas.height;
    const context = this.still.getContext("2d");
    context.scale(ratio, ratio);
    this.#axes(context, w, h);
    this.#lost(context, h);
    if (this.curves.every(({ values }) => values.every(Number.isNaN))) {
      context.fillStyle = colours.label;
      context.textAlign = "center";
      context.fillText("no value in this drive", w / 2, h / 2);
    }
    this.curves.forEach((curve, i) => this.#curve(context, curve.values, colours.curves[i], i));
  }

  #px(step) {
    const width = this.width - GUTTER.left - GUTTER.right;
    return GUTTER.left + (step / Math.max(1, this.drive.steps - 1)) * width;
  }

  #py(value) {
    const height = this.height - GUTTER.top - GUTTER.bottom;
    const [low, high] = this.range;
    return GUTTER.top + (1 - (value - low) / (high - low)) * height;
  }

  #axes(context, w, h) {
    context.font = `11px ${this.colours.font}`;
    context.fillStyle = this.colours.label;
    context.lineWidth = 1;
    context.textAlign = "right";
    context.textBaseline = "middle";
    for (const value of ticks(...this.range, 4)) {
      const y = Math.round(this.#py(value)) + 0.5;
      context.strokeStyle = value === 0 ? this.colours.zero : this.colours.grid;
      line(context, GUTTER.left, y, w - GUTTER.right, y);
      context.fillText(number(value), GUTTER.left - 6, y);
    }
    context.textAlign = "center";
    context.textBaseline = "alphabetic";
    const from = timeOf(this.drive, 0);
    const until = timeOf(this.drive, this.drive.steps - 1);
    for (const time of ticks(from, until, Math.max(3, w / 80))) {
      const x = this.#px(stepOf(this.drive, time));
      context.fillText(`${number(time)} s`, Math.min(x, w - GUTTER.right - 8), h - 5);
    }
  }

  #lost(context, h) {
    context.strokeStyle = this.colours.lost;
    context.lineWidth = 1;
    context.setLineDash([3, 3]);
    for (const time of this.lost) {
      const x = this.#px(stepOf(this.drive, time));
      line(context, x, GUTTER.top, x, h - GUTTER.bottom);
    }
    context.setLineDash([]);
  }

  #curve(context, values, colour, i) {
    context.save();
    context.beginPath();
    const [w, h] = [this.width, this.height];
    context.rect(GUTTER.left, GUTTER.top - 2, w, h - GUTTER.top - GUTTER.bottom + 4);
    context.clip();
    context.strokeStyle = colour;
    context.lineWidth = i === 0 ? 1.8 : 1.4;
    context.lineJoin = "round";
    if (i > 0) context.setLineDash([5, 3]);
    context.beginPath();
    let open = false;
    for (let k = 0; k < values.length; k++) {
      if (Number.isNaN(values[k])) {
        open = false;
        continue;
      }
      if (open) context.lineTo(this.#px(k), this.#py(values[k]));
      else context.moveTo(this.#px(k), this.#py(values[k]));
      open = true;
    }
    context.stroke();
    context.restore();
  }

  draw(step) {
    if (!this.still) return;
    const ratio = window.devicePixelRatio || 1;
    const context = this.canvas.getContext("2d");
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.clearRect(0, 0, this.canvas.width, this.canvas.height);
    context.drawImage(this.still, 0, 0);
    context.scale(ratio, ratio);
    const x = this.#px(step);
    context.strokeStyle = this.colours.cursor;
    context.lineWidth = 1.2;
    line(context, x, GUTTER.top, x, this.height - GUTTER.bottom);
    const k = Math.round(step);
    this.curves.forEach((curve, i) => {
      const value = curve.values[k];
      const known = !Number.isNaN(value);
      const shown = known ? `${number(value, this.plot.digits ?? 1)} ${this.plot.unit}`.trim() : "–";
      this.readings[i].textContent = this.curves.length > 1 ? `${curve.label} ${shown}` : shown;
      const inside = value >= this.range[0] && value <= this.range[1];
      if (known && inside) disc(context, x, this.#py(value), 3, this.colours.curves[i]);
    });
  }
}

// Lowest and highest value with room around them, at least `span` about zero or down to `least`.
function valueRange(plot, curves) {
  let [low, high] = [Infinity, -Infinity];
  for (const { values } of curves) {
    for (const value of values) {
      if (value < low) low = value;
      if (value > high) high = value;
    }
  }
  if (low > high) [low, high] = [0, 1];
  if (plot.span) [low, high] = [Math.min(low, -plot.span), Math.max(high, plot.span)];
  if (plot.least !== undefined) low = Math.min(low, plot.least);
  const room = 0.06 * Math.max(high - low, 1e-3);
  return [low < 0 || plot.least === undefined ? low - room : low, high + room];
}

// Round values between low and high, about `count` of them.
function ticks(low, high, count) {
  const rough = (high - low) / count || 1;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((m) => m * power).find((candidate) => candidate >= 0.7 * rough);
  const found = [];
  for (let i = Math.ceil(low / step - 1e-9); i * step <= high + 1e-9 * step; i++) found.push(i * step);
  return found;
}

// With `digits` given always that many, else at most two; with a true minus sign and no "−0".
function number(value, digits) {
  const rounded = Number(value.toFixed(digits ?? 2)) + 0;
  return (digits === undefined ? String(rounded) : rounded.toFixed(digits)).replace("-", "−");
}
