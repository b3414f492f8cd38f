// The page: facts, score, replay and curves wired to one clock and one camera.

const SHOWN_BEFORE = 1; // s, a click on a lost term goes this far ahead of it
const SEEN_AFTER = 0.2; // s after the start of a miss, where a click on it leads
const BANNER = 2; // s, a loss stays on the picture for this long

const find = (id) => document.getElementById(id);

class Report {
  constructor(drive) {
    this.drive = drive;
    this.terms = drive.terms.map((term, i) => ({ ...term, i }));
    this.lost = this.terms.filter((term) => term.passed === false && term.lostAt !== null);
    this.chosen = null; // index of the agent that was tapped
    this.hovered = null; // [x, y] of the pointer over the stage, px
    this.canvas = find("stage");
    this.ground = new Ground(drive);
    this.film = new Film(drive);
    this.seen = new Seen(drive, () => this.refresh());
    this.camera = new Camera(this.canvas, () => this.#moved());
    this.player = new Player(drive.steps, drive.dt, () => this.refresh());
    this.why = new Why(drive, () => this.refresh(), (step) => this.player.seek(step));
    this.plots = drive.plots.map(
      (plot) => new Plot(drive, plot, this.lost.map((term) => term.lostAt), (step) => this.player.seek(step)),
    );
    this.#facts();
    this.#score();
    this.#transport();
    this.#stage();
    this.#theme();
    this.#keyboard();
    this.#moments();
    find("plots").append(...this.plots.map((plot) => plot.figure));
    new ResizeObserver(() => this.layout()).observe(document.querySelector("main"));
    this.camera.scale = this.canvas.clientWidth < 600 ? 4 : 6;
    this.layout();
  }

  get palette() {
    return { ...this.drive.palette, ...this.drive.palette[this.dark ? "dark" : "light"] };
  }

  refresh() {
    if (this.asked) return;
    this.asked = true;
    requestAnimationFrame(() => {
      this.asked = false;
      this.draw();
    });
  }

  layout() {
    const ratio = window.devicePixelRatio || 1;
    this.canvas.width = Math.round(this.canvas.clientWidth * ratio);
    this.canvas.height = Math.round(this.canvas.clientHeight * ratio);
    const style = getComputedStyle(document.documentElement);
    const names = { ground: "--card", grid: "--line", zero: "--line-strong", label: "--faint", cursor: "--text", lost: "--lost" };
    const colours = { font: style.getPropertyValue("--font"), curves: [] };
    for (const [key, name] of Object.entries(names)) colours[key] = style.getPropertyValue(name);
    for (const i of [1, 2]) colours.curves.push(style.getPropertyValue(`--curve-${i}`));
    for (const plot of this.plots) plot.layout(colours);
    this.why.layout(colours);
    this.seen.font = colours.font;
    this.seen.layout();
    this.draw();
  }

  draw() {
    const { drive, player, camera } = this;
    const { palette } = this;
    const ratio = window.devicePixelRatio || 1;
    const context = this.canvas.getContext("2d");
    const ego = egoAt(drive, player.step);
    const agents = agentsAt(drive, player.step);
    camera.follow(ego);
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.fillStyle = palette.ground;
    context.fillRect(0, 0, this.canvas.width, this.canvas.height);
    camera.apply(context, ratio);
    this.ground.draw(context, camera.view(), camera.scale, palette);
    drawLights(context, drive, player.step, camera.scale, palette);
    drawTrail(context, drive, player.step, palette, camera.scale);
    this.why.drawPaths(context, player.step, camera.scale);
    drawPlan(context, drive, player.step, palette, camera.scale);
    for (const agent of agents) {
      drawAgent(context, agent, drive, palette, camera.scale, agent.index === this.chosen);
    }
    this.seen.drawMarks(context, player.step, camera.scale);
    this.why.drawLimit(context, player.step, camera.scale);
    drawEgo(context, ego, drive, palette, camera.scale);
    const loss = this.#currentLoss();
    if (loss) {
      const phase = (timeOf(drive, player.step) * 1.5) % 1;
      drawRing(context, ego, drive, palette, camera.scale, phase < 0 ? phase + 1 : phase);
    }
    this.#readouts(ego, agents, loss);
    this.why.draw(player.step, camera, context);
    this.film.draw(player.step);
    this.seen.draw(player.step, this.ground, drive.palette);
    for (const plot of this.plots) plot.draw(player.step);
  }

  // The loss whose moment is near: from a second before until BANNER seconds after it.
  #currentLoss() {
    const time = timeOf(this.drive, this.player.step);
    const near = this.lost.filter(
      (term) => time >= term.lostAt - SHOWN_BEFORE - 1e-6 && time <= term.lostAt + BANNER,
    );
    return near.find((term) => term === this.jumped) || near[0] || null;
  }

