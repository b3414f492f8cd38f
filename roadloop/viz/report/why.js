// Why this plan: the proposals of a moment, what each lost by, and who limited the chosen one.

const SCORES = ["#d0318c", "#f3e3ee", "#74cf4c"]; // worst, middle, best; for red-green blind people too
const GUARD = "#ff5a5a";
const LIMIT = "#ffd166";
const TAG = 62; // px between a road user and the plate that names him
const STRIP = { high: 26, guard: 9, gap: 3, below: 18, left: 2, right: 2 }; // px
const FLAT = 0.25; // of the drive's span of scores: less than that apart is not painted as worst and best
const NOTHING = 0.0005; // a difference of terms that is none

class Why {
  constructor(drive, refresh, seek) {
    this.drive = drive;
    this.data = drive.why;
    if (!this.data) return;
    this.refresh = refresh;
    this.picked = null; // name of the proposal that is pointed out
    this.moment = undefined; // what the table shows now
    this.rows = [];
    this.canvas = find("why-strip");
    this.span = this.#span();
    this.runs = this.#runs();
    this.stops = this.#stops();
    this.#key();
    find("help-why").hidden = false;
    this.#scrubs(seek);
    find("why-scale").style.background = `linear-gradient(90deg, ${SCORES.join(",")})`;
    find("why-paths").addEventListener("change", refresh);
    for (const button of document.querySelectorAll("[data-why-guard]")) {
      button.addEventListener("click", () => seek(stepOf(drive, this.data.interventions[button.dataset.whyGuard].time)));
    }
  }

