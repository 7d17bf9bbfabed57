/* Keeps the waiting page alive: asks for the place, shows it, and goes in when it is our turn.

   Rules: asking is the heartbeat that keeps the place. A waiting answer may come with 503, so the
   JSON is judged by its `state` at any status. All words are in the page; this brings numbers.
   The language is that of 2017, since a script an old phone cannot read would leave it stranded:
   no heartbeat, and no <noscript> either. What may be missing is asked for before it is used. */
(() => {
  "use strict";

  const MAX_BACKOFF_S = 60;   // below any sane heartbeat_timeout
  const HIDDEN_S = 20;        // browsers stretch hidden timers to a minute at worst, so that a
  const MAX_HIDDEN_S = 45;    // place is still claimed within two
  const FIRST_POLL_S = 2;     // the first answer proves that the cookie is kept
  const TIMEOUT_S = 10;
  const QUIET_S = 45;         // a stream that says nothing for so long is asked past
  const OLD_PLACE_MS = 2 * 3600 * 1000;
  const ANNOUNCE_AT = [100, 50, 25, 10, 5, 1];

  const root = document.documentElement;
  const data = root.dataset;
  const rows = JSON.parse(data.states);    // gatekeeper/pages/states.py: what each state shows
  const byId = (id) => document.getElementById(id);
  const locale = data.intl || root.lang;   // with the digits that the server writes
  const numbers = new Intl.NumberFormat(locale, { useGrouping: true });
  // Times as in the visitor's region, where that has the language of the page.
  const region = (navigator.languages || []).find((name) => name.split("-")[0] === root.lang.split("-")[0]);
  const clock = new Intl.DateTimeFormat(region || locale, { hour: "numeric", minute: "2-digit" });

  let timer = 0;
  let asking = null;          // the AbortController of the request under way
  let stream = null;          // the EventSource, where the gate streams
  let failures = 0;
  let refreshS = Number(data.refresh) || 5;
  let arrivedAt = data.arrived;
  let heardAt = Date.now();
  let announced = Infinity;   // the position last spoken
  let toSay = [];

  // --- asking -----------------------------------------------------------------------------------

  function intervalS() {
    if (failures > 0) return refreshS * Math.pow(2, failures);
    if (stream && stream.readyState === EventSource.OPEN) return QUIET_S;
    if (!document.hidden) return refreshS;
    return Math.max(refreshS, Math.min(Math.max(refreshS * 2, HIDDEN_S), MAX_HIDDEN_S));
  }

  function askIn(seconds) {
    clearTimeout(timer);
    const jittered = seconds * (0.85 + 0.3 * Math.random());
    timer = setTimeout(ask, Math.min(jittered, MAX_BACKOFF_S) * 1000);
  }

  async function ask() {
    if (asking || !polls()) return;
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
    if (!polls()) return;
    take(answer || {});
    if (polls()) askIn(intervalS());
  }

  function askNow() {
    listen();
    if (document.hidden) return;
    const reload = row().reload;
    if (reload && reload.maxDelayS === 0) location.reload();   // it only waited to be seen
    else ask();
  }

  /* Where the gate streams, each event puts off the next question; so whatever goes wrong with
     the stream, the page asks as ever. Only a tab that is seen listens: a browser has six
     connections for a site. Between two places this counts on by how many were released. */
  function listen() {
    if (data.updates !== "stream" || !window.EventSource) return;
    if (document.hidden) {
      if (!stream) return;
      stream.close();
      stream = null;
      askIn(intervalS());
      return;
    }
    if (stream && stream.readyState !== EventSource.CLOSED) return;
    const mine = stream = new EventSource(data.status);
    let place = null;         // the last that was exact
    const on = (name, then) => mine.addEventListener(name, (event) => {
      if (mine === stream && polls()) then(JSON.parse(event.data));
    });
    on("place", (told) => {
      place = told;
      take(place);
      if (polls()) askIn(intervalS());
    });
    on("room", (told) => {
      if (!place || place.position === null) return;
      const released = told.released_total - place.released_total || 0;
      const ahead = Math.max(place.ahead - Math.max(released, 0), 0);
      place = Object.assign(place, told, { ahead, position: ahead + 1 });
      const rate = place.rate_per_minute;
      place.eta_seconds = rate ? Math.ceil((ahead + 1) * 60 / rate) : null;
      takePlace(place);
      askIn(intervalS());
    });
    on("admitted", ask);
    on("gone", ask);
    mine.onerror = () => { if (mine === stream && polls()) askIn(intervalS()); };
  }

  function take(answer) {
    const known = { waiting: takePlace, admitted: enter, none: lineUpAgain };
    if (!known.hasOwnProperty(answer.state)) {
      failures += 1;
      show(stateOf({ position: null }));
      return;
    }
    failures = 0;
    known[answer.state](answer);
    heardAt = Date.now();
    beat();
  }

  // --- what an answer does ----------------------------------------------------------------------

  function takePlace(place) {
    refreshS = Math.max(1, Number(place.refresh_seconds) || refreshS);
    arrivedAt = place.arrived_at;
    forget("lost");
    const state = stateOf(place);
    if (place.position === null) {
      show(state);
      return;
    }
    showMessage(place.message || "");
    if (rows[state].place === "none") {
      show(state);
      return;
    }
    const etaSeconds = rows[state].eta ? place.eta_seconds : null;
    byId("position").textContent = numbers.format(place.position);
    byId("ahead").textContent = place.ahead === null ? "–" : numbers.format(place.ahead);
    byId("wait").textContent = waitWords(etaSeconds, byId("wait").dataset);
    byId("turn").textContent = turnWords(etaSeconds);
    byId("rate").textContent = rateWords(rows[state].speed, place.rate_per_minute);
    showProgress(place.position);
    showInTab(place.position);
    show(state);
    announcePlace(place.position);
  }

  function stateOf(place) {
    const reason = place.position === null ? "reconnecting" : place.reason;
    return Object.keys(rows).find((name) => rows[name].reason === reason) || "waiting";
  }

  function enter() {
    forget("place");
    const turn = new CustomEvent("turn", { detail: { delayS: 0 } });
    reloadIn("admitted", () => {
      document.dispatchEvent(turn);   // static/options.js may ask for time to be heard
      return turn.detail.delayS;
    });
  }

  function lineUpAgain() {
    if (recall("left") === arrivedAt) end("elsewhere");
    else reloadIn(whyLost(heardAt), () => 0);
  }

  /* The place is kept for so long after a last word; who was silent for less was not away. */
  function whyLost(lastHeardAt) {
    return Date.now() - lastHeardAt > Math.max(data.keepMinutes, 1) * 60000 ? "away" : "cleared";
  }

  /* Shows `state` and reloads, unless that was just tried: then its row names the state with a
     button. `delayS` is called once the page is sure to reload. */
  function reloadIn(state, delayS) {
    const { most, counter, otherwise, minDelayS, maxDelayS } = rows[state].reload;
    const now = Date.now();
    const recent = (recall(counter) || []).filter((time) => now - time < 60000);
    const kept = remember(counter, recent.concat(now));
    if (recent.length >= most || (!kept && cameByReload())) {
      end(otherwise);
      return;
    }
    end(state);
    const seconds = minDelayS + (maxDelayS - minDelayS) * Math.random() + delayS();
    timer = setTimeout(() => location.reload(), seconds * 1000);
  }

  function cameByReload() {
    const entry = performance.getEntriesByType("navigation")[0];
    return !entry || entry.type === "reload";
  }

  function end(state) {
    clearTimeout(timer);
    if (asking) asking.abort();
    if (stream) stream.close();
    show(state);
    showInTab(null);
  }

  // --- showing ----------------------------------------------------------------------------------

  const row = () => rows[data.state];
  const polls = () => row().poll === "interval";

  function show(state) {
    if (data.state === state) return;
    data.state = state;
    data.place = row().place;
    data.poll = row().poll;
    announced = Infinity;
    document.querySelectorAll("[data-when]").forEach((element) => {
      element.hidden = !element.dataset.when.split(" ").includes(state);
    });
    byId("live").setAttribute("aria-live", row().politeness);
    if (row().announced) say(shown(".live") + ". " + shown(".lead"));
  }

  /* One beat of the dot for each answer: the page lives, and nothing blinks while one reads. */
  function beat() {
    const dot = document.querySelector(".live > :not([hidden])");
    if (!dot.animate || matchMedia("(prefers-reduced-motion: reduce)").matches) return;
    dot.animate([{ opacity: 1 }, { opacity: .25 }, { opacity: 1 }], { duration: 900, pseudoElement: "::before" });
  }

  function shown(selector) {
    return document.querySelector(selector + " > :not([hidden])").textContent;
  }

  function heading() {
    return shown("h1");
  }

  /* What an answer brings is said in one: a screen reader drops what is soon said over. */
  function say(words) {
    if (toSay.push(words) > 1) return;
    Promise.resolve().then(() => {
      if (byId("options").elements.aloud.checked) byId("live").textContent = toSay.join(" ");
      toSay = [];
    });
  }

  /* Speaks the first place, then at a few steps only: a number each second is noise. */
  function announcePlace(position) {
    const step = ANNOUNCE_AT.filter((at) => position <= at).pop();
    if (announced !== Infinity && !(step < announced)) return;
    announced = step || position;
    say(data.say.replace("#", numbers.format(position)));
  }

  /* A new element for each message: one that grew would move, and a new one only appears. */
  function showMessage(words) {
    const old = byId("message");
    if (old.lastElementChild.textContent === words) return;
    const message = old.cloneNode(true);
    message.lastElementChild.textContent = words;
    message.hidden = words === "";
    old.replaceWith(message);
    if (words) say(message.firstElementChild.textContent + ": " + words);
  }

  /* The title and the icon tell the position to those who look at other tabs. */
  function showInTab(position) {
    const label = position === null ? "" : numbers.format(position) + " · ";
    document.title = label + (position === null ? heading() : data.title);
    const isDone = row().icon === "done";
    const mark = position !== null ? short(position) : isDone ? "✓" : "!";
    const size = [0, 22, 20, 16, 13][mark.length];
    const icon = "data:image/svg+xml," + encodeURIComponent(
      '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32"><rect width="32" height="32" rx="8" fill="' +
      (position !== null || isDone ? "#17684f" : "#8f4410") +
      '"/><text x="16" y="' + (16 + size * .36) + '" text-anchor="middle" fill="#fff" font-family="system-ui,sans-serif" font-weight="700" font-size="' +
      size + '">' + mark + "</text></svg>");
    const link = document.querySelector("link[rel=icon]");
    if (link.getAttribute("href") !== icon) link.href = icon;
  }

  function short(position) {
    if (position < 1000) return String(position);
    return position < 1e6 ? Math.floor(position / 1000) + "k" : Math.floor(position / 1e6) + "m";
  }

  /* Counts from the first position this browser saw. Others may rightly come in before us (they kept
     their place), so the position can rise; the bar then stands still. */
  function showProgress(position) {
    let seen = recall("place");
    if (!seen || seen.arrivedAt !== arrivedAt) seen = { arrivedAt, first: position, best: 0 };
    seen.best = Math.max(seen.best, byId("progress").value, 1 - position / (seen.first + 1));
    seen.heardAt = Date.now();
    remember("place", seen);
    byId("progress").value = seen.best;
  }

  /* The same ranges in the same words as Python's: wait_range and Language.span. */
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
    const span = numbers.format(first) + "–" + numbers.format(last);
    try {
      const format = new Intl.NumberFormat(locale, { style: "unit", unit, unitDisplay: "long" });
      // A dual names its number in the word alone: take the form of a few then.
      for (const number of [last, 3, 100]) {
        const text = format.format(number);
        if (text.includes(numbers.format(number))) return text.replace(numbers.format(number), span);
      }
    } catch (error) {
      // Units came to Safari in 2021.
    }
    return span + (unit === "hour" ? " h" : " min");
  }

  /* The same range by the clock on the wall: early times rounded down, late ones up. */
  function turnWords(etaSeconds) {
    if (etaSeconds === null || etaSeconds > 64800) return "–";
    const step = (etaSeconds <= 720 ? 1 : etaSeconds <= 4320 ? 5 : 15) * 60000;
    const first = new Date(Math.floor((Date.now() + etaSeconds * 800) / step) * step);
    const last = new Date(Math.ceil((Date.now() + etaSeconds * 1250) / step) * step);
    return clock.formatRange ? clock.formatRange(first, last) : clock.format(last);
  }

  function rateWords(speed, perMinute) {
    const words = byId("rate").dataset;
    if (speed === "unknown") return words.unknown;
    if (speed === "stopped" || perMinute === 0) return words.stopped;
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
      remember("left", arrivedAt);   // other tabs hear of it
      forget("place");
      end("left");
      document.querySelector("h1").focus();
    } catch (error) {
      byId("failed").hidden = false;
    }
    button.disabled = false;
  }

  function hearOtherTabs(event) {
    if (event.key === key("left") && JSON.parse(event.newValue) === arrivedAt && polls()) {
      end("elsewhere");
    }
  }

  function stay() {
    byId("leave").open = false;
    byId("leave").querySelector("summary").focus();
  }

  // --- what the browser remembers, or refuses to ---------------------------------------------------

  function key(name) {
    return "gatekeeper:" + data.room + ":" + name;
  }

  const ofThisTab = (name) => name === "admitted" || name === "lost";
  const storage = (name) => (ofThisTab(name) ? sessionStorage : localStorage);

  function recall(name) {
    try {
      return JSON.parse(storage(name).getItem(key(name)));
    } catch (error) {
      return null;
    }
  }

  function remember(name, value) {
    try {
      storage(name).setItem(key(name), JSON.stringify(value));
      return true;
    } catch (error) {
      return false;
    }
  }

  function forget(name) {
    try {
      storage(name).removeItem(key(name));
    } catch (error) {
      // Then nothing was remembered either.
    }
  }

  // --- start ------------------------------------------------------------------------------------

  /* Tells who had another place before what became of it. */
  function compareWithBefore() {
    const before = recall("place");
    if (!before || before.arrivedAt === arrivedAt) return;
    if (recall("left") === before.arrivedAt || Date.now() - before.heardAt > OLD_PLACE_MS) return;
    byId("new-" + whyLost(before.heardAt)).hidden = false;
  }

  const since = byId("since");
  since.textContent = clock.format(new Date(since.dateTime));
  byId("still").hidden = true;
  byId("stay").addEventListener("click", stay);
  byId("leave").addEventListener("toggle", () => {
    if (byId("leave").open) byId("leave").scrollIntoView({ block: "nearest" });
  });
  document.querySelector("#leave form").addEventListener("submit", leave);
  document.addEventListener("visibilitychange", askNow);
  addEventListener("online", askNow);
  addEventListener("pageshow", (event) => { if (event.persisted) askNow(); });
  addEventListener("storage", hearOtherTabs);
  compareWithBefore();
  if (data.position) {
    byId("turn").textContent = turnWords(data.eta ? Number(data.eta) : null);
    showProgress(Number(data.position));
    showInTab(Number(data.position));
  }
  askIn(Math.min(refreshS, FIRST_POLL_S));
  listen();
})();
