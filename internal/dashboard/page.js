"use strict";

// The page looks every two seconds; at once where its user did something.

const interval = 2000; // milliseconds

let isDue = false;
let wake = () => {};
let lostAt = null; // when the first answer was missing; null: the gateway answers

function lookNow() {
  isDue = true;
  wake();
}

// pause ends when the page is to look again.
async function pause() {
  if (!isDue) {
    await new Promise((resolve) => {
      wake = resolve;
      setTimeout(resolve, interval);
    });
  }
  isDue = false;
}

// look asks for all that the page shows.
async function look() {
  const query = sessionQuery();
  const [totals, { pools }, { closes }, page] = await Promise.all([
    ask("GET", "totals"), ask("GET", "pools"), ask("GET", "closes"), query && searched(query),
  ]);
  return { totals, pools, closes, page, query };
}

// searched returns a page of sessions. A pool or a backend that has gone meanwhile has none.
async function searched(query) {
  try {
    return await ask("GET", "sessions?" + query);
  } catch (problem) {
    if (problem.status !== 404) throw problem;
    return { sessions: [] };
  }
}

function showAll({ totals, pools, closes, page, query }) {
  remember(totals);
  showPlots();
  showPools(pools, Date.parse(totals.time) / 1000);
  // What was asked may not be wanted any more.
  if (page && String(sessionQuery()) === String(query)) showSessions(page, totals.sessions);
  showCloses(closes);
  showState(totals);
}

function showState(totals) {
  lostAt = null;
  element("lost").hidden = true;
  delete document.body.dataset.isLost;
  element("draining").hidden = !totals.draining;
  element("state").dataset.state = totals.draining ? "draining" : "ready";
  show(element("state"), totals.draining ? "draining" : "ready");
  show(element("host"), location.host + " · ");
  show(element("up"), "up " + long((Date.parse(totals.time) - Date.parse(totals.started)) / 1000));
  document.title = count(totals.sessions) + (totals.sessions === 1 ? " session" : " sessions") + " · Sluice";
}

function showLoss(problem) {
  lostAt ??= new Date();
  const why = problem instanceof Refusal ? "The gateway says: " + problem.message + "." : "The gateway does not answer.";
  show(element("lost"), why + " What is shown is of " + clock.format(lostAt) + "; the page keeps trying.");
  element("lost").hidden = false;
  document.body.dataset.isLost = "true";
  element("state").dataset.state = "lost";
  show(element("state"), "connection lost");
}

async function run() {
  startPlots();
  startSessions();
  for (;;) {
    await needToken();
    let seen = null;
    try {
      seen = await look();
    } catch (problem) {
      if (problem.status === 401) {
        forgetToken();
        continue;
      }
      showLoss(problem);
    }
    if (seen) showAll(seen);
    await pause();
  }
}

run();
