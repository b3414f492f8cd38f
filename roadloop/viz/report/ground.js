// The road: shapes gathered into paths per layer, paint and 120 m cell, painted from the bottom up.

const CELL = 120; // m
const KERBED = ["PARKING", "SHOULDER", "BIKING", "JUNCTION", "ROAD"];
const KERB_DEPTH = 2; // layers: a kerb line is hidden by every surface of about its own height
const FINE = 1.5; // px/m, below this marks are too thin to be worth painting

class Ground {
  constructor(drive) {
    this.drive = drive;
    const batches = new Map();
    for (let i = 0; i < drive.shapePaint.length; i++) this.#gather(batches, i);
    this.batches = [...batches.values()].sort((a, b) => a.layer - b.layer || a.order - b.order);
  }

  #gather(batches, i) {
    const { shapeStart, shapeXY, shapePaint, shapeLayer, shapeWidth, paints } = this.drive;
    const from = shapeStart[i];
    const to = shapeStart[i + 1];
    const box = [Infinity, Infinity, -Infinity, -Infinity];
    for (let p = from; p < to; p++) {
      box[0] = Math.min(box[0], shapeXY[2 * p]);
      box[1] = Math.min(box[1], shapeXY[2 * p + 1]);
      box[2] = Math.max(box[2], shapeXY[2 * p]);
      box[3] = Math.max(box[3], shapeXY[2 * p + 1]);
    }
    const cell = `${Math.floor((box[0] + box[2]) / 2 / CELL)},${Math.floor((box[1] + box[3]) / 2 / CELL)}`;
    const name = paints[shapePaint[i]];
    const width = shapeWidth[i];
    const ways = [{ layer: shapeLayer[i], order: shapePaint[i], colour: name, width }];
    if (KERBED.includes(name)) {
      ways.push({ layer: shapeLayer[i] - KERB_DEPTH, order: -1, colour: "kerb", width: 0.5 });
    }
    for (const way of ways) {
      const key = `${way.layer}/${way.order}/${way.width}/${cell}`;
      let batch = batches.get(key);
      if (!batch) {
        batch = { ...way, path: new Path2D(), box: [...box], filled: width === 0 };
        batches.set(key, batch);
      }
      trace(batch.path, shapeXY, from, to, width === 0);
      for (const side of [0, 1]) {
        batch.box[side] = Math.min(batch.box[side], box[side]);
        batch.box[side + 2] = Math.max(batch.box[side + 2], box[side + 2]);
      }
    }
  }

  // The context's transform must already map metres to pixels; `view` is [x0, y0, x1, y1] in metres.
  draw(context, view, scale, colours) {
    context.lineJoin = "round";
    context.lineCap = "butt";
    for (const batch of this.batches) {
      const { box } = batch;
      if (box[0] > view[2] || box[2] < view[0] || box[1] > view[3] || box[3] < view[1]) continue;
      const colour = colours[batch.colour];
      if (batch.order < 0) {
        context.strokeStyle = colour;
        context.lineWidth = batch.width + 1 / scale;
        context.stroke(batch.path);
      } else if (batch.filled) {
        context.fillStyle = colour;
        context.fill(batch.path);
        if (batch.colour === "CROSSWALK") continue;
        context.strokeStyle = colour; // closes the hairlines between neighbouring lanes
        context.lineWidth = 0.7 / scale;
        context.stroke(batch.path);
      } else if (scale >= FINE) {
        context.strokeStyle = colour;
        context.lineWidth = Math.max(batch.width, 0.9 / scale);
        context.stroke(batch.path);
      }
    }
  }
}

function trace(path, xy, from, to, closed) {
  path.moveTo(xy[2 * from], xy[2 * from + 1]);
  for (let p = from + 1; p < to; p++) path.lineTo(xy[2 * p], xy[2 * p + 1]);
  if (closed) path.closePath();
}
