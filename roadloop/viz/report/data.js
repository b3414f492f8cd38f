// The drive: the page's data block decoded into arrays, and the world at any moment between steps.

async function readDrive() {
  const meta = JSON.parse(document.getElementById("meta").textContent);
  const text = atob(document.getElementById("arrays").textContent);
  const packed = Uint8Array.from(text, (letter) => letter.charCodeAt(0));
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate"));
  const buffer = await new Response(stream).arrayBuffer();
  const drive = { ...meta };
  for (const [name, entry] of Object.entries(meta.arrays)) drive[name] = unpack(buffer, entry);
  drive.agents = drive.agentId.length;
  drive.planPoints = meta.arrays.planValid.columns;
  drive.bars = meta.arrays.barLight.columns;
  drive.lamps = meta.arrays.lampLight.columns;
  return drive;
}

// Integers are differences along the first axis; floats are stored as they are.
function unpack(buffer, { kind, at, length, columns, unit }) {
  const Type = { Uint8: Uint8Array, Int16: Int16Array, Int32: Int32Array, Float32: Float32Array };
  const stored = new Type[kind](buffer, at, length);
  if (kind === "Float32") return stored;
  for (let i = columns; i < length; i++) stored[i] += stored[i - columns];
  if (unit === 1) return stored;
  return Float64Array.from(stored, (value) => value * unit);
}

function mix(a, b, t) {
  return a + (b - a) * t;
}

// The angle between two headings along the shorter way round.
function mixAngle(a, b, t) {
  const turn = Math.atan2(Math.sin(b - a), Math.cos(b - a));
  return a + turn * t;
}

// Whole step before a moment and the part of a step after it.
function splitStep(drive, step) {
  const k = Math.max(0, Math.min(drive.steps - 1, Math.floor(step)));
  return [k, Math.min(k + 1, drive.steps - 1), Math.max(0, Math.min(1, step - k))];
}

function egoAt(drive, step) {
  const [k, next, t] = splitStep(drive, step);
  return {
    x: mix(drive.egoXY[2 * k], drive.egoXY[2 * next], t),
    y: mix(drive.egoXY[2 * k + 1], drive.egoXY[2 * next + 1], t),
    heading: mixAngle(drive.egoHeading[k], drive.egoHeading[next], t),
    speed: mix(drive.egoSpeed[k], drive.egoSpeed[next], t),
    acceleration: drive.egoAcceleration[k],
  };
}

// Box centre of agent `i`, or null where it is not there.
function agentAt(drive, i, step) {
  const [k, next, t] = splitStep(drive, step);
  const a = k * drive.agents + i;
  const b = next * drive.agents + i;
  if (!drive.agentValid[a]) return null;
  const end = drive.agentValid[b] ? b : a;
  return {
    index: i,
    id: drive.agentId[i],
    kind: drive.agentKind[i],
    length: drive.agentSize[2 * i],
    width: drive.agentSize[2 * i + 1],
    x: mix(drive.agentX[a], drive.agentX[end], t),
    y: mix(drive.agentY[a], drive.agentY[end], t),
    heading: mixAngle(drive.agentHeading[a], drive.agentHeading[end], t),
    speed: mix(drive.agentSpeed[a], drive.agentSpeed[end], t),
    braking: drive.agentBraking[a] === 1,
  };
}

function agentsAt(drive, step) {
  const found = [];
  for (let i = 0; i < drive.agents; i++) {
    const agent = agentAt(drive, i, step);
    if (agent) found.push(agent);
  }
  return found;
}

// Seconds on the drive's own clock, as the score counts them.
function timeOf(drive, step) {
  return drive.start + step * drive.dt;
}

function stepOf(drive, time) {
  return Math.max(0, Math.min(drive.steps - 1, (time - drive.start) / drive.dt));
}
