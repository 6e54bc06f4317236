"use strict";

// The sessions that ended last.

function showCloses(closes) {
  element("no-closes").hidden = closes.length > 0;
  fill(element("close-table").tBodies[0], closes, (c) => c.id + c.ended, buildClose, () => {});
}

function buildClose(c) {
  const ended = new Date(c.ended);
  const time = make("time", "", moment(ended));
  time.dateTime = c.ended;
  const path = cell("Path", "mono path", c.path);
  path.title = c.path;
  const code = make("b", "code", String(c.close_code));
  return make("tr", "",
    cell("Ended", "time", time),
    cell("Code", "main", code, " ", make("span", "quiet", codeName(c.close_code))),
    cell("Initiator", "half", c.initiator),
    cell("Why", "half", c.reason.replaceAll("_", " ")),
    cell("Client", "mono", c.client),
    path,
    backendCell(c.pool, c.backend),
    cell("Lasted", "number", long(c.duration_seconds)),
    cell("Session", "mono id", c.id));
}
