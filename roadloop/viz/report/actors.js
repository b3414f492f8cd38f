// What moves: traffic lights, the plan, the trail, other road users and the ego, in metres.

const TRAIL = 6; // s
const AGENT_SHAPES = {
  car: drawCar,
  van: drawVan,
  truck: drawTruck,
  bus: drawBus,
  motorcycle: drawTwoWheeler,
  cyclist: drawTwoWheeler,
  pedestrian: drawPedestrian,
  static: drawStatic,
};

// A light is drawn where it matters: as a bar over the lane it holds back, and as a lamp.
function drawLights(context, drive, step, scale, palette) {
  const [k] = splitStep(drive, step);
  const { bar, barLight, lamp, lampLight, bars, lamps } = drive;
  context.lineCap = "butt";
  for (let i = 0; i < bars; i++) {
    const state = barLight[k * bars + i];
    const [x0, y0, x1, y1] = bar.subarray(4 * i, 4 * i + 4);
    for (const [width, alpha] of [[1.5, 0.22], [0.55, 1]]) {
      context.globalAlpha = alpha;
      context.strokeStyle = palette.lamp[state];
      context.lineWidth = Math.max(width, (2.5 * width) / scale);
      line(context, x0, y0, x1, y1);
    }
    context.globalAlpha = 1;
  }
  const radius = Math.max(0.6, 2.5 / scale);
  for (let i = 0; i < lamps; i++) {
    const state = lampLight[k * lamps + i];
    disc(context, lamp[2 * i], lamp[2 * i + 1], radius * 1.5, "#101316");
    disc(context, lamp[2 * i], lamp[2 * i + 1], radius, palette.lamp[state]);
  }
}

function drawTrail(context, drive, step, palette, scale) {
  const [k] = splitStep(drive, step);
  const ego = egoAt(drive, step);
  const stride = Math.max(1, Math.round(0.2 / drive.dt));
  context.lineWidth = Math.max(0.35, 1.5 / scale);
  context.lineCap = "round";
  let { x, y } = ego;
  for (let i = k; i >= 0 && (k - i) * drive.dt < TRAIL; i -= stride) {
    // fades into the road; a see-through line would show a bead at every joint
    const age = ((k - i) * drive.dt) / TRAIL;
    context.strokeStyle = blend([palette.trail, palette.ROAD], 0.2 + 0.8 * age);
    line(context, x, y, drive.egoXY[2 * i], drive.egoXY[2 * i + 1]);
    x = drive.egoXY[2 * i];
    y = drive.egoXY[2 * i + 1];
  }
}

function drawPlan(context, drive, step, palette, scale) {
  const [k] = splitStep(drive, step);
  const n = drive.planPoints;
  context.lineCap = "round";
  context.lineWidth = Math.max(0.8, 2.5 / scale);
  for (let i = 1; i < n; i++) {
    const a = k * n + i - 1;
    const b = a + 1;
    if (!drive.planValid[a] || !drive.planValid[b]) continue;
    context.strokeStyle = blend(palette.plan, drive.planSpeed[b] / drive.topSpeed);
    const { planXY } = drive;
    line(context, planXY[2 * a], planXY[2 * a + 1], planXY[2 * b], planXY[2 * b + 1]);
  }
}

// The colour `share` of the way through evenly spaced stops.
function blend(stops, share) {
  const at = Math.max(0, Math.min(1, share)) * (stops.length - 1);
  const i = Math.min(stops.length - 2, Math.floor(at));
  const channel = (colour, c) => parseInt(colour.slice(1 + 2 * c, 3 + 2 * c), 16);
  const parts = [0, 1, 2].map((c) =>
    Math.round(mix(channel(stops[i], c), channel(stops[i + 1], c), at - i)),
  );
  return `rgb(${parts.join(",")})`;
}

function drawAgent(context, agent, drive, palette, scale, chosen) {
  const kind = drive.kinds[agent.kind];
  placed(context, agent, () => {
    const colours = {
      body: palette.agent[agent.kind],
      outline: chosen ? palette.select : palette.outline,
      glass: palette.glass,
      brake: agent.braking ? palette.brake : null,
      line: Math.max(chosen ? 0.3 : 0.1, (chosen ? 2.5 : 0.8) / scale),
    };
    AGENT_SHAPES[kind](context, agent.length, agent.width, colours, scale);
  });
}

function drawEgo(context, ego, drive, palette, scale) {
  const { length, width, offset } = drive.vehicle;
  const centre = {
    x: ego.x + offset * Math.cos(ego.heading),
    y: ego.y + offset * Math.sin(ego.heading),
    heading: ego.heading,
  };
  placed(context, centre, () => {
    context.fillStyle = palette.ego;
    context.globalAlpha = 0.25;
    rounded(context, length + 1.6, width + 1.6, 1.3);
    context.fill();
    context.globalAlpha = 1;
    const grown = Math.max(1, 9 / (scale * length)); // stays visible from far away
    context.scale(grown, grown);
    drawCar(context, length, width, {
      body: palette.ego,
      outline: palette.ego_outline,
      glass: palette.glass,
      brake: ego.acceleration < -0.7 ? palette.brake : null,
      line: Math.max(0.14, 1.4 / scale) / grown,
    });
  });
}

