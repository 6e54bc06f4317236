"use strict";

// Numbers as people read them. All are in English, as the page is.

const whole = new Intl.NumberFormat("en");
const clock = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit" });
const day = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short" });

// scaled returns a number of at most three digits with the largest unit that leaves at least 1.
function scaled(n, units, step) {
  let i = 0;
  while (i < units.length - 1 && Math.abs(n) >= step * 0.9995) {
    n /= step;
    i++;
  }
  const digits = Number.isInteger(n) ? 0 : Math.abs(n) < 9.95 ? 1 : 0;
  return n.toFixed(digits) + units[i];
}

const count = (n) => n < 100_000 ? whole.format(n) : scaled(n, ["", " k", " M", " G", " T"], 1000);
const rate = (n) => scaled(n, ["", " k", " M", " G"], 1000);
const bytes = (n) => scaled(n, [" B", " KiB", " MiB", " GiB", " TiB", " PiB"], 1024);

// brief is for times from some microseconds on, as those of a round trip.
function brief(seconds) {
  if (seconds === null || seconds === undefined) return "–";
  return seconds === 0 ? "0" : scaled(seconds * 1e6, [" µs", " ms", " s"], 1000);
}

// long is for times up to months, in its two largest units.
function long(seconds) {
  if (seconds < 1) return Math.floor(seconds * 1000) + " ms";
  const s = Math.floor(seconds);
  const two = (a, unit, b, smaller) => b === 0 ? a + " " + unit : a + " " + unit + " " + b + " " + smaller;
  if (s < 60) return s + " s";
  if (s < 3600) return two(Math.floor(s / 60), "min", s % 60, "s");
  if (s < 86400) return two(Math.floor(s / 3600), "h", Math.floor(s % 3600 / 60), "min");
  return two(Math.floor(s / 86400), "d", Math.floor(s % 86400 / 3600), "h");
}

// moment is a time of day; with the day, if it is another than today's.
function moment(date) {
  return date.toDateString() === new Date().toDateString() ? clock.format(date) : day.format(date) + ", " + clock.format(date);
}

// codeNames are RFC 6455 section 7.4.1's, and those that IANA has registered since.
const codeNames = {
  1000: "normal", 1001: "going away", 1002: "protocol error", 1003: "unsupported data", 1005: "without a code", 1007: "invalid data",
  1008: "policy violation", 1009: "too large", 1010: "extension missing", 1011: "internal error", 1012: "service restart",
  1013: "try again later", 1014: "bad gateway",
};
const codeName = (code) => codeNames[code] || (code >= 4000 ? "private" : code >= 3000 ? "registered" : "");
