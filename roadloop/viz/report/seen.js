// What the driver saw: pictures with boxes over them, and two views from above, seen and true.

const ROLE = { detected: 0, found: 1, missed: 2, hidden: 3 };
const TRUTH = { found: 0, missed: 1, hidden: 2, beyond: 3 };
const TOLD = { right: 0, wrong: 1, aside: 2 };
const SEEN = { missed: "#ff5a5a", wrong: "#ffd166", truth: "#ffffff", hidden: "#98a3ad", plate: "rgba(8, 11, 14, 0.72)" };
const KEPT_PICTURES = 80; // decoded ones that are held ready

class Seen {
  constructor(drive, refresh) {
    this.drive = drive;
    this.data = drive.seen;
    if (!this.data) return;
    this.refresh = refresh;
    this.pictures = new Map();
    this.drawn = ""; // what is on the page now
    this.cameras = this.#cameras();
    this.#key();
    for (const id of ["seen-found", "seen-true", "seen-hidden"]) {
      find(id).addEventListener("change", () => refresh());
    }
    for (const box of document.querySelectorAll("[data-seen-kind]")) {
      box.addEventListener("change", () => {
        for (const row of document.querySelectorAll(`#seen-events tr[data-kind="${box.dataset.seenKind}"]`)) {
          row.hidden = !box.checked;
        }
      });
    }
  }