function drawRing(context, ego, drive, palette, scale, phase) {
  context.strokeStyle = palette.select;
  context.lineWidth = Math.max(0.35, 2 / scale);
  context.globalAlpha = 0.9 - 0.5 * phase;
  context.beginPath();
  context.arc(ego.x, ego.y, drive.vehicle.length * (0.9 + 0.5 * phase), 0, 2 * Math.PI);
  context.stroke();
  context.globalAlpha = 1;
}

function placed(context, pose, draw) {
  context.save();
  context.translate(pose.x, pose.y);
  context.rotate(pose.heading);
  draw();
  context.restore();
}

function line(context, x0, y0, x1, y1) {
  context.beginPath();
  context.moveTo(x0, y0);
  context.lineTo(x1, y1);
  context.stroke();
}

function disc(context, x, y, radius, colour) {
  context.fillStyle = colour;
  context.beginPath();
  context.arc(x, y, radius, 0, 2 * Math.PI);
  context.fill();
}

function rounded(context, length, width, radius) {
  context.beginPath();
  context.roundRect(-length / 2, -width / 2, length, width, radius);
}

function slab(context, x, length, width, colour) {
  context.fillStyle = colour;
  context.beginPath();
  context.roundRect(x, -width / 2, length, width, Math.min(length, width) * 0.2);
  context.fill();
}

function body(context, length, width, radius, c) {
  rounded(context, length, width, radius);
  context.fillStyle = c.body;
  context.fill();
  context.strokeStyle = c.outline;
  context.lineWidth = c.line;
  context.stroke();
  if (c.brake) {
    for (const side of [-1, 1]) {
      context.fillStyle = c.brake;
      context.fillRect(-length / 2, side * width * 0.31 - width * 0.13, 0.4, width * 0.26);
    }
  }
}

function drawCar(context, l, w, c) {
  body(context, l, w, w * 0.28, c);
  slab(context, l * 0.1, l * 0.15, w * 0.78, c.glass);
  slab(context, -l * 0.38, l * 0.1, w * 0.7, c.glass);
}

function drawVan(context, l, w, c) {
  body(context, l, w, w * 0.18, c);
  slab(context, l * 0.24, l * 0.13, w * 0.82, c.glass);
}

function drawTruck(context, l, w, c) {
  body(context, l, w, w * 0.08, c);
  slab(context, l / 2 - Math.min(2.3, l * 0.25), 0.25, w, c.outline);
  slab(context, l / 2 - 0.95, 0.6, w * 0.82, c.glass);
}

function drawBus(context, l, w, c) {
  body(context, l, w, w * 0.12, c);
  slab(context, l / 2 - 0.9, 0.6, w * 0.86, c.glass);
  context.globalAlpha = 0.35;
  for (const x of [-0.28, 0.12]) slab(context, l * x - 0.6, 1.2, w * 0.5, c.glass);
  context.globalAlpha = 1;
}

function drawTwoWheeler(context, l, w, c) {
  slab(context, -l / 2, l, Math.max(0.3, w * 0.4), c.outline);
  context.fillStyle = c.body;
  context.strokeStyle = c.outline;
  context.lineWidth = c.line;
  context.beginPath();
  context.ellipse(-l * 0.05, 0, l * 0.26, Math.max(0.32, w / 2), 0, 0, 2 * Math.PI);
  context.fill();
  context.stroke();
  disc(context, 0, 0, 0.15, c.outline);
}

function drawPedestrian(context, l, w, c, scale) {
  const radius = Math.max(0.42, w / 2, 2.5 / scale);
  context.fillStyle = c.body;
  context.strokeStyle = c.outline;
  context.lineWidth = c.line;
  context.beginPath();
  context.ellipse(0, 0, radius * 0.7, radius, 0, 0, 2 * Math.PI);
  context.fill();
  context.stroke();
  disc(context, radius * 0.15, 0, radius * 0.38, c.outline);
}

function drawStatic(context, l, w, c) {
  context.globalAlpha = 0.8;
  drawCar(context, l, w, c);
  context.globalAlpha = 1;
}

// The agent under a point, with half a metre (or 8 px) to spare.
function agentNear(agents, x, y, scale) {
  const spare = Math.max(0.5, 8 / scale);
  let best = null;
  for (const agent of agents) {
    const dx = x - agent.x;
    const dy = y - agent.y;
    const along = Math.abs(dx * Math.cos(agent.heading) + dy * Math.sin(agent.heading));
    const across = Math.abs(-dx * Math.sin(agent.heading) + dy * Math.cos(agent.heading));
    if (along > agent.length / 2 + spare || across > agent.width / 2 + spare) continue;
    const distance = Math.hypot(dx, dy);
    if (!best || distance < best.distance) best = { agent, distance };
  }
  return best && best.agent;
}
