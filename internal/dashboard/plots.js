"use strict";

// The plots of the history. Their colours are the style's: each line has that of its legend's swatch.

const leastSpan = 60; // seconds that plots show at least
const plotHeight = 168; // pixels

// The colours of close codes; others take those that are left, as they come, and then share one.
const codeColours = { 1000: 1, 1001: 2, 1011: 4, 1012: 6 };
const freeColours = [3, 5];

const stepsOf = (base, powers) => powers.flatMap((power) => base.map((step) => step * power));
const decimalSteps = stepsOf([1, 2, 5], [1, 10, 100, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8]);
const binarySteps = stepsOf([1, 2, 4, 8, 16, 32, 64, 128, 256, 512], [1, 1024, 1024 ** 2, 1024 ** 3]);

const bothWays = (counter) => [
  { label: "to backend", colour: 1, values: () => perSecond((sample) => counter(sample.to_backend)) },
  { label: "to client", colour: 2, values: () => perSecond((sample) => counter(sample.to_client)) },
];
const perFrame = (n) => n === null || n === undefined ? "–" : rate(n) + "/s";
const perByte = (n) => n === null || n === undefined ? "–" : bytes(n) + "/s";

const definitions = [
  {
    id: "plot-sessions", title: "Sessions", format: (n) => n === null || n === undefined ? "–" : count(n), steps: decimalSteps,
    lines: [{ label: "live", colour: 1, isFilled: true, values: () => samples.map((sample) => sample.sessions) }],
  },
  { id: "plot-frames", title: "Frames", format: perFrame, lines: bothWays((flow) => flow.frames) },
  { id: "plot-bytes", title: "Bytes", format: perByte, steps: binarySteps, lines: bothWays((flow) => flow.bytes) },
  {
    id: "plot-rtt", title: "Round trips of pings", format: brief, isLog: true,
    lines: [
      { label: "client median", colour: 2, values: () => percentiles("client", 0.5) },
      { label: "99 %", colour: 2, isDashed: true, values: () => percentiles("client", 0.99) },
      { label: "backend median", colour: 1, values: () => percentiles("backend", 0.5) },
      { label: "99 %", colour: 1, isDashed: true, values: () => percentiles("backend", 0.99) },
    ],
  },
];

// plotted are the plots' drawing functions.
const plotted = [];

// The part of time that all plots show, in seconds.
let shownFrom = 0;
let shownTo = 1;

const shortTime = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit" });
const timeOf = (seconds) => clock.format(seconds * 1000);

// timesOf names the times below a plot, less those at its ends, which would be cut or stand in the way.
const timesOf = (plot, splits, axis, space, step) => splits.map((s) => {
  const at = plot.valToPos(s, "x");
  const half = step < 60 ? 27 : 18; // pixels of a name with seconds, or without
  return at < half || at > plot.over.clientWidth - half ? "" : (step < 60 ? clock : shortTime).format(s * 1000);
});

// spaceOf is how many pixels there are at least from one time to the next: where 30 seconds are too few for a name with seconds, a
// minute has one without.
const spaceOf = (plot, axis, from, to, size) => {
  const half = size / (to - from) * 30;
  return to - from < 240 || half >= 64 ? 64 : Math.max(44, half + 1);
};

// card makes the frame of a plot.
function card(id, title) {
  const legend = make("ul", "legend");
  const at = make("time", "");
  const area = make("div", "plot");
  area.setAttribute("role", "img");
  const node = make("article", "card", make("div", "head", make("h3", "", title), at), legend, area);
  node.id = id;
  element("plots").append(node);
  return { title, node, legend, at, area };
}

// entry adds a line to a legend and returns where its value stands, and its colour.
function entry(legend, label, colour, isDashed) {
  const swatch = make("i", isDashed ? "swatch dashed" : "swatch");
  swatch.dataset.colour = colour;
  const value = make("b", "");
  legend.append(make("li", "", swatch, make("span", "", label), value));
  return { value, swatch };
}

const fromZero = { range: (plot, low, high) => [0, high > 0 ? high * 1.1 : 1] };
const wholePower = (n, round) => 10 ** round(Math.log10(n));
// From some microseconds to seconds, small ones stay to be seen.
const logarithmic = { distr: 3, range: (plot, low, high) => high > 0 ? [wholePower(low, Math.floor), wholePower(high, Math.ceil)] : [1e-4, 1e-1] };
const powersOf = (plot, axis, low, high) => {
  const powers = [];
  for (let i = Math.round(Math.log10(low)); i <= Math.round(Math.log10(high)); i++) powers.push(Number("1e" + i));
  return powers;
};

// chart makes an empty plot in a card. It calls pointed with the index under the pointer; null: there is none.
function chart(frame, { format, steps, isLog, to = () => shownTo }, series, pointed) {
  const quiet = () => getComputedStyle(frame.at).color;
  const edge = () => getComputedStyle(frame.area).borderTopColor;
  const font = "11px system-ui, sans-serif";
  const axis = { stroke: quiet, font, grid: { stroke: edge, width: 1 }, ticks: { show: false } };
  return new uPlot({
    width: Math.max(frame.area.clientWidth, 100),
    height: plotHeight,
    legend: { show: false },
    padding: [8, 8, 0, 0],
    cursor: { y: false, drag: { setScale: false, x: false, y: false }, points: { size: 6 }, sync: { key: "time" } },
    scales: {
      x: { time: true, range: () => [shownFrom, to()] },
      y: isLog ? logarithmic : fromZero,
    },
    axes: [
      { ...axis, values: timesOf, space: spaceOf, size: 22, gap: 4 },
      {
        ...axis, size: 58, gap: 6, space: 32, ...(steps && { incrs: steps }), ...(isLog && { splits: powersOf }),
        values: (plot, splits) => splits.map((n) => n === 0 ? "0" : n === null ? "" : format(n).replace("/s", "")),
      },
    ],
    series: [{}, ...series],
    hooks: { setCursor: [(plot) => pointed(plot.cursor.idx ?? null)] },
  }, [[], ...series.map(() => [])], frame.area);
}

