// What the cameras saw: pictures of some steps, of which the newest until now is shown.

class Film {
  constructor(drive) {
    this.drive = drive;
    this.shown = null; // index of the picture on the page
    if (!drive.film || !drive.film.pictures.length) return;
    find("film").hidden = false;
    find("film-picture").width = drive.film.width;
    find("film-picture").height = drive.film.height;
  }

  draw(step) {
    const { film } = this.drive;
    if (!film || !film.pictures.length) return;
    let k = film.steps.findIndex((at) => at > step + 1e-6) - 1;
    if (k === -2) k = film.steps.length - 1; // none is later
    k = Math.max(0, k);
    if (k === this.shown) return;
    this.shown = k;
    const time = timeOf(this.drive, film.steps[k]).toFixed(1);
    find("film-picture").src = `data:image/jpeg;base64,${film.pictures[k]}`;
    find("film-picture").alt = `What the cameras of ${film.rig} saw at ${time} seconds`;
    find("film-time").textContent = `${film.rig} · ${time} s`;
  }
}
