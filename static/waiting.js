/* Keeps the waiting page alive: polls for the place, shows it, and enters when it is the turn.

   Rules: a poll is the heartbeat that keeps the place. A waiting response may have status 503, so
   the JSON is judged by its `state` at any status. What a state shows is in its row of `rows`
   (gatekeeper/pages/states.py); all words are in the page, and this script adds numbers.
   The files of static/waiting/ come before this one, in one scope (gatekeeper/pages/assets.py).
   The syntax is that of 2017: on an old phone a script that does not parse would leave the page
   without a heartbeat, and without <noscript> too. Newer features are tested for before use. */

const MAX_BACKOFF_S = 60;   // below any sensible heartbeat_timeout
const HIDDEN_S = 20;        // browsers stretch timers of hidden pages to a minute at worst, so
const MAX_HIDDEN_S = 45;    // that a place is still claimed within two
const CONFIRM_S = 0.85;     // the first poll of a newcomer: with its jitter below one second
const FIRST_POLL_S = 2;     // the first poll confirms that the browser keeps the cookie
const FIRST_POLL_LATEST_MS = 30000;   // a page that slept longer may have lost its place
const TIMEOUT_S = 10;
const STALE_MS = 2000;      // a poll that began so long before a freeze ended gets no response
const OLD_PLACE_MS = 2 * 3600 * 1000;   // an older place is not explained

let timer = 0;
let abort = null;           // the AbortController of the poll in progress
let polledAt = 0;           // when it began
let isStale = false;        // the page was frozen meanwhile
let ticket = data.ticket || "";   // sent with the next poll
let failures = 0;
let isConfirmed = false;    // a poll has returned the cookie of this page
let intervalS = Number(data.refresh) || 5;
let arrivedAt = data.arrived;
let lastResponseAt = Date.now();

// --- polling ----------------------------------------------------------------------------------

function delayS() {
  if (failures > 0) return intervalS * Math.pow(2, failures);
  if (stream && stream.readyState === EventSource.OPEN) return QUIET_S;
  if (!document.hidden) return intervalS;
  return Math.max(intervalS, Math.min(Math.max(intervalS * 2, HIDDEN_S), MAX_HIDDEN_S));
}

function pollIn(seconds) {
  clearTimeout(timer);
  const jittered = seconds * (0.85 + 0.3 * Math.random());
  timer = setTimeout(poll, Math.min(jittered, MAX_BACKOFF_S) * 1000);
}

async function poll() {
  if (abort || !isPolling()) return;
  clearTimeout(timer);
  polledAt = Date.now();
  abort = new AbortController();
  const timeout = setTimeout(() => abort.abort(), TIMEOUT_S * 1000);
  const hadTicket = ticket !== "";
  let status = null;
  try {
    status = await (ticket ? inTurn(fetchStatus) : fetchStatus());
  } catch (error) {
    // Offline, cut off, too slow, or no JSON: the same to the visitor.
  }
  clearTimeout(timeout);
  abort = null;
  if (isStale) {
    isStale = false;
    poll();
    return;
  }
  if (!isPolling()) return;
  handleStatus(status || {});
  if (!isPolling()) return;
  if (hadTicket && !ticket) openStream();
  pollIn(delayS());
}

async function fetchStatus() {
  const headers = { Accept: "application/json" };
  if (ticket) headers["X-Queue-Ticket"] = ticket;
  const response = await fetch(data.status, {
    cache: "no-store",
    credentials: "same-origin",
    headers,
    signal: abort.signal,
  });
  const status = await response.json();
  ticket = response.headers.get("X-Queue-Ticket") || "";
  return status;
}

/* Of several restored tabs the gate keeps the earliest ticket: docs/decisions/0043. */
async function inTurn(request) {
  try {
    if (navigator.locks) return await navigator.locks.request(key("ticket"), { signal: abort.signal }, request);
  } catch (error) {
    if (error.name !== "SecurityError") throw error;   // else a frame whose storage is blocked
  }
  return request();
}

/* Around an opening a glance at the tab sends nothing: everyone looks in the same minute. */
function onVisibility() {
  if (row().isOfEvent) openStream();
  else pollNow();
}

/* A browser freezes a page that is hidden for long, as on a locked phone: nothing runs, and the
   connections of the page are lost. */
function onResume() {
  if (stream) stream.close();
  stream = null;
  if (!ticket) openStream();
  isStale = abort !== null && Date.now() - polledAt > STALE_MS;
  if (isStale) abort.abort();
  else if (!row().isOfEvent) poll();
}