const colourOf = (swatch) => getComputedStyle(swatch).color;
const faint = (colour) => colour.replace(/^rgb\((.*)\)$/, "rgba($1, 0.13)");

// lines makes a plot of lines.
function lines(definition) {
  const frame = card(definition.id, definition.title);
  const entries = definition.lines.map((line) => entry(frame.legend, line.label, line.colour, line.isDashed));
  let times = [];
  let values = definition.lines.map(() => []);
  const tell = (i) => {
    show(frame.at, i === null ? "" : timeOf(times[i]));
    entries.forEach(({ value }, k) => show(value, definition.format(values[k][i ?? times.length - 1])));
  };
  const plot = chart(frame, definition, definition.lines.map((line, k) => ({
    stroke: () => colourOf(entries[k].swatch),
    fill: line.isFilled && (() => faint(colourOf(entries[k].swatch))),
    dash: line.isDashed && [4, 4],
    width: 1.75,
    points: { show: false },
  })), tell);
  plotted.push({ frame, plot: () => plot, draw: () => {
    times = samples.map((sample) => sample.at);
    values = definition.lines.map((line) => line.values());
    plot.setData([times, ...values]);
    tell(plot.cursor.idx ?? null);
    frame.area.setAttribute("aria-label", definition.title + ": " + frame.legend.innerText.replace(/\s+/g, " "));
  } });
}

// bars makes the plot of closes, a bar for each time, of a part for each code.
function bars() {
  const frame = card("plot-closes", "Closes by code");
  const colours = new Map(Object.entries(codeColours));
  const none = make("li", "none", "none in this time");
  let plot = null;
  let shown = ""; // the codes that the plot has
  let names = [];
  let entries = [];
  let parts = []; // for each code, its count in each bin
  let times = [];
  const tell = (i) => {
    show(frame.at, i === null ? "" : timeOf(times[i] - binSeconds / 2) + "–" + timeOf(times[i] + binSeconds / 2));
    entries.forEach(({ value }, k) => show(value, count(i === null ? parts[k].reduce((sum, n) => sum + n, 0) : parts[k][i] ?? 0)));
  };
  const renew = () => {
    plot?.destroy();
    frame.legend.replaceChildren();
    entries = names.map((name) => entry(frame.legend, name === "others" ? name : name + " " + codeName(Number(name)), colours.get(name) ?? 0));
    if (names.length === 0) frame.legend.append(none);
    // The tallest is drawn first, and the others before it.
    plot = chart(frame, { format: count, steps: decimalSteps, to: () => Math.max(shownTo, times.at(-1) + binSeconds / 2) }, entries.map(({ swatch }) => ({
      stroke: () => colourOf(swatch), fill: () => colourOf(swatch), width: 0, points: { show: false }, paths: uPlot.paths.bars({ size: [0.8, 24], align: 0 }),
    })).reverse(), tell);
  };
  plotted.push({ frame, plot: () => plot, draw: () => {
    const { times: bins, codes } = closesByCode();
    times = bins;
    const known = new Map();
    for (const code of [...codes.keys()].sort((a, b) => a - b)) {
      const name = code === 0 ? "others" : String(code); // 0: those that the gateway doesn't count apart
      if (code !== 0 && !colours.has(name) && freeColours.length > 0) colours.set(name, freeColours.shift());
      const to = colours.has(name) ? name : "others";
      known.set(to, known.has(to) ? known.get(to).map((n, i) => n + codes.get(code)[i]) : codes.get(code));
    }
    names = [...known.keys()];
    parts = [...known.values()];
    if (plot === null || names.join() !== shown) {
      shown = names.join();
      renew();
    }
    const stacked = parts.map((_, k) => times.map((_, i) => parts.slice(0, k + 1).reduce((sum, part) => sum + part[i], 0)));
    plot.setData([times, ...stacked.reverse()]);
    tell(plot.cursor.idx ?? null);
    frame.area.setAttribute("aria-label", "Closes by code: " + frame.legend.innerText.replace(/\s+/g, " "));
  } });
}

// showPlots draws what is remembered.
function showPlots() {
  shownTo = samples.at(-1).at;
  const span = Math.min(Math.max(shownTo - samples[0].at, leastSpan), spanSeconds);
  shownFrom = shownTo - span;
  show(element("span"), "Last " + long(Math.round(span)));
  for (const { draw } of plotted) draw();
}

function startPlots() {
  definitions.forEach(lines);
  bars();
  const resized = new ResizeObserver((all) => {
    for (const { target, contentRect } of all) {
      plotted.find(({ frame }) => frame.area === target).plot()?.setSize({ width: contentRect.width, height: plotHeight });
    }
  });
  for (const { frame } of plotted) resized.observe(frame.area);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => plotted.forEach(({ plot }) => plot()?.redraw(false)));
}
