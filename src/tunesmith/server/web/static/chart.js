// Draws the figures of a page from <main data-curves>: lines, healthy bands, and findings at the steps where they arose.

const root = document.querySelector("main");
const plots = new Map();
let known = null;
let last = -1;

/** A colour that a canvas understands: light-dark() is resolved by a real element. */
function resolved(name) {
  const probe = document.createElement("i");
  probe.style.color = `var(${name})`;
  document.body.append(probe);
  const found = getComputedStyle(probe).color;
  probe.remove();
  return found;
}
const LINES = ["--one", "--two", "--three", "--four", "--five", "--six"];
const PIN = { info: "--accent", warning: "--warn", error: "--bad" };

function shown(value, form, digits = 3) {
  if (value == null) return "–";
  if (form === "share") return (100 * value).toFixed(Math.abs(value) < 0.1 && value ? 1 : 0) + "%";
  if (value === 0) return "0";
  const size = Math.abs(value);
  return size < 1e-3 || size >= 1e5 ? value.toExponential(1) : String(+value.toPrecision(digits));
}

function range(data, low, high) {
  const [from, to] = data.limits ?? [low, high];
  const bottom = Math.min(low ?? from, from), top = Math.max(high ?? to, to);
  const room = (top - bottom || Math.abs(top) || 1) * 0.06;
  return [bottom === 0 ? 0 : bottom - room, top + room];
}

function drawBand(u, [low, high], fill) {
  if (low == null && high == null) return;
  const top = high == null ? u.bbox.top : Math.max(u.bbox.top, u.valToPos(high, "y", true));
  const end = u.bbox.top + u.bbox.height;
  const bottom = low == null ? end : Math.min(end, u.valToPos(low, "y", true));
  if (!(bottom > top)) return;
  u.ctx.save();
  u.ctx.globalAlpha = 0.1;
  u.ctx.fillStyle = fill;
  u.ctx.fillRect(u.bbox.left, top, u.bbox.width, bottom - top);
  u.ctx.restore();
}

function drawPins(u, pins) {
  const scale = devicePixelRatio, context = u.ctx;
  for (const pin of pins) {
    const x = Math.round(u.valToPos(pin.step, "x", true)), y = u.bbox.top + 9 * scale;
    if (x < u.bbox.left || x > u.bbox.left + u.bbox.width) continue;
    context.save();
    context.strokeStyle = context.fillStyle = resolved(PIN[pin.level]);
    context.setLineDash([3 * scale, 3 * scale]);
    context.beginPath();
    context.moveTo(x, y);
    context.lineTo(x, u.bbox.top + u.bbox.height);
    context.stroke();
    context.beginPath();
    context.arc(x, y, 8 * scale, 0, 7);
    context.fill();
    context.fillStyle = resolved("--on-accent");
    context.font = `bold ${10 * scale}px system-ui`;
    context.textAlign = "center";
    context.textBaseline = "middle";
    context.fillText(pin.number, x, y);
    context.restore();
  }
}

/** Where nothing is pointed at, the legend shows the newest values. */
function newest(u) {
  const ends = u.data.map((column) => column.findLastIndex((value) => value != null));
  u.setLegend({ idxs: ends }, false);
}

function options(figure, data) {
  const pins = () => known.pins.filter((pin) => pin.chart === figure.dataset.chart);
  const text = resolved("--quiet"), grid = { stroke: resolved("--rule"), width: 1 };
  const log = data.form === "log" && data.lines.every((line) => line.values.every((v) => v == null || v > 0));
  const axis = { stroke: text, grid, ticks: grid, font: "11px system-ui" };
  const healthy = resolved("--good");
  return {
    width: figure.clientWidth, height: 188, padding: [8, 8, 0, 0],
    cursor: { sync: { key: "page" }, drag: { x: true, y: false } },
    // A single step is no span: left to itself the axis would go on for a hundred.
    scales: { x: { time: false, range: (_, low, high) => [low, Math.max(high, low + 1)] }, y: log ? { distr: 3 } : { range: (_, low, high) => range(data, low, high) } },
    axes: [{ ...axis, size: 26, incrs: [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000] },
      { ...axis, size: 58, values: (_, ticks) => ticks.map((v) => (v == null ? "" : shown(v, data.form, 5))) }],
    series: [{ label: "step" }, ...data.lines.map((line, i) => ({
      label: line.label, stroke: resolved(LINES[i % LINES.length]), width: 1.75, spanGaps: true,
      points: { show: line.values.filter((v) => v != null).length < 40, size: 5, fill: resolved(LINES[i % LINES.length]) }, dash: i >= LINES.length ? [6, 4] : [],
      value: (_, v) => shown(v, data.form),
    }))],
    hooks: { setCursor: [(u) => u.cursor.idx == null && newest(u)], ready: [newest], drawClear: [(u) => drawBand(u, log ? [null, null] : data.healthy, healthy)], draw: [(u) => drawPins(u, pins())] },
  };
}

function draw() {
  for (const figure of document.querySelectorAll("[data-chart]")) {
    const id = figure.dataset.chart, data = known.charts[id];
    if (!data || !window.uPlot) continue;
    const columns = [data.steps, ...data.lines.map((line) => line.values)];
    const there = plots.get(id);
    if (there?.root.isConnected && there.series.length === columns.length) {
      there.setData(columns);
      if (there.cursor.idx == null) newest(there);
      continue;
    }
    there?.destroy();
    figure.replaceChildren();
    plots.set(id, new uPlot(options(figure, data), columns, figure));
  }
}

function take(news) {
  if (news.whole || !known) known = news;
  else {
    for (const [id, data] of Object.entries(news.charts)) {
      const old = known.charts[id];
      if (!old || old.lines.length !== data.lines.length) { known.charts[id] = data; continue; }
      old.steps.push(...data.steps);
      old.lines.forEach((line, i) => line.values.push(...data.lines[i].values));
    }
    known.pins = news.pins;
  }
  for (const data of Object.values(known.charts)) last = Math.max(last, data.steps.at(-1) ?? -1);
  draw();
}

/** One after the other: points that come twice would be drawn twice. */
let loading = Promise.resolve();
const load = (whole) => (loading = loading.then(() => fetchPoints(whole ? -1 : last)));

async function fetchPoints(after) {
  const answer = await fetch(`${root.dataset.curves}${root.dataset.curves.includes("?") ? "&" : "?"}after=${after}`);
  if (answer.ok) take(await answer.json());
}

function again() {
  plots.forEach((plot) => plot.destroy());
  plots.clear();
  if (known) draw();
}

if (root?.dataset.curves) {
  load(true);
  document.addEventListener("news", ({ detail }) => {
    if (detail.charts) again();
    if (detail.step || detail.charts || detail.findings) load(Boolean(detail.charts));
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", again);
  let width = innerWidth;
  addEventListener("resize", () => width !== innerWidth && (width = innerWidth, again()));
}
