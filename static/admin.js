/* The control room: polls the gate each second, draws the last hour, and sends the operator's
   changes.

   Rules: no requests while the tab is hidden. Memory is bounded: the samples of one hour, and nothing
   of a removed room or replica; elements are created once and updated, so a page that is open for a
   day does not grow. Every value of the gate is set as text. Every change is confirmed first. */
(() => {
  "use strict";

  const { makeChart, duration, number, second } = window.gatekeeperChart;
  const { MODES, confirmation, result, sentence } = window.gatekeeperActions;
  const POLL_INTERVAL_S = 1;
  const MAX_BACKOFF_S = 10;
  const TIMEOUT_S = 5;
  const SLOW_TIMEOUT_S = 60; // a reload: every worker reads templates, and starts new rooms; a report
  const STUCK_S = 30;        // an older request was lost while the machine slept
  const MAX_SAMPLES = 1500;  // whatever the gate sends
  const ENTRIES = 50;
  const TOKEN = "gatekeeper:admin-token";
  const ROOM_CHARTS = [
    {
      title: "Visitors per minute", kind: "number", unit: "/min",
      explains: "Arrived above the rate: the line grows. Admitted below released: released visitors do not claim their slot.",
      series: [["arrived", "arrived"], ["released", "released"], ["admitted", "admitted"], ["abandoned", "left or no-show"], ["limit", "rate"]],
    },
    {
      title: "In line and active", kind: "number",
      explains: "In line: confirmed visitors waiting. Active: visitors that hold a slot, admitted or just released.",
      series: [["queue", "in line"], ["active", "active"]],
    },
    {
      title: "Wait of admitted visitors", kind: "duration",
      explains: "From arrival to admission, over the last minute.",
      series: [["wait_p50", "p50"], ["wait_p99", "p99"]],
    },
  ];
  const SITE_CHARTS = [
    {
      title: "Requests per second", kind: "number", unit: "/s",
      explains: "Failed: origin unreachable, timeout, or status 500 and above.",
      series: [["forwarded", "forwarded"], ["waiting", "waiting page"], ["failed", "failed"]],
    },
    {
      title: "Origin response time", kind: "duration",
      explains: "From the request to the head of the response, over the last minute. When it climbs, lower the rate.",
      series: [["origin_p50", "p50"], ["origin_p99", "p99"]],
    },
  ];

  const byId = (id) => document.getElementById(id);
  const integer = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
  const decimal = new Intl.NumberFormat("en", { maximumFractionDigits: 1 });
  const clock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit" });

  const cards = new Map();     // room → card
  const rows = new Map();      // replica → its row of the table
  const siteCharts = SITE_CHARTS.map(makeChart);
  let samples = [];            // { at, rooms, replicas }, from old to new
  let latest = null;           // the newest overview
  let entries = [];            // of the audit log, newest first
  let auditMark = null;
  let range = 3600;
  let drawnKey = "";           // what the charts show; they are drawn again when it changes
  let timer = 0;
  let sentAt = 0;              // 0: no request is open
  let pollNumber = 0;          // the response of an earlier poll is dropped
  let failures = 0;
  let signedOut = false;
  let announced = "";
  let announcedAt = 0;

  // --- requests to the gate ----------------------------------------------------------------------

  /* The response's JSON, or what `read` takes from it; throws an Error with a message for the
     operator. */
  async function call(method, path, content, read) {
    const abort = new AbortController();
    const timeout = setTimeout(() => abort.abort(), (path === "/admin/reload" || path.startsWith("/admin/revoke") || read ? SLOW_TIMEOUT_S : TIMEOUT_S) * 1000);
    try {
      const headers = { Accept: "application/json" };
      const token = sessionStorage.getItem(TOKEN);
      if (token) headers.Authorization = "Bearer " + token;
      const sent = content === undefined ? undefined : JSON.stringify(content);
      const response = await fetch(path, { method, headers, body: sent, cache: "no-store", signal: abort.signal });
      if (response.status === 401) {
        signOut(token);
        throw new Error("A token is required.");
      }
      const body = read && response.ok ? await read(response) : await response.json().catch(() => null);
      if (!response.ok || body === null) {
        throw new Error((body && body.error) || "The gate returned status " + response.status + ".");
      }
      return body;
    } catch (error) {
      if (error.name === "AbortError") throw new Error("The gate did not respond in time.");
      if (error instanceof TypeError) throw new Error("The gate is unreachable.");
      throw error;
    } finally {
      clearTimeout(timeout);
    }
  }

  async function poll() {
    if (signedOut || document.hidden) return;
    if (sentAt && Math.abs(Date.now() - sentAt) < STUCK_S * 1000) return;
    clearTimeout(timer);
    sentAt = Date.now();
    pollNumber += 1;
    const ownNumber = pollNumber;
    try {
      const after = samples.length ? samples[samples.length - 1].at : 0;
      const overview = await call("GET", "/admin/overview?after=" + after);
      if (ownNumber !== pollNumber) return;
      failures = 0;
      connection("live", "Live");
      show(overview);
      if (overview.audit_mark !== auditMark) await readAudit(overview.audit_mark);
    } catch (error) {
      if (ownNumber !== pollNumber) return;
      failures += 1;
      if (!signedOut) connection("lost", error.message + " Retrying …");
    }
    if (ownNumber !== pollNumber) return;
    sentAt = 0;
    const seconds = failures ? Math.min(POLL_INTERVAL_S * Math.pow(2, failures), MAX_BACKOFF_S) : POLL_INTERVAL_S;
    if (!signedOut && !document.hidden) timer = setTimeout(poll, seconds * 1000);
  }

  /* Polls at once, also after the machine slept. */
  function wake() {
    clearTimeout(timer);
    poll();
  }

  function connection(state, words) {
    document.documentElement.dataset.state = state;
    text(byId("connection"), words);
  }

  function signOut(refused) {
    signedOut = true;
    sessionStorage.removeItem(TOKEN);
    byId("refused").hidden = !refused;
    byId("sign-in").hidden = false;
    byId("live").hidden = true;
    byId("you").hidden = true;
    byId("sign-out").hidden = true;
    connection("signed-out", "Signed out");
    byId("token").focus();
  }

  function signIn(event) {
    event.preventDefault();
    sessionStorage.setItem(TOKEN, byId("token").value.trim());
    byId("token").value = "";
    byId("sign-in").hidden = true;
    signedOut = false;
    sentAt = 0;
    poll();
  }

  function text(element, words) {
    if (element.textContent !== words) element.textContent = words;
  }

  // --- overview -----------------------------------------------------------------------

  function show(overview) {
    latest = overview;
    keep(overview);
    byId("live").hidden = false;
    byId("you").hidden = false;
    text(byId("you"), overview.you.name + (overview.you.role === "read" ? " · read only" : ""));
    byId("sign-out").hidden = !sessionStorage.getItem(TOKEN);
    document.documentElement.dataset.role = overview.you.role;
    showSituation(overview.situation);
    showRooms(overview);
    showReplicas(overview);
    passes.show(overview);
    edge.show(overview);
    draw();
  }

  /* Adds the new samples and drops those older than the gate keeps. */
  function keep(overview) {
    const last = samples.length ? samples[samples.length - 1].at : 0;
    const unpack = (rows, fields) => Object.fromEntries(
      Object.entries(rows).map(([name, row]) => [name, named(fields, row)]));
    overview.samples.forEach((each) => {
      if (each.at <= last) return;
      samples.push({
        at: each.at,
        rooms: unpack(each.rooms, overview.room_fields),
        replicas: unpack(each.replicas, overview.replica_fields),
      });
    });
    const now = overview.now ? overview.now.at : last;
    const first = samples.findIndex((each) => each.at > now - overview.kept_s && each.at <= now + overview.every_s);
    samples = first < 0 ? [] : samples.slice(Math.max(first, samples.length - MAX_SAMPLES));
  }

  function showSituation(situation) {
    const findings = situation.length ? situation : [{ level: "calm", text: "No data yet.", since: null }];
    const words = (each) => each.text.replace("{since}", each.since ? clock.format(each.since * 1000) : "");
    byId("situation").dataset.level = findings[0].level;
    text(byId("headline"), words(findings[0]));
    const list = byId("also");
    findings.slice(1).forEach((each, index) => {
      const item = list.children[index] || list.appendChild(document.createElement("li"));
      item.dataset.level = each.level;
      text(item, words(each));
    });
    while (list.children.length > findings.length - 1) list.lastChild.remove();
    document.title = (findings[0].level === "bad" ? "⚠ " : "") + words(findings[0]).slice(0, 60) + " · Gatekeeper";
    // Announced when the sentence changes, not when only a number does.
    const kind = findings[0].text.replace(/[\d,.%]+/g, "#");
    if (kind !== announced && Date.now() - announcedAt > 5000) {
      announced = kind;
      announcedAt = Date.now();
      text(byId("announcer"), words(findings[0]));
    }
  }

  function showRooms(overview) {
    const names = overview.rooms.map((room) => room.room);
    cards.forEach((card, name) => {
      if (names.includes(name)) return;
      card.element.remove();
      card.option.remove();
      cards.delete(name);
    });
    byId("of-rooms").hidden = names.length < 2; // with one room the totals are the same
    overview.rooms.forEach((room) => {
      if (!cards.has(room.room)) cards.set(room.room, makeCard(room.room));
      const card = cards.get(room.room);
      card.room = room;
      const row = overview.now && overview.now.rooms[room.room];
      showFacts(card, room, row ? named(overview.room_fields, row) : {});
    });
  }

  function named(fields, row) {
    const values = {};
    fields.forEach((field, index) => { values[field] = row[index]; });
    return values;
  }

  function makeCard(name) {
    const element = byId("room").content.firstElementChild.cloneNode(true);
    const find = (selector) => element.querySelector(selector);
    text(find("[data-name]"), name);
    const option = new Option(name, "rooms " + name);
    byId("of-rooms").append(option);
    const card = { name, element, find, option, room: null, charts: ROOM_CHARTS.map(makeChart) };
    find(".charts").append(...card.charts.map((chart) => chart.figure));
    element.querySelectorAll("[data-mode]").forEach((button) => {
      button.addEventListener("click", () => confirmChange(card, "mode", { mode: button.dataset.mode }, button));
    });
    element.querySelectorAll("form[data-action]").forEach((form) => {
      form.addEventListener("submit", (event) => {
        event.preventDefault();
        confirmChange(card, form.dataset.action, Object.fromEntries(new FormData(form)), form.querySelector("button"));
      });
    });
    configuration.attach(card);
    events.attach(card);
    byId("rooms").append(element);
    return card;
  }

  function showFacts(card, room, now) {
    const set = (name, figure, unit) => {
      const fact = card.find("[data-fact=" + name + "]");
      const words = figure + (unit ? " " + unit : "");
      if (fact.textContent === words) return;
      const small = document.createElement("small");
      small.textContent = unit;
      fact.replaceChildren(figure, unit ? " " : "", small);
    };
    const flow = (value) => (value === null || value === undefined ? ["–", ""] : [number(value), "/min"]);
    const storeLost = now.queue === null; // the other values are the last known
    card.element.dataset.modeNow = storeLost ? "lost" : room.mode;
    text(card.find("[data-mode-words]"), storeLost ? "Store unreachable: last known values" : MODES[room.mode] || room.mode);
    card.element.querySelectorAll("[data-mode]").forEach((button) => {
      const pressed = String(button.dataset.mode === room.mode);
      if (button.getAttribute("aria-pressed") !== pressed) button.setAttribute("aria-pressed", pressed);
    });
    card.find("[data-message]").hidden = !room.message;
    text(card.find("[data-message]"), room.message ? "Message on the waiting page: “" + room.message + "”" : "");
    events.show(card, room.event);
    autotune.show(card, room);
    set("queue", integer.format(room.queue_length), room.queue_limit ? "of " + integer.format(room.queue_limit) : "");
    set("active", integer.format(room.active), room.max_active ? "of " + integer.format(room.max_active) : "");
    set("arrived", ...flow(now.arrived));
    const admitted = flow(now.admitted);
    set("admitted", admitted[0], room.mode === "open" ? admitted[1] : admitted[1] + " of " + decimal.format(room.rate_per_minute));
    set("abandoned", ...flow(now.abandoned));
    set("wait", ...(storeLost ? ["–", ""] : newcomerWait(room)));
    const quantiles = (name, p50, p99) => {
      if (typeof p50 === "number") set(name, duration(p50), "· " + duration(p99));
      else set(name, "–", "");
    };
    quantiles("waited", now.wait_p50, now.wait_p99);
    quantiles("origin", now.origin_p50, now.origin_p99);
    set("failed", ...(typeof now.failed === "number" ? [number(now.failed), "/s"] : ["–", ""]));
    card.element.dataset.failing = String(now.failed > 0);
    const lanes = Object.entries(room.lanes || {}).map(([lane, count]) => integer.format(count) + " " + lane);
    text(card.find("[data-totals]"), (lanes.length ? "In line: " + lanes.join(", ") + ". " : "") + "Totals: " + integer.format(room.arrived_total) + " arrived, " +
      integer.format(room.released_total) + " released, " + integer.format(room.admitted_total) +
      " admitted, " + integer.format(room.abandoned_total) + " left or no-show.");
  }

  function newcomerWait(room) {
    if (room.mode === "hold" || room.mode === "ended") return [room.mode === "hold" ? "held" : "ended", ""];
    if (room.queue_length === 0 || room.mode === "open") return ["none", ""];
    if (room.rate_per_minute === 0) return ["held", ""];
    return split(duration(room.queue_length / room.rate_per_minute * 60));
  }

  const split = (words) => [words.split(" ")[0], words.split(" ").slice(1).join(" ")];

  // --- replicas ---------------------------------------------------------------------------------

  function showReplicas(overview) {
    const names = overview.replicas.map((each) => each.replica);
    rows.forEach((row, name) => {
      if (names.includes(name)) return;
      row.element.remove();
      row.option.remove();
      rows.delete(name);
    });
    overview.replicas.forEach((each) => {
      if (!rows.has(each.replica)) rows.set(each.replica, makeRow(each.replica));
      const { element, cells } = rows.get(each.replica);
      const row = overview.now && overview.now.replicas[each.replica];
      const now = row ? named(overview.replica_fields, row) : {};
      const silent = each.quiet_s >= overview.silent_after_s;
      const rate = (value, unit) => (typeof value === "number" ? number(value) + unit : "–");
      element.dataset.silent = String(silent);
      text(cells[0], silent ? "not reporting for " + duration(Math.round(each.quiet_s)) : "up");
      text(cells[1], rate(now.forwarded, "/s"));
      text(cells[2], rate(now.waiting, "/s"));
      text(cells[3], rate(now.failed, "/s"));
      text(cells[4], typeof now.origin_p50 === "number" ? duration(now.origin_p50) + " · " + duration(now.origin_p99) : "–");
      text(cells[5], rate(now.admitted, "/min"));
      text(cells[6], rate(now.connections, ""));
    });
  }

  function makeRow(name) {
    const element = document.createElement("tr");
    const head = document.createElement("th");
    head.scope = "row";
    head.textContent = name;
    const cells = Array.from({ length: 7 }, () => document.createElement("td"));
    element.append(head, ...cells);
    byId("replicas").append(element);
    const option = new Option(name, "replicas " + name);
    byId("of-replicas").append(option);
    return { element, cells, option };
  }

  // --- charts -----------------------------------------------------------------------------------

  /* Draws the charts when a sample, the audit log or the selection changed. */
  function draw() {
    if (!latest || !latest.now) return;
    const [kind, chosen] = byId("of").value.split(" ");
    const last = samples.length ? samples[samples.length - 1].at : 0;
    const wantedKey = [last, range, kind, chosen, [...cards.keys()].join(), entries.length && entries[0].at].join(" ");
    if (wantedKey === drawnKey) return;
    drawnKey = wantedKey;
    const axis = { now: latest.now.at, first: samples.length ? samples[0].at : latest.now.at, range };
    cards.forEach((card) => {
      const shown = samples.filter((each) => each.rooms[card.name])
        .map((each) => [each.at, each.rooms[card.name]]);
      const marks = marksOf((entry) => entry.room === card.name);
      card.charts.forEach((chart) => chart.show(shown, { ...axis, marks }));
    });
    const shown = samples.filter((each) => each[kind][chosen]).map((each) => [each.at, each[kind][chosen]]);
    siteCharts.forEach((chart) => chart.show(shown, { ...axis, marks: marksOf(() => true) }));
  }

  function marksOf(matches) {
    return entries.filter((entry) => entry.outcome === "done" && matches(entry))
      .map((entry) => ({ at: Date.parse(entry.at) / 1000, words: entry.who + " " + sentence(entry) }));
  }

  // --- the audit log ----------------------------------------------------------------------------

  async function readAudit(mark) {
    const log = await call("GET", "/admin/audit?limit=" + ENTRIES);
    auditMark = mark;
    entries = log.entries;
    byId("entries").replaceChildren(...entries.map(entryItem));
    byId("no-entries").hidden = entries.length > 0;
    draw();
    cards.forEach(configuration.refresh); // another operator may have changed them
    cards.forEach(events.refresh);
  }

  function entryItem(entry) {
    const item = document.createElement("li");
    item.dataset.outcome = entry.outcome;
    const part = (name, words) => {
      const element = document.createElement(name);
      element.textContent = words;
      return element;
    };
    const time = part("time", when(Date.parse(entry.at)));
    time.dateTime = entry.at;
    const attempt = { refused: "refused: " + entry.what, failed: "failed: " + sentence(entry) };
    const note = entry.note ? " (" + entry.note + ")" : "";
    item.append(time, part("b", entry.who), part("span", (attempt[entry.outcome] || sentence(entry)) + note), part("small", entry.address));
    return item;
  }

  function when(ms) {
    const today = new Date(ms).toDateString() === new Date().toDateString();
    return today ? second.format(ms) : new Date(ms).toLocaleString(undefined, { dateStyle: "medium", timeStyle: "short" });
  }

  // --- changes ------------------------------------------------------------------

  /* Confirms a change, then sends it. */
  function confirmChange(card, action, values, button) {
    let dialogText;
    try {
      dialogText = confirmation(card.room, action, values);
    } catch (error) {
      outcome(card, error.message, true);
      return;
    }
    ask(card, dialogText, button, () => send(card, action, values));
  }

  /* Asks, and calls `act` when the operator confirms. `card` is the room's, or null. */
  function ask(card, dialogText, button, act) {
    const dialog = byId("ask");
    text(byId("ask-title"), card && cards.size > 1 ? card.name + ": " + dialogText.title : dialogText.title);
    text(byId("ask-yes"), dialogText.confirm);
    text(byId("ask-text"), dialogText.text);
    dialog.returnValue = "no";
    dialog.onclose = () => {
      if (button.isConnected) button.focus();
      if (dialog.returnValue === "yes") act();
    };
    dialog.showModal();
    byId("ask-no").focus();
  }

  async function send(card, action, values) {
    const query = new URLSearchParams(Object.assign({}, values, { room: card.name }));
    try {
      const response = await call("POST", "/admin/" + action + "?" + query);
      outcome(card, result(action, values, response), false);
    } catch (error) {
      outcome(card, error.message, true);
    }
    wake();
  }

  function outcome(card, words, failed) {
    const line = card.find(".outcome");
    line.textContent = words;
    line.classList.toggle("error", failed);
    line.hidden = false;
  }

  const configuration = window.gatekeeperConfiguration({ call, ask, wake });
  window.gatekeeperReport({ call });
  const events = window.gatekeeperEvents({ call, ask, wake });
  const edge = window.gatekeeperEdge();
  const autotune = window.gatekeeperAutotune();
  const passes = window.gatekeeperPasses({ call, ask, wake, confirmation, result });

  // --- start ------------------------------------------------------------------------------------

  byId("site").querySelector(".charts").append(...siteCharts.map((chart) => chart.figure));
  byId("sign-in").addEventListener("submit", signIn);
  byId("sign-out").addEventListener("click", () => signOut(null));
  byId("of").addEventListener("change", draw);
  byId("range").addEventListener("click", (event) => {
    if (!event.target.dataset.range) return;
    range = Number(event.target.dataset.range);
    [...byId("range").children].forEach((button) => button.setAttribute("aria-pressed", String(button === event.target)));
    draw();
  });
  document.addEventListener("visibilitychange", wake);
  ["online", "pageshow", "focus"].forEach((name) => window.addEventListener(name, wake));
  poll();
})();
