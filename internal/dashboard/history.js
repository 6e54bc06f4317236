"use strict";

// What the page has seen of the gateway: samples of its totals, and the rates that two of them make.

const spanSeconds = 300; // that plots show
const rttSeconds = 60; // over which round-trip times are gathered: a session is pinged once in ping_interval
const binSeconds = 10; // over which closes are counted

let samples = []; // totals, the oldest first, each with its time in seconds

// remember adds a sample, and forgets those that no plot needs. A gateway that started anew has no past.
function remember(totals) {
  const before = samples.at(-1);
  if (before && before.started !== totals.started) samples = [];
  const at = Date.parse(totals.time) / 1000;
  if (samples.length > 0 && at <= samples.at(-1).at) return;
  samples.push({ ...totals, at });
  while (samples[0].at < at - spanSeconds - rttSeconds) samples.shift();
}

// perSecond returns the rate of a counter in each sample; null in the first.
const perSecond = (counter) => samples.map((sample, i) => {
  if (i === 0) return null;
  const before = samples[i - 1];
  return (counter(sample) - counter(before)) / (sample.at - before.at);
});

// percentiles returns an estimate for each sample from the histogram of what came in the time before it; null: nothing came.
function percentiles(side, share) {
  let from = 0;
  return samples.map((sample) => {
    while (samples[from].at < sample.at - rttSeconds) from++;
    const counts = sample.ping_rtt[side].map((n, k) => n - samples[from].ping_rtt[side][k]);
    const wanted = share * counts.reduce((sum, n) => sum + n, 0);
    if (wanted === 0) return null;
    const bounds = sample.ping_rtt.bounds_seconds;
    let below = 0;
    for (let k = 0; k < bounds.length; k++) {
      if (below + counts[k] >= wanted) {
        const lower = k === 0 ? 0 : bounds[k - 1];
        return lower + (bounds[k] - lower) * (wanted - below) / counts[k];
      }
      below += counts[k];
    }
    return bounds.at(-1);
  });
}

// closesByCode returns the times of bins, and for each code that came how many closes fell into each.
function closesByCode() {
  const sums = samples.map((sample) => {
    const byCode = new Map();
    for (const c of sample.closes) byCode.set(c.close_code, (byCode.get(c.close_code) || 0) + c.count);
    return byCode;
  });
  const first = Math.floor(samples[0].at / binSeconds);
  const bins = Math.floor(samples.at(-1).at / binSeconds) - first + 1;
  const codes = new Map();
  for (let i = 1; i < samples.length; i++) {
    for (const [code, n] of sums[i]) {
      const more = n - (sums[i - 1].get(code) || 0);
      if (more === 0) continue;
      if (!codes.has(code)) codes.set(code, new Array(bins).fill(0));
      codes.get(code)[Math.floor(samples[i].at / binSeconds) - first] += more;
    }
  }
  return { times: Array.from({ length: bins }, (_, i) => (first + i + 0.5) * binSeconds), codes };
}

// A Meter makes a rate of a counter that may miss a little for a moment, as those of a backend do while one of its sessions ends.
class Meter {
  constructor() {
    this.base = null;
    this.isBehind = false;
  }

  // rate returns how much a second came since the last call; null: this is the first.
  rate(value, at) {
    const before = this.base;
    if (before !== null && value < before.value && !this.isBehind) {
      this.isBehind = true;
      return 0;
    }
    this.base = { value, at };
    this.isBehind = false;
    return before === null || at <= before.at ? null : Math.max(0, value - before.value) / (at - before.at);
  }
}