function pollNow() {
  if (!ticket) openStream();
  if (document.hidden) return;
  const reload = row().reload;
  if (reload && reload.maxDelayS === 0) location.reload();   // it only waited to be seen
  else poll();
}

/* The place of a visitor whose challenge was solved just now. */
function receiveProof(event) {
  if (!isPolling()) return;
  ticket = "";
  handleStatus(event.detail);
  if (!isPolling()) return;
  openStream();
  pollIn(delayS());
}

// --- effects of a response --------------------------------------------------------------------

function handleStatus(status) {
  const handlers = { waiting: receivePlace, admitted: enter, none: rejoin };
  if (!handlers.hasOwnProperty(status.state)) {
    failures += 1;
    show(stateOf({ position: null, reason: "reconnecting" }));
    return;
  }
  failures = 0;
  handlers[status.state](status);
  lastResponseAt = Date.now();
  pulse();
}

/* An exact place; between two of them a stream estimates it. */
function receivePlace(place) {
  document.dispatchEvent(new CustomEvent("status", { detail: place }));   // static/countdown.js
  followEvent(place);
  showPlace(place);
}

function showPlace(place) {
  isConfirmed = true;
  intervalS = Math.max(1, Number(place.refresh_seconds) || intervalS);
  if (place.arrived_at > arrivedAt && data.ticket) ticket = data.ticket;
  arrivedAt = place.arrived_at;
  forget("lost");
  const state = stateOf(place);
  const hasPlace = rows[state].place !== "none";
  if (place.position !== null || !hasPlace) showMessage(place.message || "");
  if (byId("reference") && place.reference) byId("reference").textContent = place.reference;
  if (place.position === null || !hasPlace) {
    show(state);
    if (!hasPlace) showInTab(null);
    return;
  }
  const etaSeconds = rows[state].eta ? place.eta_seconds : null;
  byId("position").textContent = numbers.format(place.position);
  byId("ahead").textContent = place.ahead === null ? "–" : numbers.format(place.ahead);
  byId("wait").textContent = waitWords(etaSeconds, byId("wait").dataset);
  byId("turn").textContent = turnWords(etaSeconds);
  byId("rate").textContent = speedWords(rows[state].speed, place.rate_per_minute);
  showProgress(place.position);
  showInTab(place.position);
  show(state);
  announcePosition(place.position);
}

/* As states.state_of: a state that shows a place needs a position. */
function stateOf(place) {
  const names = Object.keys(rows);
  const fits = (name) => place.position !== null || rows[name].place === "none";
  const byReason = (reason) => names.find((name) => rows[name].reason === reason && fits(name));
  return byReason(place.reason || "line") || byReason("line") || "reconnecting";
}

/* An event was announced after this page was made: the page is loaded again, once, with all that
   belongs to the event. Not at once, since the polls go on meanwhile and the opening is ahead. */
function followEvent(place) {
  if (!place.event || place.event === data.event || recall("event") === place.event) return;
  if (!remember("event", place.event)) return;
  setTimeout(() => location.reload(), place.refresh_seconds * 1000 * Math.random());
}

function enter() {
  forget("place");
  const turn = new CustomEvent("turn", { detail: { delayS: 0 } });
  reloadAs("admitted", () => {
    document.dispatchEvent(turn);   // static/options.js may ask for time to be noticed
    return turn.detail.delayS;
  });
}

function rejoin(status) {
  if (recall("left") === arrivedAt) end("elsewhere");
  else if (status.reason) location.reload();   // the page at this address says why
  else if (lacksCookie() && isEmbedded()) end("no_cookies");
  else if (lacksCookie() && !navigator.cookieEnabled) end("cookies");
  else reloadAs(lostState(lastResponseAt), () => 0);
}

/* The first poll of a page that was just issued a place returned `none`: no cookie was kept. */
function lacksCookie() {
  return !isConfirmed && Date.now() - lastResponseAt < FIRST_POLL_LATEST_MS;
}

/* In a frame of another site. There no reload helps, only a tab of its own. */
function isEmbedded() {
  try {
    return window.top.location.href === null;
  } catch (error) {
    return true;
  }
}

/* The place is kept for so long after the last response; a shorter absence did not cost it. */
function lostState(responseAt) {
  return Date.now() - responseAt > Math.max(data.keepMinutes, 1) * 60000 ? "away" : "cleared";
}

/* Shows `state` and reloads, unless that was just tried: then shows the state that its row names
   instead, with a button. `extraDelayS` is called only if the page reloads. */
