/* The control room: polls the gate each second, draws the last hour, and sends the operator's
   changes.

   Rules: no requests while the tab is hidden. Memory is bounded: the samples of one hour, and nothing
   of a removed room or replica; elements are created once and updated, so a page that is open for a
   day does not grow. Every value of the gate is set as text. Every change is confirmed first. */
(() => {
  "use strict";

  const { makeChart } = window.gatekeeperChart;
  const { confirmation, result } = window.gatekeeperActions;
  const POLL_INTERVAL_S = 1;
  const MAX_BACKOFF_S = 10;
  const TIMEOUT_S = 5;
  const SLOW_TIMEOUT_S = 60; // a reload: every worker reads templates, and starts new rooms; a report
  const STUCK_S = 30;        // an older request was lost while the machine slept
  const MAX_SAMPLES = 1500;  // whatever the gate sends
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
  const clock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit" });

  const cards = new Map();     // room → card
  const siteCharts = SITE_CHARTS.map(makeChart);
  let samples = [];            // { at, rooms, replicas }, from old to new
  let latest = null;           // the newest overview
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
      if (await auditLog.follow(overview.audit_mark)) showChanges();
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
    replicas.show(overview);
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
    keepOnly(cards, names);
    byId("of-rooms").hidden = names.length < 2; // with one room the totals are the same
    overview.rooms.forEach((room) => {
      if (!cards.has(room.room)) cards.set(room.room, makeCard(room.room));
      const card = cards.get(room.room);
      card.room = room;
      facts.show(card, room, named(overview.room_fields, overview.now && overview.now.rooms[room.room]));
      events.show(card, room.event);
      autotune.show(card, room);
    });
  }

  /* The elements of what has gone go too. */
  function keepOnly(shown, names) {
    shown.forEach((each, name) => {
      if (names.includes(name)) return;
      each.element.remove();
      if (each.option) each.option.remove();
      shown.delete(name);
    });
  }

  /* The values of a row by field; none without a row. */
  function named(fields, row) {
    return row ? Object.fromEntries(fields.map((field, index) => [field, row[index]])) : {};
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

  // --- charts -----------------------------------------------------------------------------------

  /* Draws the charts when a sample, the audit log or the selection changed. */
  function draw() {
    if (!latest || !latest.now) return;
    const [kind, chosen] = byId("of").value.split(" ");
    const last = samples.length ? samples[samples.length - 1].at : 0;
    const wantedKey = [last, range, kind, chosen, [...cards.keys()].join(), auditLog.newest()].join(" ");
    if (wantedKey === drawnKey) return;
    drawnKey = wantedKey;
    const axis = { now: latest.now.at, first: samples.length ? samples[0].at : latest.now.at, range };
    cards.forEach((card) => {
      const shown = samples.filter((each) => each.rooms[card.name])
        .map((each) => [each.at, each.rooms[card.name]]);
      const marks = auditLog.marksOf((entry) => entry.room === card.name);
      card.charts.forEach((chart) => chart.show(shown, { ...axis, marks }));
    });
    const shown = samples.filter((each) => each[kind][chosen]).map((each) => [each.at, each[kind][chosen]]);
    siteCharts.forEach((chart) => chart.show(shown, { ...axis, marks: auditLog.marksOf(() => true) }));
  }

  // --- changes ------------------------------------------------------------------

  function showChanges() {
    draw();
    cards.forEach(configuration.refresh); // another operator may have changed them
    cards.forEach(events.refresh);
  }

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

  const auditLog = window.gatekeeperAuditLog({ call });
  const replicas = window.gatekeeperReplicas({ keepOnly, named, text });
  const facts = window.gatekeeperRoomFacts({ text });
  const configuration = window.gatekeeperConfiguration({ call, ask, wake });
  window.gatekeeperReport({ call });
  const events = window.gatekeeperEvents({ call, ask, wake });
  const edge = window.gatekeeperEdge();
  const autotune = window.gatekeeperAutotune();
  const passes = window.gatekeeperPasses({ call, ask, wake, confirmation, result, keepOnly, text });

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
