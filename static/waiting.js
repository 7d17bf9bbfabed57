/* Keeps the waiting page alive: asks for the place, shows it, and goes in when it is our turn.

   Rules: asking is the heartbeat that keeps the place. A waiting answer may come with 503, so the
   JSON is judged by its `state` at any status. All words are in the page; this brings numbers.
   The language is that of 2017, since a script an old phone cannot read would leave it stranded:
   no heartbeat, and no <noscript> either. */
(() => {
  "use strict";

  const MAX_BACKOFF_S = 60;   // below any sane abandon_after
  const HIDDEN_S = 20;        // browsers stretch hidden timers to a minute at worst
  const FIRST_POLL_S = 2;     // the first answer proves that the cookie is kept
  const TIMEOUT_S = 10;
  const ANNOUNCE_AT = [100, 50, 25, 10, 5, 1];

  const root = document.documentElement;
  const data = root.dataset;
  const byId = (id) => document.getElementById(id);
  const numbers = new Intl.NumberFormat(root.lang);

  let timer = 0;
  let asking = null;          // the AbortController of the request under way
  let over = false;           // admitted, lost or left: nothing more to ask
  let failures = 0;
  let refreshS = Number(data.refresh) || 5;
  let announced = Infinity;   // the position last spoken

  // --- asking -----------------------------------------------------------------------------------

  function intervalS() {
    if (failures > 0) return refreshS * Math.pow(2, failures);
    return document.hidden ? Math.max(refreshS, HIDDEN_S) : refreshS;
  }

  function askIn(seconds) {
    clearTimeout(timer);
    const jittered = seconds * (0.85 + 0.3 * Math.random());
    timer = setTimeout(ask, Math.min(jittered, MAX_BACKOFF_S) * 1000);
  }

  async function ask() {
    if (asking || over) return;
    clearTimeout(timer);
    asking = new AbortController();
    const timeout = setTimeout(() => asking.abort(), TIMEOUT_S * 1000);
    let answer = null;
    try {
      const response = await fetch(data.status, {
        cache: "no-store",
        credentials: "same-origin",
        headers: { Accept: "application/json" },
        signal: asking.signal,
      });
      answer = await response.json();
    } catch (error) {
      // Offline, cut off, too slow, or no JSON: all one to the visitor.
    }
    clearTimeout(timeout);
    asking = null;
    if (over) return;
    take(answer || {});
    if (!over) askIn(intervalS());
  }

  function askNow() {
    if (!document.hidden) ask();
  }

  function take(answer) {
    const known = { waiting: takePlace, admitted: enter, none: lineUpAgain };
    if (!known.hasOwnProperty(answer.state)) {
      failures += 1;
      show("reconnecting");
      return;
    }
    failures = 0;
    known[answer.state](answer);
  }

  // --- what an answer does ----------------------------------------------------------------------

  function takePlace(place) {
    refreshS = Math.max(1, Number(place.refresh_seconds) || refreshS);
    forget("lost");
    if (place.position === null) {
      show("reconnecting");
      return;
    }
    byId("position").textContent = numbers.format(place.position);
    document.querySelector(".place").hidden = false;
    byId("ahead").textContent = place.ahead === null ? "–" : numbers.format(place.ahead);
    byId("wait").textContent = waitWords(place.eta_seconds, byId("wait").dataset);
    byId("rate").textContent = rateWords(place.rate_per_minute, byId("rate").dataset);
    showProgress(place.position, place.arrived_at);
    show(place.rate_per_minute === 0 ? "held" : "waiting");
    document.title = numbers.format(place.position) + " · " + data.title;
    announcePlace(place.position);
  }

  function enter() {
    reloadAs("admitted", "enter", { most: 3, delayS: 0 });
  }

  function lineUpAgain() {
    reloadAs("lost", "cookies", { most: 1, delayS: 2 + 3 * Math.random() });
  }

  /* Reloads, unless that was just tried: then the visitor presses the button of state `instead`. */
  function reloadAs(state, instead, { most, delayS }) {
    over = true;
    const now = Date.now();
    const recent = (recall(state) || []).filter((time) => now - time < 60000);
    const kept = remember(state, recent.concat(now));
    if (recent.length >= most || (!kept && cameByReload())) {
      show(instead);
      return;
    }
    show(state);
    setTimeout(() => location.reload(), delayS * 1000);
  }

  function cameByReload() {
    const entry = performance.getEntriesByType("navigation")[0];
    return !entry || entry.type === "reload";
  }

  // --- showing ----------------------------------------------------------------------------------

  function show(state) {
    if (data.state === state) return;
    data.state = state;
    announced = Infinity;
    document.querySelectorAll("[data-when]").forEach((element) => {
      element.hidden = !element.dataset.when.split(" ").includes(state);
    });
    const heading = document.querySelector("h1 > :not([hidden])").textContent;
    if (state !== "waiting") {
      if (over) document.title = heading;
      say(heading + ". " + document.querySelector(".lead > :not([hidden])").textContent);
    }
  }

  function say(words) {
    byId("live").textContent = words;
  }

  /* Speaks the first place, then at a few steps only: a number each second is noise. */
  function announcePlace(position) {
    const step = ANNOUNCE_AT.filter((at) => position <= at).pop();
    if (announced !== Infinity && !(step < announced)) return;
    announced = step || position;
    say(data.say.replace("#", numbers.format(position)));
  }

  /* Counts from the first position this tab saw. Others may rightly come in before us (they kept
     their place), so the position can rise; the bar then stands still. */
  function showProgress(position, arrivedAt) {
    let seen = recall("progress");
    if (!seen || seen.arrivedAt !== arrivedAt) seen = { arrivedAt, first: position, best: 0 };
    seen.best = Math.max(seen.best, 1 - position / (seen.first + 1));
    remember("progress", seen);
    byId("progress").value = Math.max(byId("progress").value, seen.best);
    document.querySelector(".way").hidden = false;
  }

  /* The same ranges as wait_range in gatekeeper/web/pages.py. */
  function waitWords(etaSeconds, words) {
    if (etaSeconds === null) return words.unknown;
    const low = etaSeconds * 0.8 / 60;
    const high = etaSeconds * 1.25 / 60;
    if (high <= 1) return words.soon;
    if (high <= 90) return rangeWords("minute", low, high, high <= 15 ? 1 : 5);
    if (high <= 1440) return rangeWords("hour", low / 60, high / 60, high <= 360 ? 0.5 : 1);
    return words.long;
  }

  function rangeWords(unit, low, high, step) {
    const first = Math.max(Math.floor(low / step) * step, step);
    const last = Math.max(Math.ceil(high / step) * step, first + step);
    try {
      const format = new Intl.NumberFormat(root.lang, { style: "unit", unit, unitDisplay: "long" });
      return format.formatRange(first, last);
    } catch (error) {
      return first + "–" + last + " " + unit + "s";
    }
  }

  function rateWords(perMinute, words) {
    if (perMinute === 0) return words.held;
    if (perMinute < 1) return words.hour.replace("#", numbers.format(Math.round(perMinute * 60)));
    return words.minute.replace("#", numbers.format(Math.round(perMinute)));
  }

  // --- leaving ----------------------------------------------------------------------------------

  async function leave(event) {
    event.preventDefault();
    const button = event.target.querySelector("button");
    button.disabled = true;
    byId("failed").hidden = true;
    try {
      const response = await fetch(event.target.action, {
        method: "POST",
        credentials: "same-origin",
        headers: { Accept: "application/json" },
      });
      if (!response.ok) throw new Error(response.status);
      over = true;   // else the next heartbeat would ask for a place again
      clearTimeout(timer);
      if (asking) asking.abort();
      show("left");
      document.querySelector("h1").focus();
    } catch (error) {
      byId("failed").hidden = false;
    }
    button.disabled = false;
  }

  function stay() {
    byId("leave").open = false;
    byId("leave").querySelector("summary").focus();
  }

  // --- this tab's memory, which the browser may refuse ---------------------------------------------

  const key = (name) => "gatekeeper:" + data.room + ":" + name;

  function recall(name) {
    try {
      return JSON.parse(sessionStorage.getItem(key(name)));
    } catch (error) {
      return null;
    }
  }

  function remember(name, value) {
    try {
      sessionStorage.setItem(key(name), JSON.stringify(value));
      return true;
    } catch (error) {
      return false;
    }
  }

  function forget(name) {
    try {
      sessionStorage.removeItem(key(name));
    } catch (error) {
      // Then nothing was remembered either.
    }
  }

  // --- start ------------------------------------------------------------------------------------

  const since = byId("since");
  since.textContent = new Date(since.dateTime)
    .toLocaleTimeString([], { hour: "numeric", minute: "2-digit" });
  byId("still").hidden = true;
  byId("stay").hidden = false;
  byId("stay").addEventListener("click", stay);
  byId("leave").addEventListener("toggle", () => {
    if (byId("leave").open) byId("leave").scrollIntoView({ block: "nearest" });
  });
  document.querySelector("#leave form").addEventListener("submit", leave);
  document.addEventListener("visibilitychange", askNow);
  addEventListener("online", askNow);
  addEventListener("pageshow", (event) => { if (event.persisted) askNow(); });
  if (data.position) showProgress(Number(data.position), data.arrived);
  askIn(Math.min(refreshS, FIRST_POLL_S));
})();