function reloadAs(state, extraDelayS) {
  const { most, counter, otherwise, minDelayS, maxDelayS } = rows[state].reload;
  const now = Date.now();
  const recent = (recall(counter) || []).filter((time) => now - time < 60000);
  const isStored = remember(counter, recent.concat(now));
  if (recent.length >= most || (!isStored && wasReloaded())) {
    end(otherwise);
    return;
  }
  end(state);
  const seconds = minDelayS + (maxDelayS - minDelayS) * Math.random() + extraDelayS();
  timer = setTimeout(() => location.reload(), seconds * 1000);
}

function wasReloaded() {
  const entry = performance.getEntriesByType("navigation")[0];
  return !entry || entry.type === "reload";
}

function end(state) {
  clearTimeout(timer);
  if (abort) abort.abort();
  if (stream) stream.close();
  show(state);
  showInTab(null);
}

// --- showing ----------------------------------------------------------------------------------

function show(state) {
  if (data.state === state) return;
  data.state = state;
  data.place = row().place;
  data.poll = row().poll;
  announcedPosition = Infinity;
  document.querySelectorAll("[data-when]").forEach((element) => {
    element.hidden = !element.dataset.when.split(" ").includes(state);
  });
  byId("live").setAttribute("aria-live", row().politeness);
  if (row().announced) announce(visibleText(".live") + ". " + visibleText(".lead"));
}

function visibleText(selector) {
  return document.querySelector(selector + " > :not([hidden])").textContent;
}

/* The dot pulses once per response: the page is alive, and nothing blinks during reading. */
function pulse() {
  const dot = document.querySelector(".live > :not([hidden])");
  if (!dot.animate || matchMedia("(prefers-reduced-motion: reduce)").matches) return;
  dot.animate([{ opacity: 1 }, { opacity: .25 }, { opacity: 1 }], { duration: 900, pseudoElement: "::before" });
}

/* A new element for each message: growing would shift the layout, appearing does not. */
function showMessage(words) {
  const old = byId("message");
  if (old.lastElementChild.textContent === words) return;
  const message = old.cloneNode(true);
  message.lastElementChild.textContent = words;
  message.hidden = words === "";
  old.replaceWith(message);
  if (words) announce(message.firstElementChild.textContent + ": " + words);
}

/* Progress since the first position that this browser saw. Visitors that return to an earlier place
   can raise the position; the bar then stands still. */
function showProgress(position) {
  let seen = recall("place");
  if (!seen || seen.arrivedAt !== arrivedAt) seen = { arrivedAt, first: position, best: 0 };
  seen.best = Math.max(seen.best, byId("progress").value, 1 - position / (seen.first + 1));
  seen.seenAt = Date.now();
  remember("place", seen);
  byId("progress").value = seen.best;
}

// --- the reference for support ------------------------------------------------------------------

function offerCopy() {
  const button = byId("copy");
  if (!button) return;
  button.hidden = !navigator.clipboard;   // absent without TLS; a press selects the reference
  button.addEventListener("click", async () => {
    await navigator.clipboard.writeText(byId("reference").textContent);
    announce(button.dataset.done);
    button.textContent = button.dataset.done;
  });
}

// --- start ------------------------------------------------------------------------------------

/* Shows a visitor that had another place before why it is gone. */
function explainNewPlace() {
  const before = recall("place");
  if (!before || before.arrivedAt === arrivedAt) return;
  if (recall("left") === before.arrivedAt || Date.now() - before.seenAt > OLD_PLACE_MS) return;
  byId("new-" + lostState(before.seenAt)).hidden = false;
}

const since = byId("since");
since.textContent = clock.format(new Date(since.dateTime));
byId("still").hidden = true;
byId("stay").addEventListener("click", stay);
byId("leave").addEventListener("toggle", () => {
  if (byId("leave").open) byId("leave").scrollIntoView({ block: "nearest" });
});
document.querySelector("#leave form").addEventListener("submit", leave);
document.addEventListener("visibilitychange", onVisibility);
document.addEventListener("resume", onResume);
document.addEventListener("slept", poll);
document.addEventListener("solved", receiveProof);   // static/challenge.js
document.addEventListener("refused", poll);
addEventListener("online", pollNow);
addEventListener("pageshow", (event) => { if (event.persisted) pollNow(); });
addEventListener("storage", followOtherTabs);
explainNewPlace();
offerCopy();
if (data.position) {
  byId("turn").textContent = turnWords(data.eta ? Number(data.eta) : null);
  showProgress(Number(data.position));
  showInTab(Number(data.position));
}
pollIn(ticket ? CONFIRM_S : Math.min(intervalS, FIRST_POLL_S));
if (!ticket) openStream();