  #readouts(ego, agents, loss) {
    const { drive, player } = this;
    const time = timeOf(drive, player.step);
    const end = timeOf(drive, drive.steps - 1);
    find("speed").textContent = Math.round(ego.speed * 3.6);
    if (drive.plotLimit) {
      const limit = drive.plotLimit[Math.round(player.step)];
      find("limit").hidden = Number.isNaN(limit);
      find("limit").textContent = Math.round(limit);
    }
    find("clock").textContent = `${time.toFixed(1)} / ${end.toFixed(1)} s`;
    find("scrub").value = player.step;
    find("scrub").setAttribute("aria-valuetext", `${time.toFixed(1)} seconds`);
    find("scrub").style.setProperty("--share", player.step / Math.max(1, player.last));
    document.body.classList.toggle("playing", player.playing);
    find("play").setAttribute("aria-label", player.playing ? "Pause" : "Play");
    const banner = find("banner");
    banner.hidden = !loss;
    const text = loss ? `${loss.title} lost at ${loss.lostAt.toFixed(1)} s: ${loss.detail}` : "";
    if (banner.textContent !== text) banner.textContent = text;
    for (const row of document.querySelectorAll("#terms tbody tr")) {
      row.classList.toggle("current", loss !== null && Number(row.dataset.term) === loss.i);
    }
    this.#tip(agents);
    this.#scaleBar();
  }

  #tip(agents) {
    const { camera, drive } = this;
    let agent = null;
    if (this.hovered) agent = agentNear(agents, ...camera.toWorld(...this.hovered), camera.scale);
    agent = agent || agents.find((other) => other.index === this.chosen) || null;
    const tip = find("tip");
    tip.hidden = !agent;
    this.canvas.style.cursor = this.hovered && agent ? "pointer" : "";
    if (!agent) return;
    const text = `${drive.kinds[agent.kind]} ${agent.id} · ${(agent.speed * 3.6).toFixed(0)} km/h`;
    if (tip.textContent !== text) tip.textContent = text;
    const [px, py] = camera.toScreen(agent.x, agent.y);
    const [w, h] = camera.size;
    const half = tip.offsetWidth / 2 + 4;
    tip.style.left = `${Math.max(half, Math.min(w - half, px))}px`;
    tip.style.top = `${Math.max(34, Math.min(h - 8, py - 0.5 * agent.width * camera.scale - 8))}px`;
  }

  #scaleBar() {
    const metres = [1, 2, 5, 10, 20, 50, 100, 200].find((m) => m * this.camera.scale >= 60) || 200;
    find("scale-text").textContent = `${metres} m`;
    find("scale-bar").style.width = `${metres * this.camera.scale}px`;
  }

  #moved() {
    for (const button of document.querySelectorAll("[data-mode]")) {
      button.setAttribute("aria-pressed", String(button.dataset.mode === this.camera.mode));
    }
    this.refresh();
  }

  #facts() {
    for (const [label, value] of this.drive.facts) {
      const row = document.createElement("div");
      const term = document.createElement("dt");
      const detail = document.createElement("dd");
      term.textContent = label;
      detail.textContent = value;
      row.append(term, detail);
      find("facts").append(row);
    }
    const { plan } = this.drive.palette;
    find("legend-bar").style.background = `linear-gradient(90deg, ${plan.join(",")})`;
    find("legend-low").textContent = "0";
    find("legend-high").textContent = `${Math.round(this.drive.topSpeed * 3.6)} km/h`;
  }

  #score() {
    const verdict = find("verdict");
    const failed = this.terms.filter((term) => term.passed === false).length;
    const judged = this.terms.filter((term) => term.passed !== null).length;
    verdict.classList.toggle("is-lost", failed > 0);
    verdict.hidden = judged === 0;
    verdict.textContent = failed ? `${failed} of ${judged} terms lost` : `all ${judged} terms kept`;
    if (!this.terms.length) find("terms").closest("section").hidden = true;
    for (const term of this.terms) find("terms").tBodies[0].append(this.#termRow(term));
    for (const term of this.lost) {
      const mark = document.createElement("button");
      mark.type = "button";
      mark.style.setProperty("--share", stepOf(this.drive, term.lostAt) / Math.max(1, this.player.last));
      mark.setAttribute("aria-label", `${term.title} lost at ${term.lostAt.toFixed(1)} seconds`);
      mark.title = `${term.title} lost at ${term.lostAt.toFixed(1)} s`;
      mark.addEventListener("click", () => this.jump(term));
      find("marks").append(mark);
    }
  }

  #termRow(term) {
    const row = document.createElement("tr");
    row.dataset.term = term.i;
    const [name, value, result] = ["th", "td", "td"].map((tag) => document.createElement(tag));
    name.scope = "row";
    const title = document.createElement("span");
    title.textContent = term.title;
    const detail = document.createElement("small");
    detail.textContent = term.detail;
    name.append(title, detail);
    value.className = "value";
    value.textContent = term.value === null ? "–" : `${number(term.value)}${term.unit ? ` ${term.unit}` : ""}`;
    const state = term.passed === null ? "none" : term.passed ? "kept" : "lost";
    if (state === "lost" && term.lostAt !== null) {
      const jump = document.createElement("button");
      jump.type = "button";
      jump.className = "chip lost";
      jump.textContent = `lost ${term.lostAt.toFixed(1)} s`;
      jump.setAttribute("aria-label", `${term.title} lost at ${term.lostAt.toFixed(1)} seconds: show`);
      jump.addEventListener("click", () => this.jump(term));
      result.append(jump);
      row.className = "can-jump";
      row.addEventListener("click", (event) => event.target !== jump && this.jump(term));
    } else {
      const chip = document.createElement("span");
      chip.className = `chip ${state}`;
      chip.textContent = state === "none" ? "–" : state;
      result.append(chip);
    }
    row.append(name, value, result);
    return row;
  }

  jump(term) {
    this.jumped = term;
    this.#show(term.lostAt - SHOWN_BEFORE);
    if (this.canvas.getBoundingClientRect().bottom < 120) this.canvas.scrollIntoView({ block: "center" });
  }

  #show(time) {
    this.player.pause();
    this.player.seek(stepOf(this.drive, time));
    if (this.camera.mode === "free") this.camera.setMode("north");
  }

  // Buttons in lists that lead to a moment of what was seen.
  #moments() {
    for (const button of document.querySelectorAll("[data-seen-time]")) {
      button.addEventListener("click", () => {
        // a little later: what lasted half a second is on its way then
        this.#show(Math.round((Number(button.dataset.seenTime) + SEEN_AFTER) / this.drive.dt) * this.drive.dt);
        const seen = find("seen");
        if (seen.getBoundingClientRect().bottom < 200) seen.scrollIntoView({ block: "start" });
      });
    }
  }

  #transport() {
    const { player } = this;
    find("scrub").max = player.last;
    find("scrub").addEventListener("input", (event) => player.seek(Number(event.target.value)));
    find("play").addEventListener("click", () => player.toggle());
    find("back").addEventListener("click", () => player.nudge(-1));
    find("forth").addEventListener("click", () => player.nudge(1));
    find("rate").addEventListener("change", (event) => {
      player.speed = Number(event.target.value);
    });
  }

  #stage() {
    const { camera, canvas } = this;
    for (const button of document.querySelectorAll("[data-mode]")) {
      button.addEventListener("click", () => camera.setMode(button.dataset.mode));
    }
    find("zoom-in").addEventListener("click", () => camera.zoom(1.4));
    find("zoom-out").addEventListener("click", () => camera.zoom(1 / 1.4));
    canvas.addEventListener("pointermove", (event) => {
      this.hovered = event.pointerType === "mouse" ? [event.offsetX, event.offsetY] : null;
      this.refresh();
    });
    canvas.addEventListener("pointerleave", () => {
      this.hovered = null;
      this.refresh();
    });
    canvas.addEventListener("click", (event) => {
      if (camera.moved > 4) return;
      const agents = agentsAt(this.drive, this.player.step);
      const agent = agentNear(agents, ...camera.toWorld(event.offsetX, event.offsetY), camera.scale);
      this.chosen = agent ? agent.index : null;
      this.refresh();
    });
  }

  #theme() {
    const wanted = window.matchMedia("(prefers-color-scheme: dark)");
    const apply = (dark) => {
      this.dark = dark;
      document.documentElement.dataset.theme = dark ? "dark" : "light";
    };
    apply(wanted.matches);
    wanted.addEventListener("change", (event) => {
      apply(event.matches);
      this.layout();
    });
    find("theme").addEventListener("click", () => {
      apply(!this.dark);
      this.layout();
    });
  }

  // The next change of plan, or the one before.
  #toStop(side) {
    const step = this.why.stop(this.player.step, side);
    if (step !== null) this.player.nudge(step - Math.round(this.player.step));
  }

  #keyboard() {
    const { player, camera } = this;
    const second = Math.max(1, Math.round(1 / this.drive.dt));
    const help = find("help");
    find("help-open").addEventListener("click", () => help.showModal());
    const keys = {
      ArrowLeft: (event) => player.nudge(event.shiftKey ? -second : -1),
      ArrowRight: (event) => player.nudge(event.shiftKey ? second : 1),
      Home: () => player.seek(0),
      End: () => player.seek(player.last),
      n: () => this.#toStop(1),
      p: () => this.#toStop(-1),
      f: () => camera.setMode(MODES[(MODES.indexOf(camera.mode) + 1) % MODES.length]),
      "+": () => camera.zoom(1.25),
      "=": () => camera.zoom(1.25),
      "-": () => camera.zoom(0.8),
      "?": () => help.showModal(),
      " ": () => player.toggle(),
    };
    document.addEventListener("keydown", (event) => {
      const act = keys[event.key.length === 1 ? event.key.toLowerCase() : event.key];
      if (!act || event.ctrlKey || event.metaKey || event.altKey || help.open) return;
      if (event.target.matches("select")) return;
      if (event.key === " " && event.target.matches("button")) return;
      event.preventDefault();
      act(event);
    });
  }
}

readDrive().then(
  (drive) => {
    const report = new Report(drive);
    const still = window.matchMedia("(prefers-reduced-motion: reduce)").matches;
    document.body.classList.add("ready");
    if (!still) report.player.play();
  },
  (error) => {
    document.body.classList.add("failed");
    find("banner").hidden = false;
    find("banner").textContent = `This report cannot be read: ${error.message}`;
    throw error;
  },
);
