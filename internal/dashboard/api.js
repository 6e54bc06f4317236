"use strict";

// Asking the admin API of the listener that the page came from.

const mostWait = 10_000; // milliseconds for an answer
const tokenKey = "sluice-token";

// A Refusal is an answer that says no, with the API's text.
class Refusal extends Error {
  constructor(status, text) {
    super(text);
    this.status = status;
  }
}

// ask returns the JSON of an answer. It throws a Refusal, or whatever else fetch does where there is no answer.
async function ask(method, path) {
  const token = sessionStorage.getItem(tokenKey);
  const answer = await fetch("/api/v1/" + path, {
    method,
    headers: token ? { Authorization: "Bearer " + token } : {},
    signal: AbortSignal.timeout(mostWait),
  });
  const body = await answer.json();
  if (!answer.ok) throw new Refusal(answer.status, body.error);
  return body;
}

// needToken waits until there is a token, if the gateway wants one.
async function needToken() {
  if (document.body.dataset.needsToken !== "true" || sessionStorage.getItem(tokenKey)) return;
  await new Promise((resolve) => {
    const dialog = element("token-dialog");
    dialog.oncancel = (event) => event.preventDefault(); // there is nothing to see without it
    dialog.querySelector("form").onsubmit = (event) => {
      event.preventDefault();
      sessionStorage.setItem(tokenKey, element("token").value.trim());
      element("token").value = "";
      dialog.close();
      resolve();
    };
    dialog.showModal();
  });
}

// forgetToken is for one that was refused, or that there wasn't yet.
function forgetToken() {
  document.body.dataset.needsToken = "true";
  sessionStorage.removeItem(tokenKey);
  element("token-problem").hidden = false;
}

// confirmed opens a dialog and returns whether its form was submitted; check returns what is wrong with what was entered, "" for
// nothing.
function confirmed(dialog, check = () => "") {
  return new Promise((resolve) => {
    const problem = dialog.querySelector(".problem");
    if (problem) problem.hidden = true;
    let isMeant = false;
    dialog.querySelector(".cancel").onclick = () => dialog.close();
    dialog.querySelector("form").onsubmit = (event) => {
      event.preventDefault();
      const text = check();
      if (text) {
        problem.textContent = text;
        problem.hidden = false;
        return;
      }
      isMeant = true;
      dialog.close();
    };
    dialog.onclose = () => resolve(isMeant);
    dialog.showModal();
  });
}

// act changes something, tells what came of it, and has the page look again.
async function act(method, path, told) {
  try {
    await ask(method, path);
    note("good", told);
  } catch (problem) {
    if (problem.status === 401) forgetToken();
    note("bad", problem instanceof Refusal ? problem.message : "The gateway does not answer.");
  }
  lookNow();
}
