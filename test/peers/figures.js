// The figures that the dashboard's scripts make of the API's answers, without a browser.
// Argument: the directory of the scripts. It ends with an error if one is wrong.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { runInThisContext } from "node:vm";

const [directory] = process.argv.slice(2);
const text = ["format.js", "history.js", "plots.js"].map((name) => readFileSync(join(directory, name), "utf8")).join("\n");
const { count, rate, bytes, brief, long, codeName, remember, perSecond, percentiles, closesByCode, Meter, timesOf, times } = runInThisContext(
  text + "\n({ count, rate, bytes, brief, long, codeName, remember, perSecond, percentiles, closesByCode, Meter, timesOf, times: () => samples.map((s) => s.at) })");

// Three digits at most, in the unit that fits.
for (const [got, want] of [
  [count(0), "0"], [count(12345), "12,345"], [count(123456), "123 k"], [count(1234567), "1.2 M"],
  [rate(0), "0"], [rate(0.5), "0.5"], [rate(9.97), "10"], [rate(999.9), "1.0 k"], [rate(1234), "1.2 k"], [rate(45678), "46 k"],
  [bytes(0), "0 B"], [bytes(1000), "1000 B"], [bytes(1023.9), "1.0 KiB"], [bytes(1536), "1.5 KiB"], [bytes(5 * 1024 ** 3), "5 GiB"],
  [brief(null), "–"], [brief(0.00025), "250 µs"], [brief(0.0123), "12 ms"], [brief(2.5), "2.5 s"],
  [long(0.25), "250 ms"], [long(59.9), "59 s"], [long(60), "1 min"], [long(312), "5 min 12 s"], [long(3 * 3600 + 4 * 60), "3 h 4 min"],
  [long(2 * 86400 + 3 * 3600), "2 d 3 h"],
  [codeName(1012), "service restart"], [codeName(4001), "private"], [codeName(3000), "registered"], [codeName(1015), ""],
]) assert.equal(got, want);

// sample returns totals at a second, with so many frames, round-trip times and closes.
const sample = (second, frames, client, closes, started = "2026-01-01T00:00:00Z") => ({
  time: new Date(1_800_000_000_000 + second * 1000).toISOString(), started, to_backend: { frames },
  ping_rtt: { bounds_seconds: [0.001, 0.01, 0.1], client, backend: [0, 0, 0, 0] },
  closes: Object.entries(closes).map(([code, n]) => ({ initiator: "client", close_code: Number(code), count: n })),
});

remember(sample(0, 100, [5, 0, 0, 0], { 1000: 7 }));
remember(sample(2, 300, [5, 4, 0, 0], { 1000: 8 }));
remember(sample(2, 300, [5, 4, 0, 0], { 1000: 8 })); // the same moment again
remember(sample(4, 300, [5, 8, 1, 1], { 1000: 8, 4001: 2 }));
remember(sample(12, 340, [5, 8, 1, 1], { 1000: 9, 4001: 2 }));
assert.deepEqual(perSecond((s) => s.to_backend.frames), [null, 100, 0, 5]);
// What was before the page looked doesn't count: from then on there are 8, 1 and 1 of 10.
assert.deepEqual(percentiles("client", 0.5).map((s) => s && s.toFixed(6)), [null, "0.005500", "0.006625", "0.006625"]);
assert.equal(percentiles("client", 0.99).at(-1), 0.1); // over all bounds: the last
assert.deepEqual(percentiles("backend", 0.5), [null, null, null, null]);
const { times: bins, codes } = closesByCode();
assert.deepEqual(bins.map((s) => s - 1_800_000_000), [5, 15]);
assert.deepEqual([...codes], [[1000, [1, 1]], [4001, [2, 0]]]);

// Five minutes and one for round trips are kept; a gateway that started anew has no past.
for (let second = 14; second <= 600; second += 2) remember(sample(second, 340, [5, 8, 1, 1], {}));
assert.equal(times().at(-1) - times()[0], 360);
assert.deepEqual(percentiles("client", 0.5).at(-1), null); // nothing came for a minute
remember(sample(602, 0, [0, 0, 0, 0], {}, "2026-01-02T00:00:00Z"));
assert.equal(times().length, 1);

// A backend's counter misses what a session moved that ends just then: it comes a moment later, and is no burst.
const meter = new Meter();
assert.deepEqual([[1000, 0], [1200, 2], [700, 4], [1600, 6], [0, 8], [0, 10], [50, 12]].map(([value, at]) => meter.rate(value, at)),
  [null, 100, 0, 100, 0, 0, 25]);

// Faults D. A name of a time at an end of a plot would be cut: those with seconds are wider.
const plot = { valToPos: (s) => s, over: { clientWidth: 300 } };
assert.deepEqual(timesOf(plot, [20, 30, 150, 270, 280], null, 0, 30).map((name) => name.length), [0, 8, 8, 8, 0]);
assert.deepEqual(timesOf(plot, [10, 20, 150, 280, 290], null, 0, 60).map((name) => name.length), [0, 5, 5, 5, 0]);
