// The clock of the replay: playing, seeking and stepping; it calls back whenever its step changes.

class Player {
  constructor(steps, dt, changed) {
    this.last = steps - 1;
    this.dt = dt;
    this.changed = changed;
    this.step = 0; // whole steps are logged, between them the picture is interpolated
    this.speed = 1;
    this.playing = false;
  }

  play() {
    if (this.playing || this.last === 0) return;
    if (this.step >= this.last) this.step = 0;
    this.playing = true;
    let before = null;
    const tick = (now) => {
      if (!this.playing) return;
      // a tab in the background gets no frames: it goes on where it was, it does not jump
      const seconds = before === null ? 0 : Math.min(0.1, (now - before) / 1000);
      before = now;
      this.step = Math.min(this.last, this.step + (seconds * this.speed) / this.dt);
      if (this.step >= this.last) this.playing = false;
      this.changed();
      if (this.playing) requestAnimationFrame(tick);
    };
    requestAnimationFrame(tick);
    this.changed();
  }

  pause() {
    this.playing = false;
    this.changed();
  }

  toggle() {
    if (this.playing) this.pause();
    else this.play();
  }

  seek(step) {
    this.step = Math.max(0, Math.min(this.last, step));
    this.changed();
  }

  // Pauses and moves to a whole step.
  nudge(steps) {
    this.playing = false;
    this.seek(Math.round(this.step) + steps);
  }
}