  #momentAt(step) {
    return this.drive.whyMoment[splitStep(this.drive, step)[0]];
  }

  // Range of all scores of the drive.
  #span() {
    let [low, high] = [Infinity, -Infinity];
    for (const score of this.drive.whyScore) {
      low = Math.min(low, score);
      high = Math.max(high, score);
    }
    return low < high ? [low, high] : [0, 1];
  }

  // Steps over which one proposal was driven: [first, end, index of its name].
  #runs() {
    const { drive } = this;
    const runs = [];
    for (let k = 0; k < drive.steps; k++) {
      const moment = drive.whyMoment[k];
      const row = moment < 0 ? -1 : drive.whyChosen[moment];
      const name = row < 0 ? -1 : drive.whyName[row];
      const last = runs[runs.length - 1];
      if (last && last.name === name) last.end = k + 1;
      else runs.push({ first: k, end: k + 1, name });
    }
    return runs;
  }

  // Steps that N and P lead to.
  #stops() {
    const steps = this.runs.slice(1).map((run) => run.first);
    for (const one of this.data.interventions) steps.push(Math.round(stepOf(this.drive, one.time)));
    return [...new Set(steps)].sort((a, b) => a - b);
  }

  // The next step (side 1) or the one before (-1) at which the choice changed or the guard stepped in.
  stop(step, side) {
    if (!this.data) return null;
    const there = this.stops.filter((at) => (side > 0 ? at > step + 1e-6 : at < step - 1e-6));
    if (!there.length) return null;
    return side > 0 ? there[0] : there[there.length - 1];
  }

  #key() {
    const items = Object.entries(this.data.colours);
    if (this.data.interventions.length) items.push(["guard intervened", GUARD]);
    for (const [text, colour] of items) {
      const item = document.createElement("li");
      const mark = document.createElement("i");
      mark.className = "area";
      mark.style.setProperty("--colour", colour);
      item.append(mark, text);
      find("why-key").append(item);
    }
  }

  #scrubs(seek) {
    const at = (event) => {
      const width = this.canvas.clientWidth - STRIP.left - STRIP.right;
      const share = Math.max(0, Math.min(1, (event.offsetX - STRIP.left) / width));
      seek(share * (this.drive.steps - 1));
    };
    this.canvas.addEventListener("pointerdown", (event) => {
      this.canvas.setPointerCapture(event.pointerId);
      at(event);
    });
    this.canvas.addEventListener("pointermove", (event) => {
      if (this.canvas.hasPointerCapture(event.pointerId)) at(event);
    });
  }

  layout(colours) {
    if (!this.data) return;
    this.colours = colours;
    const ratio = window.devicePixelRatio || 1;
    const [w, h] = [this.canvas.clientWidth, this.canvas.clientHeight];
    this.still = null;
    if (!w || !h) return;
    this.canvas.width = Math.round(w * ratio);
    this.canvas.height = Math.round(h * ratio);
    this.still = document.createElement("canvas");
    [this.still.width, this.still.height] = [this.canvas.width, this.canvas.height];
    const context = this.still.getContext("2d");
    context.scale(ratio, ratio);
    this.#drawRuns(context);
    this.#drawGuard(context);
    this.#drawTimes(context, w);
  }

  #px(step) {
    const width = this.canvas.clientWidth - STRIP.left - STRIP.right;
    return STRIP.left + (Math.min(step, this.drive.steps - 1) / Math.max(1, this.drive.steps - 1)) * width;
  }

  #drawRuns(context) {
    const { groups } = this.data;
    context.font = `600 11.5px ${this.colours.font}`;
    context.textBaseline = "middle";
    context.textAlign = "left";
    let label = null; // neighbours of one group share a text
    const write = () => {
      if (!label) return;
      const wide = label.to - label.from - 10;
      if (context.measureText(label.text).width <= wide) {
        context.fillStyle = "#10151a";
        context.fillText(label.text, label.from + 6, STRIP.high / 2 + 0.5);
      }
    };
    for (const { first, end, name } of this.runs) {
      const [from, to] = [this.#px(first), this.#px(end)];
      context.fillStyle = name < 0 ? this.colours.grid : this.data.colours[groups[name]];
      context.fillRect(from, 0, Math.max(to - from, 1), STRIP.high);
      context.fillStyle = "rgba(16, 21, 26, 0.35)";
      if (first > 0) context.fillRect(from, 0, 1, STRIP.high);
      const text = name < 0 ? "" : groups[name];
      if (label && label.text === text) label.to = to;
      else {
        write();
        label = { text, from, to };
      }
    }
    write();
  }

  #drawGuard(context) {
    const top = STRIP.high + STRIP.gap;
    context.fillStyle = this.colours.grid;
    context.fillRect(STRIP.left, top + STRIP.guard / 2 - 0.5, this.canvas.clientWidth - STRIP.left - STRIP.right, 1);
    context.fillStyle = GUARD;
    for (const one of this.data.interventions) {
      const from = this.#px(stepOf(this.drive, one.time));
      const to = this.#px(stepOf(this.drive, one.until));
      context.beginPath();
      context.roundRect(from, top, Math.max(to - from, 4), STRIP.guard, 2);
      context.fill();
    }
  }

  #drawTimes(context, w) {
    context.font = `11px ${this.colours.font}`;
    context.textBaseline = "alphabetic";
    context.fillStyle = this.colours.label;
    const from = timeOf(this.drive, 0);
    const until = timeOf(this.drive, this.drive.steps - 1);
    for (const time of ticks(from, until, Math.max(3, w / 110))) {
      const x = this.#px(stepOf(this.drive, time));
      context.textAlign = x < 16 ? "left" : x > w - 16 ? "right" : "center";
      context.fillText(`${number(time)} s`, x, this.canvas.clientHeight - 4);
    }
  }

  // On the replay: where the proposals lead, under the plan; the chosen one is the widest.
  drawPaths(context, step, scale) {
    if (!this.data || !find("why-paths").checked) return;
    const moment = this.#momentAt(step);
    if (moment < 0) return;
    const chosen = this.drive.whyChosen[moment];
    const rows = this.#rowsOf(moment);
    const reach = new Map(rows.map((row) => [row, this.#length(row)]));
    context.lineCap = context.lineJoin = "round";
    const colour = this.#colours(rows);
    for (const row of [...rows].sort((a, b) => reach.get(b) - reach.get(a))) {
      if (row !== chosen) this.#path(context, row, Math.max(0.16, 1.4 / scale), colour(row), 0.85, scale);
    }
    if (chosen >= 0) this.#path(context, chosen, Math.max(1.9, 7 / scale), colour(chosen), 0.55, scale);
    const picked = rows.find((row) => this.data.names[this.drive.whyName[row]] === this.picked);
    if (picked === undefined) return;
    this.#path(context, picked, Math.max(0.9, 5.5 / scale), "#ffffff", 1, scale);
    this.#path(context, picked, Math.max(0.5, 3 / scale), colour(picked), 1, scale);
  }

  #rowsOf(moment) {
    const { whyStart } = this.drive;
    return Array.from({ length: whyStart[moment + 1] - whyStart[moment] }, (_, i) => whyStart[moment] + i);
  }

  #point(row, k) {
    const at = 2 * (k * this.drive.whyScore.length + row);
    return [this.drive.whyXY[at], this.drive.whyXY[at + 1]];
  }

  #length(row) {
    let length = 0;
    for (let k = 1; k < this.data.points; k++) {
      const [a, b] = [this.#point(row, k - 1), this.#point(row, k)];
      length += Math.hypot(b[0] - a[0], b[1] - a[1]);
    }
    return length;
  }

  #path(context, row, width, colour, alpha, scale) {
    context.globalAlpha = alpha;
    context.strokeStyle = colour;
    context.lineWidth = width;
    context.beginPath();
    for (let k = 0; k < this.data.points; k++) {
      const [x, y] = this.#point(row, k);
      if (k) context.lineTo(x, y);
      else context.moveTo(x, y);
    }
    context.stroke();
    const [x, y] = this.#point(row, this.data.points - 1);
    context.globalAlpha = 1;
    disc(context, x, y, Math.max(width / 2, 0.45, 3 / scale), colour); // where it ends tells its speed
  }

  // Score to colour, from the worst to the best of a moment; those hardly apart are all good.
  #colours(rows) {
    const scores = rows.map((row) => this.drive.whyScore[row]);
    const best = Math.max(...scores);
    const span = Math.max(best - Math.min(...scores), FLAT * (this.span[1] - this.span[0]), 1e-9);
    return (row) => blend(SCORES, 1 - (best - this.drive.whyScore[row]) / span);
  }

  // Who makes the guard act, or else limits the plan.
  #limiter(step) {
    const guard = this.#guardAt(step);
    if (guard < 0 || this.data.interventions[guard].id < 0) return this.#limits(step);
    const { id, text } = this.data.interventions[guard];
    return this.#who(step, this.data.guardAgents[guard], id, "whyGuard", guard, text, true);
  }

  // The road user who limits the plan: where he is now, or where the driver thought him to be.
  #limits(step) {
    const moment = this.#momentAt(step);
    if (moment < 0 || this.data.limitIds[moment] < 0) return null;
    const reason = this.data.limits[this.drive.whyLimit[moment]];
    return this.#who(step, this.data.limitAgents[moment], this.data.limitIds[moment], "whyLimit", moment, reason, false);
  }

  #who(step, agent, track, boxes, row, reason, urgent) {
    const now = agent >= 0 && agentsAt(this.drive, step).find((other) => other.id === agent);
    if (now) return { ...now, name: `${this.drive.kinds[now.kind]} ${now.id}`, reason, urgent, there: true };
    const [xy, heading, size] = ["XY", "Heading", "Size"].map((part) => this.drive[boxes + part]);
    if (agent >= 0 || !size[2 * row]) return null;
    const box = { x: xy[2 * row], y: xy[2 * row + 1], heading: heading[row], length: size[2 * row], width: size[2 * row + 1] };
    return { ...box, name: `track ${track}`, reason, urgent, there: false };
  }

  #guardAt(step) {
    const time = timeOf(this.drive, step);
    return this.data.interventions.findIndex(
      (one) => time >= one.time - 1e-6 && time <= Math.max(one.until, one.time + 0.5) + 1e-6,
    );
  }

  drawLimit(context, step, scale) {
    if (!this.data) return;
    const who = this.#limiter(step);
    this.limiter = who;
    if (!who) return;
    placed(context, who, () => {
      const room = Math.max(0.7, 5 / scale);
      context.strokeStyle = who.urgent ? GUARD : LIMIT;
      context.lineWidth = Math.max(0.3, 2.5 / scale);
      if (!who.there) context.setLineDash([4 / scale, 3 / scale]);
      context.beginPath();
      context.roundRect(-who.length / 2 - room, -who.width / 2 - room, who.length + 2 * room, who.width + 2 * room, 0.6);
      context.stroke();
      context.setLineDash([]);
    });
  }

  // What lies over the replay and beside it; after drawLimit.
  draw(step, camera, context) {
    if (!this.data) return;
    this.heading = egoAt(this.drive, step).heading;
    this.#plate(step);
    this.#tag(camera, context);
    this.#cursor(step);
    const moment = this.#momentAt(step);
    if (moment === this.moment && this.picked === this.told) return;
    [this.moment, this.told] = [moment, this.picked];
    this.#say(moment, this.#limits(step));
    this.#table(moment);
  }

  #cursor(step) {
    if (!this.still) return;
    const ratio = window.devicePixelRatio || 1;
    const context = this.canvas.getContext("2d");
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.clearRect(0, 0, this.canvas.width, this.canvas.height);
    context.drawImage(this.still, 0, 0);
    context.scale(ratio, ratio);
    const x = Math.max(1, Math.min(this.canvas.clientWidth - 1, this.#px(step)));
    context.strokeStyle = this.colours.ground;
    context.lineWidth = 4;
    line(context, x, 0, x, this.canvas.clientHeight - STRIP.below + 2);
    context.strokeStyle = this.colours.cursor;
    context.lineWidth = 2;
    line(context, x, 0, x, this.canvas.clientHeight - STRIP.below + 2);
  }

  // On the replay: what is driven, and by what it is limited where that is nobody on the road.
  #plate(step) {
    const moment = this.#momentAt(step);
    const row = moment < 0 ? -1 : this.drive.whyChosen[moment];
    const guard = this.#guardAt(step);
    find("why-now").hidden = row < 0 && guard < 0;
    const limit = moment < 0 || this.limiter ? "" : this.data.limits[this.drive.whyLimit[moment]];
    const texts = {
      "why-now-what": row < 0 ? "" : this.data.names[this.drive.whyName[row]],
      "why-now-limit": limit ? `limited by ${limit}` : "",
      "why-now-guard": guard < 0 ? "" : this.limiter ? "the guard intervenes" : `guard: ${this.data.interventions[guard].text}`,
    };
    for (const [id, text] of Object.entries(texts)) {
      find(id).hidden = !text;
      if (find(id).textContent !== text) find(id).textContent = text;
    }
  }

  // The limiter's name and reason, off to the side of the way ahead, with a line to him.
  #tag(camera, context) {
    const tag = find("why-tag");
    const who = this.limiter;
    tag.hidden = !who;
    if (!who) return;
    const text = named(who);
    if (tag.textContent !== text) tag.textContent = text;
    tag.classList.toggle("is-urgent", who.urgent);
    const [px, py] = camera.toScreen(who.x, who.y);
    const [w, h] = camera.size;
    const [wide, high] = [tag.offsetWidth, tag.offsetHeight];
    const turned = camera.angle + this.heading;
    const upright = Math.abs(Math.sin(turned)) > Math.abs(Math.cos(turned));
    const away = TAG + Math.hypot(who.length, who.width) * camera.scale * 0.5;
    let [x, y] = upright ? [px + (px < w / 2 ? -1 : 1) * (away + wide / 2), py] : [px, py + (py < h / 2 - 4 ? -1 : 1) * away];
    x = Math.max(wide / 2 + 6, Math.min(w - wide / 2 - 6, x));
    y = Math.max(120, Math.min(h - high - 46, y - high / 2));
    tag.style.left = `${x}px`;
    tag.style.top = `${y}px`;
    const ratio = window.devicePixelRatio || 1;
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.strokeStyle = who.urgent ? GUARD : LIMIT;
    context.lineWidth = 1.5;
    const side = Math.min(1, (0.5 * who.width * camera.scale + 6) / Math.max(1, Math.hypot(x - px, y + high / 2 - py)));
    line(context, mix(px, x, side), mix(py, y + high / 2, side), x, y + high / 2);
  }

  #say(moment, who) {
    const say = find("why-say");
    say.replaceChildren();
    const strong = (text) => {
      const part = document.createElement("b");
      part.textContent = text;
      return part;
    };
    const row = moment < 0 ? -1 : this.drive.whyChosen[moment];
    if (row < 0) {
      say.append("No proposals were weighed at this moment.");
      return;
    }
    const rows = this.#rowsOf(moment);
    const score = number(this.drive.whyScore[row], 3);
    const time = this.data.times[moment].toFixed(1);
    const many = rows.length === 1 ? "the only proposal" : `of ${rows.length} proposals`;
    say.append(`At ${time} s: `, strong(this.data.names[this.drive.whyName[row]]), `, ${many}, score ${score}. `);
    const limit = this.data.limits[this.drive.whyLimit[moment]];
    if (who) {
      const nobody = who.there ? "" : ", where the driver saw somebody and nobody is";
      say.append("Limited by ", strong(who.name), `${who.reason ? ` (${who.reason})` : ""}${nobody}.`);
    }
    else if (limit) say.append("Limited by ", strong(limit), ".");
    else say.append("Nothing limited it.");
  }

  #table(moment) {
    const rows = moment < 0 ? [] : this.#rowsOf(moment);
    const chosen = moment < 0 ? -1 : this.drive.whyChosen[moment];
    const score = (row) => this.drive.whyScore[row];
    rows.sort((a, b) => score(b) - score(a) || (b === chosen) - (a === chosen) || a - b);
    find("why-table").hidden = !rows.length;
    const terms = this.#termsOf(rows);
    this.#head(terms);
    const colour = this.#colours(rows);
    const body = find("why-table").tBodies[0];
    while (this.rows.length < rows.length) this.rows.push(this.#row());
    // rows stay where they are and change what they say: the one in focus keeps it
    while (body.rows.length > rows.length) body.lastChild.remove();
    for (let i = body.rows.length; i < rows.length; i++) body.append(this.rows[i].element);
    rows.forEach((row, i) => this.#fill(this.rows[i], row, chosen, terms, colour));
  }

  // Terms that any of the proposals was judged by.
  #termsOf(rows) {
    const many = this.data.terms.length;
    return this.data.terms.map((_, t) => t).filter((t) => rows.some((row) => this.drive.whyTerm[row * many + t] >= 0));
  }

  #head(terms) {
    if (String(terms) === this.headed) return;
    this.headed = String(terms);
    const head = document.createElement("tr");
    const add = (text, kind) => {
      const cell = document.createElement("th");
      cell.scope = "col";
      cell.className = kind;
      const inner = document.createElement("span");
      inner.textContent = text;
      cell.append(inner);
      head.append(cell);
    };
    add("Proposal", "");
    add("Score", "value");
    for (const t of terms) add(this.data.terms[t], "why-term");
    find("why-table").tHead.replaceChildren(head);
  }

  #row() {
    const element = document.createElement("tr");
    const name = document.createElement("th");
    name.scope = "row";
    const button = document.createElement("button");
    button.type = "button";
    button.className = "why-name";
    const mark = document.createElement("i");
    const text = document.createElement("span");
    const chip = document.createElement("em");
    button.append(mark, text, chip);
    const why = document.createElement("small");
    name.append(button, why);
    const score = document.createElement("td");
    score.className = "value";
    element.append(name, score);
    button.addEventListener("click", () => {
      this.picked = this.picked === text.textContent ? null : text.textContent;
      this.refresh();
    });
    return { element, button, mark, text, chip, why, score, cells: [] };
  }

  #fill(shown, row, chosen, terms, colour) {
    const name = this.data.names[this.drive.whyName[row]];
    const many = this.data.terms.length;
    shown.element.classList.toggle("is-chosen", row === chosen);
    shown.element.classList.toggle("is-picked", name === this.picked);
    shown.button.setAttribute("aria-pressed", String(name === this.picked));
    shown.button.title = "point out in the replay";
    shown.mark.style.background = colour(row);
    shown.text.textContent = name;
    shown.chip.textContent = row === chosen ? "chosen" : "";
    shown.score.textContent = number(this.drive.whyScore[row], 3);
    const cost = this.#cost(row, chosen);
    shown.why.textContent = cost.text;
    while (shown.cells.length < terms.length) shown.cells.push(termCell());
    while (shown.element.children.length > 2) shown.element.lastChild.remove();
    terms.forEach((t, i) => {
      const cell = shown.cells[i];
      const value = this.drive.whyTerm[row * many + t];
      cell.element.className = `why-term${t === cost.term ? " is-cost" : ""}`;
      cell.element.style.setProperty("--part", Math.max(0, Math.min(1, value)));
      cell.bar.hidden = value < 0;
      cell.text.textContent = value < 0 ? "–" : share(value);
      cell.element.title = `${this.data.terms[t]} ${value < 0 ? "not judged" : number(value, 3)}`;
      shown.element.append(cell.element);
    });
  }

  // The term by which a proposal loses most against the chosen one, in words.
  #cost(row, chosen) {
    const { whyTerm, whyScore } = this.drive;
    const many = this.data.terms.length;
    if (chosen < 0) return { text: "", term: -1 };
    if (row === chosen) return this.#weakest(row);
    const found = this.data.terms
      .map((name, term) => {
        const [mine, best] = [whyTerm[row * many + term], whyTerm[chosen * many + term]];
        return { name, term, mine, best, behind: best - mine, cost: this.data.weights[term] * (best - mine) };
      })
      .filter(({ mine, behind }) => mine >= 0 && behind > NOTHING)
      .sort((a, b) => b.cost - a.cost || b.behind - a.behind || a.term - b.term)[0];
    const ahead = whyScore[row] > whyScore[chosen] ? "scored higher, yet not driven; " : "";
    if (!found) return { text: ahead ? "scored higher, yet not driven" : "behind in no term", term: -1 };
    const { name, term, mine, best } = found;
    return { text: `${ahead}cost it most: ${name}, ${share(mine)} against ${share(best)}`, term };
  }

  #weakest(row) {
    const many = this.data.terms.length;
    let term = -1;
    for (let t = 0; t < many; t++) {
      const value = this.drive.whyTerm[row * many + t];
      if (value >= 0 && value < 1 - NOTHING && (term < 0 || value < this.drive.whyTerm[row * many + term])) term = t;
    }
    if (term < 0) return { text: "full marks in every term", term: -1 };
    return { text: `weakest in ${this.data.terms[term]}, ${share(this.drive.whyTerm[row * many + term])}`, term: -1 };
  }
}

// "car 107: it brakes"; a reason that names him already stands alone.
function named({ name, reason }) {
  if (!reason) return name;
  return reason.includes(name) ? reason : `${name}: ${reason}`;
}

// Two digits, but nothing short of 1 reads as 1 and nothing above 0 as 0.
function share(value) {
  const rounded = number(value, 2);
  const whole = rounded === "1.00" || rounded === "0.00";
  return whole && value !== Number(rounded) ? number(value, 3) : rounded;
}

function termCell() {
  const element = document.createElement("td");
  const bar = document.createElement("i");
  const text = document.createElement("span");
  element.append(text, bar);
  return { element, bar, text };
}