  // A canvas for each camera that pictures were kept of.
  #cameras() {
    const found = [];
    const shown = this.data.pictures.some((frame) => frame.some((picture) => picture));
    const put = (k, where) => {
      const camera = this.data.cameras[k];
      const figure = document.createElement("figure");
      const canvas = document.createElement("canvas");
      canvas.setAttribute("role", "img");
      canvas.setAttribute("aria-label", `Camera ${camera.name} with what was found and what was there`);
      canvas.style.aspectRatio = `${camera.width} / ${camera.height}`;
      const caption = document.createElement("figcaption");
      caption.textContent = camera.name;
      figure.append(canvas, caption);
      where.append(figure);
      found.push({ k, canvas, camera });
    };
    if (!shown) find("seen-wall").hidden = true;
    else {
      find("seen-wall").style.setProperty("--columns", Math.max(...this.data.rows.map((row) => row.length)));
      for (const row of this.data.rows) for (const k of row) put(k, find("seen-wall"));
      for (const k of this.data.narrow) put(k, find("seen-narrow"));
    }
    for (const figure of document.querySelectorAll(".seen-above")) figure.hidden = !this.data.rasters.length;
    return found;
  }

  #key() {
    const { classes, colours, layers } = this.data;
    const say = (text, kind, colour) => {
      const item = document.createElement("li");
      const mark = document.createElement("i");
      mark.className = kind;
      mark.style.setProperty("--colour", colour);
      if (colour) item.append(mark);
      else item.className = kind;
      item.append(text);
      find("seen-key").append(item);
    };
    say("road users", "what");
    classes.forEach((name, i) => say(name, "box", colours[i]));
    say("false alarm", "box", SEEN.wrong);
    say("map", "what");
    for (const [name, colour] of layers) say(name, "area", colour);
  }

  layout() {
    if (!this.data) return;
    const ratio = window.devicePixelRatio || 1;
    const { xMin, xMax, yMin, yMax } = this.data.grid;
    for (const id of ["seen-raster", "seen-truth"]) find(id).style.aspectRatio = `${yMax - yMin} / ${xMax - xMin}`;
    for (const canvas of [...this.cameras.map((one) => one.canvas), find("seen-raster"), find("seen-truth")]) {
      canvas.width = Math.round(canvas.clientWidth * ratio);
      canvas.height = Math.round(canvas.clientHeight * ratio);
    }
    this.drawn = "";
  }

  get choice() {
    return { found: find("seen-found").checked, truth: find("seen-true").checked, hidden: find("seen-hidden").checked };
  }

  draw(step, ground, palette) {
    if (!this.data) return;
    const moment = this.drive.seenMoment[splitStep(this.drive, step)[0]];
    const frames = this.drive.seenFrame;
    let f = -1;
    while (f + 1 < frames.length && frames[f + 1] <= moment) f++;
    this.#counts(f < 0 ? moment : frames[f]); // of what is shown beside them
    const choice = this.choice;
    const key = `${f} ${Object.values(choice)}`;
    if (key === this.drawn || f < 0) return;
    const raster = this.#picture(`r${f}`, this.data.rasters[f], "png");
    const pictures = this.cameras.map(({ k }) => this.#picture(`${f}/${k}`, this.data.pictures[f][k], "jpeg"));
    if ([raster, ...pictures].some((image) => image && !image.complete)) return; // drawn once they are there
    this.drawn = key;
    this.cameras.forEach((one, i) => this.#drawCamera(one, pictures[i], f, choice));
    this.#drawSeen(f, raster, palette, choice);
    this.#drawTruth(f, ground, palette, choice);
    if (f + 1 < frames.length) {
      this.#picture(`r${f + 1}`, this.data.rasters[f + 1], "png");
      for (const { k } of this.cameras) this.#picture(`${f + 1}/${k}`, this.data.pictures[f + 1][k], "jpeg");
    }
  }

  // A picture by its name, decoded when it is first asked for.
  #picture(name, data, kind) {
    if (!data) return null;
    let image = this.pictures.get(name);
    if (!image) {
      image = new Image();
      image.onload = this.refresh;
      image.src = `data:image/${kind};base64,${data}`;
      this.pictures.set(name, image);
      if (this.pictures.size > KEPT_PICTURES) this.pictures.delete(this.pictures.keys().next().value);
    }
    return image;
  }

  #drawCamera({ k, canvas, camera }, image, f, choice) {
    const context = canvas.getContext("2d");
    const ratio = window.devicePixelRatio || 1;
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.fillStyle = "#1b2025";
    context.fillRect(0, 0, canvas.width, canvas.height);
    if (!image) return;
    context.imageSmoothingQuality = "high";
    context.drawImage(image, 0, 0, canvas.width, canvas.height);
    const scale = canvas.width / camera.width;
    const at = f * this.data.cameras.length + k;
    const { seenBoxStart, seenBoxRole, seenLampStart } = this.drive;
    const labels = [];
    for (let b = seenBoxStart[at]; b < seenBoxStart[at + 1]; b++) {
      const role = seenBoxRole[b];
      if (role === ROLE.detected ? !choice.found : role === ROLE.hidden ? !choice.hidden : !choice.truth) continue;
      const box = this.#wireframe(context, b, scale, ratio);
      if (role === ROLE.detected) labels.push(box);
    }
    if (choice.found) {
      for (let l = seenLampStart[at]; l < seenLampStart[at + 1]; l++) labels.push(this.#lamp(context, l, scale, ratio));
      this.#labels(context, canvas, labels, ratio);
    }
  }

  #wireframe(context, b, scale, ratio) {
    const { seenBoxRole, seenBoxLabel, seenBoxScore, seenBoxLines, seenLines } = this.drive;
    const role = seenBoxRole[b];
    const colour = this.data.colours[seenBoxLabel[b]];
    const path = new Path2D();
    let [left, top] = [Infinity, Infinity];
    for (let i = seenBoxLines[b]; i < seenBoxLines[b + 1]; i++) {
      const [x0, y0, x1, y1] = [0, 1, 2, 3].map((c) => (seenLines[4 * i + c] + 0.5) * scale);
      path.moveTo(x0, y0);
      path.lineTo(x1, y1);
      left = Math.min(left, x0, x1);
      top = Math.min(top, y0, y1);
    }
    const styles = {
      [ROLE.detected]: [colour, 1.6, []],
      [ROLE.found]: [SEEN.truth, 1, [4, 3]],
      [ROLE.missed]: [SEEN.missed, 1.4, [4, 3]],
      [ROLE.hidden]: [SEEN.hidden, 0.8, [1.5, 3]],
    };
    const [ink, width, dash] = styles[role];
    context.setLineDash(dash.map((length) => length * ratio));
    context.strokeStyle = ink;
    context.lineWidth = width * ratio;
    context.stroke(path);
    context.setLineDash([]);
    return { left, top, colour, text: `${this.data.classes[seenBoxLabel[b]]} ${(seenBoxScore[b] / 100).toFixed(2)}`, rank: seenBoxScore[b] };
  }

  #lamp(context, l, scale, ratio) {
    const { seenLampBox, seenLampState, seenLampScore } = this.drive;
    const { lamp } = this.drive.palette;
    const colour = [lamp[0], lamp[1], lamp[3], lamp[4]][seenLampState[l]];
    const [x, y, w, h] = [0, 1, 2, 3].map((c) => seenLampBox[4 * l + c] * scale);
    context.strokeStyle = colour;
    context.lineWidth = 2 * ratio;
    context.strokeRect(x, y, Math.max(w, 4 * ratio), Math.max(h, 4 * ratio));
    return { left: x, top: y, colour, text: `${this.data.lamps[seenLampState[l]]} ${(seenLampScore[l] / 100).toFixed(2)}`, rank: 101 };
  }

  // The surest first; what would lie on another label is left out.
  #labels(context, canvas, labels, ratio) {
    context.font = `${10.5 * ratio}px ${this.font || "sans-serif"}`;
    context.textBaseline = "middle";
    context.textAlign = "left";
    const high = 14 * ratio;
    const taken = [];
    for (const { left, top, colour, text, rank } of labels.sort((a, b) => b.rank - a.rank)) {
      const wide = context.measureText(text).width + 8 * ratio;
      const x = Math.max(0, Math.min(canvas.width - wide, left));
      const y = Math.max(0, Math.min(canvas.height - high, top - high - 2 * ratio));
      if (taken.some(([u, v, w]) => x < u + w && u < x + wide && Math.abs(y - v) < high)) continue;
      taken.push([x, y, wide, rank]);
      context.fillStyle = SEEN.plate;
      context.fillRect(x, y, wide, high);
      context.fillStyle = colour;
      context.fillRect(x, y, 2 * ratio, high);
      context.fillStyle = "#f2f5f7";
      context.fillText(text, x + 5 * ratio, y + high / 2 + 0.5 * ratio);
    }
  }

  // The ego frame of a moment, ahead is up: metres of the world to pixels of the canvas.
  #lookDown(context, canvas, moment) {
    const { seenPose, seenHeading } = this.drive;
    const { xMax, yMin, yMax } = this.data.grid;
    const k = canvas.width / (yMax - yMin);
    const [ex, ey] = [seenPose[2 * moment], seenPose[2 * moment + 1]];
    const [c, s] = [Math.cos(seenHeading[moment]), Math.sin(seenHeading[moment])];
    const [a, b, cc, d] = [k * s, -k * c, -k * c, -k * s];
    context.setTransform(a, b, cc, d, yMax * k - (a * ex + cc * ey), xMax * k - (b * ex + d * ey));
    return { scale: k, x: ex, y: ey };
  }

  #drawSeen(f, image, palette, choice) {
    const canvas = find("seen-raster");
    const context = this.#cleared(canvas, palette.dark.ground);
    const moment = this.drive.seenFrame[f];
    const from = this.drive.seenRaster[f];
    const { scale } = this.#lookDown(context, canvas, moment);
    if (image) {
      const { xMin, xMax, yMax } = this.data.grid;
      const cell = (xMax - xMin) / image.naturalHeight;
      context.save();
      context.translate(this.drive.seenPose[2 * from], this.drive.seenPose[2 * from + 1]);
      context.rotate(this.drive.seenHeading[from]);
      context.transform(0, -cell, -cell, 0, xMax, yMax);
      context.imageSmoothingEnabled = false;
      context.drawImage(image, 0, 0);
      context.restore();
    }
    if (choice.truth) this.#outlines(context, "seenTruth", moment, scale, (i) => this.#truthStyle(i, choice, true));
    if (choice.found) this.#outlines(context, "seenTrack", moment, scale, (i) => this.#trackStyle(i));
    this.#ego(context, moment, scale, palette);
  }

  #drawTruth(f, ground, palette, choice) {
    const canvas = find("seen-truth");
    const context = this.#cleared(canvas, palette.dark.ground);
    const moment = this.drive.seenFrame[f];
    const { scale, x, y } = this.#lookDown(context, canvas, moment);
    ground.draw(context, [x - 80, y - 80, x + 80, y + 80], scale, { ...palette, ...palette.dark });
    this.#outlines(context, "seenTruth", moment, scale, (i) => this.#truthStyle(i, choice, false));
    this.#ego(context, moment, scale, palette);
  }

  #cleared(canvas, colour) {
    const context = canvas.getContext("2d");
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.fillStyle = colour;
    context.fillRect(0, 0, canvas.width, canvas.height);
    return context;
  }

  #trackStyle(i) {
    const state = this.drive.seenTrackState[i];
    const colour = this.data.colours[this.drive.seenTrackLabel[i]];
    if (state === TOLD.wrong) return { line: SEEN.wrong, fill: SEEN.wrong, alpha: 0.25, width: 1.8, dash: [3, 2] };
    return { line: colour, fill: colour, alpha: state === TOLD.right ? 0.35 : 0.08, width: 1.8, dash: [] };
  }

  #truthStyle(i, choice, thin) {
    const state = this.drive.seenTruthState[i];
    const colour = this.data.colours[this.drive.seenTruthLabel[i]];
    if (state === TRUTH.missed) return { line: SEEN.missed, fill: SEEN.missed, alpha: thin ? 0 : 0.3, width: thin ? 1 : 2, dash: thin ? [4, 3] : [] };
    if (state !== TRUTH.found) return choice.hidden ? { line: SEEN.hidden, fill: SEEN.hidden, alpha: 0, width: 1, dash: [2, 3] } : null;
    if (thin) return { line: SEEN.truth, fill: colour, alpha: 0, width: 1, dash: [4, 3] };
    return { line: colour, fill: colour, alpha: 0.75, width: 1, dash: [] };
  }

  // Boxes of a moment from above, with a tick where they head for and a line for their speed.
  #outlines(context, name, moment, scale, styleOf) {
    const { drive } = this;
    const ratio = window.devicePixelRatio || 1;
    const [start, xy, heading, size, speed] = ["Start", "XY", "Heading", "Size", "Speed"].map((part) => drive[name + part]);
    for (let i = start[moment]; i < start[moment + 1]; i++) {
      const style = styleOf(i);
      if (!style) continue;
      const [length, width] = [size[2 * i], size[2 * i + 1]].map((m) => Math.max(m, 5 / scale));
      const pixel = ratio / scale;
      context.save();
      context.translate(xy[2 * i], xy[2 * i + 1]);
      context.strokeStyle = style.line;
      context.lineWidth = style.width * pixel;
      const [vx, vy] = [speed[2 * i], speed[2 * i + 1]];
      if (Math.hypot(vx, vy) > 0.5 && style.width > 1.5) line(context, 0, 0, vx, vy); // where it is in 1 s
      context.rotate(heading[i]);
      context.setLineDash(style.dash.map((part) => part * pixel));
      context.beginPath();
      context.rect(-length / 2, -width / 2, length, width);
      context.fillStyle = style.fill;
      context.globalAlpha = style.alpha;
      context.fill();
      context.globalAlpha = 1;
      context.stroke();
      context.setLineDash([]);
      context.restore();
    }
  }

  #ego(context, moment, scale, palette) {
    const { vehicle, seenPose, seenHeading } = this.drive;
    const pose = { x: seenPose[2 * moment], y: seenPose[2 * moment + 1], heading: seenHeading[moment] };
    placed(context, pose, () => {
      context.translate(vehicle.offset, 0);
      rounded(context, vehicle.length, vehicle.width, 0.5);
      context.fillStyle = palette.dark.ego;
      context.fill();
      context.strokeStyle = palette.dark.ego_outline;
      context.lineWidth = 1.2 / scale;
      context.stroke();
    });
  }

  // On the replay's own map: who is missed now, and what is made up.
  drawMarks(context, step, scale) {
    if (!this.data) return;
    const moment = this.drive.seenMoment[splitStep(this.drive, step)[0]];
    if (moment < 0) return;
    const only = (state, style) => (i, of) => (of[i] === state ? style : null);
    const missed = only(TRUTH.missed, { line: SEEN.missed, fill: SEEN.missed, alpha: 0, width: 2.4, dash: [] });
    const wrong = only(TOLD.wrong, { line: SEEN.wrong, fill: SEEN.wrong, alpha: 0.2, width: 1.4, dash: [3, 2] });
    if (this.choice.truth) this.#outlines(context, "seenTruth", moment, scale, (i) => missed(i, this.drive.seenTruthState));
    if (this.choice.found) this.#outlines(context, "seenTrack", moment, scale, (i) => wrong(i, this.drive.seenTrackState));
  }

  #counts(moment) {
    if (moment === this.counted) return;
    this.counted = moment;
    const { drive } = this;
    const count = (name, state) => {
      let n = 0;
      if (moment < 0) return n;
      for (let i = drive[`${name}Start`][moment]; i < drive[`${name}Start`][moment + 1]; i++) n += drive[`${name}State`][i] === state;
      return n;
    };
    const found = count("seenTruth", TRUTH.found);
    const missed = count("seenTruth", TRUTH.missed);
    const rows = [
      ["seen at", moment < 0 ? "–" : `${this.data.times[moment].toFixed(1)} s`],
      ["visible", found + missed],
      ["found", found],
      ["missed", missed],
      ["false", count("seenTrack", TOLD.wrong)],
      ["hidden", count("seenTruth", TRUTH.hidden)],
    ];
    find("seen-counts").replaceChildren(
      ...rows.map(([label, value]) => {
        const row = document.createElement("div");
        const [term, detail] = ["dt", "dd"].map((tag) => document.createElement(tag));
        term.textContent = label;
        detail.textContent = value;
        if (label === "missed" && value > 0) row.className = "is-missed";
        if (label === "false" && value > 0) row.className = "is-false";
        row.append(term, detail);
        return row;
      }),
    );
  }
}
