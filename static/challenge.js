/* Solves the challenge of a visitor who is not in line yet, and sends the proof.

   Rules: the challenge comes with the status (static/waiting.js). A worker computes, so the page
   stays awake, also in a hidden tab. What was tried is kept for this tab, so that a reload continues.
   A proof that cannot be sent is sent again, and one that is refused leads to another challenge:
   the page does not show it, and no visitor has to hurry. A widget of a provider brings its own proof. */
(() => {
  "use strict";

  const TIMEOUT_S = 15;
  const MAX_PAUSE_S = 30;
  const MAX_REFUSED = 5;     // then the gate and this browser do not agree

  const byId = (id) => document.getElementById(id);
  const data = byId("challenge").dataset;
  const page = document.documentElement.dataset;
  const locale = page.intl || document.documentElement.lang;
  const KEY = "gatekeeper:" + page.room + ":challenge";

  let worker = null;
  let visitor = "";           // of the challenge that is being solved
  let refused = 0;
  let policy = null;
  let token = "";             // of a widget that was quicker than the status

  window.gatekeeperSolved = (given) => {   // the callback of the widgets
    token = given;
    if (visitor) send(token);
  };

  document.addEventListener("status", (event) => follow(event.detail));

  function follow(place) {
    const challenge = place.challenge;
    if (!challenge) {
      stop();
    } else if (challenge.type !== data.type) {
      location.reload();      // an operator chose another one
    } else if (visitor !== place.reference && refused < MAX_REFUSED) {
      stop();
      visitor = place.reference;
      if (data.type === "work") work(challenge);
      else if (token) send(token);
    }
  }

  function stop() {
    if (worker) worker.terminate();
    worker = null;
    visitor = "";
  }

  // --- proof of work ----------------------------------------------------------------------------

  function work(given) {
    const kept = recall();
    const isKept = kept && kept.visitor === visitor && kept.url === data.url;
    const task = isKept ? kept : Object.assign({ visitor, url: data.url, next: 0 }, given);
    const begun = { at: Date.now(), next: task.next };
    try {
      worker = new Worker(solver());
    } catch (error) {
      fail();
      return;
    }
    worker.onerror = fail;
    worker.onmessage = (event) => {
      const { next, number } = event.data;
      if (number === null) {
        refuse();             // what was kept is of no use
      } else if (number !== undefined) {
        show(1, 0);
        worker.terminate();
        send(proof(task, number));
      } else {
        task.next = next;
        remember(task);
        const left = (task.maxnumber - next) / (next - begun.next) * (Date.now() - begun.at) / 1000;
        show(next / task.maxnumber, left);
      }
    };
    worker.postMessage({ salt: task.salt, challenge: task.challenge, first: task.next, most: task.maxnumber });
  }

  /* The address of the worker, which Trusted Types let only this policy name. */
  function solver() {
    if (!window.trustedTypes) return data.solver;
    policy = policy || trustedTypes.createPolicy("gatekeeper-solver", {
      createScriptURL: (url) => {
        if (url !== data.solver) throw new TypeError(url);
        return url;
      },
    });
    return policy.createScriptURL(data.solver);
  }

  function proof(task, number) {
    const { algorithm, challenge, salt, signature } = task;
    return btoa(JSON.stringify({ algorithm, challenge, number, salt, signature }));
  }

  function show(share, leftS) {
    byId("tried").value = share;
    byId("left").textContent = span(Math.ceil(leftS));
  }

  function span(seconds) {
    const [value, unit] = seconds < 90 ? [seconds, "second"] : [Math.ceil(seconds / 60), "minute"];
    try {
      return new Intl.NumberFormat(locale, { style: "unit", unit, unitDisplay: "long" }).format(value);
    } catch (error) {
      return value + (unit === "second" ? " s" : " min");   // Safari has units since 2021
    }
  }

  function fail() {
    byId("unsolved").hidden = false;
  }

  // --- the proof --------------------------------------------------------------------------------

  async function send(payload, pauseS) {
    const sentFor = visitor;
    const abort = new AbortController();
    const timeout = setTimeout(() => abort.abort(), TIMEOUT_S * 1000);
    let response = null, status = null;
    try {
      response = await fetch(data.url, {
        method: "POST",
        body: JSON.stringify({ payload }),
        cache: "no-store",
        credentials: "same-origin",
        headers: { Accept: "application/json", "Content-Type": "application/json" },
        signal: abort.signal,
      });
      status = await response.json();
    } catch (error) {
      response = null;        // offline, cut off, too slow, or no JSON
    }
    clearTimeout(timeout);
    if (visitor !== sentFor) return;
    if (response && response.ok) accept(status);
    else if (response && response.status < 500 && response.status !== 408 && response.status !== 429) refuse();
    else setTimeout(() => { if (visitor === sentFor) send(payload, Math.min((pauseS || 1) * 2, MAX_PAUSE_S)); }, (pauseS || 1) * 1000);
  }

  function accept(status) {
    forget();
    stop();
    document.dispatchEvent(new CustomEvent("solved", { detail: status }));
  }

  /* The next status brings another challenge. */
  function refuse() {
    forget();
    stop();
    refused += 1;
    token = "";
    if (window.turnstile) window.turnstile.reset();
    if (window.hcaptcha) window.hcaptcha.reset();
    if (refused >= MAX_REFUSED) fail();
    else document.dispatchEvent(new CustomEvent("refused"));
  }

  // --- storage, which the browser may refuse ------------------------------------------------------

  function recall() {
    try {
      return JSON.parse(sessionStorage.getItem(KEY));
    } catch (error) {
      return null;
    }
  }

  function remember(task) {
    try {
      sessionStorage.setItem(KEY, JSON.stringify(task));
    } catch (error) {
      // Then a reload begins again.
    }
  }

  function forget() {
    try {
      sessionStorage.removeItem(KEY);
    } catch (error) {
      // Then nothing was stored either.
    }
  }
})();
