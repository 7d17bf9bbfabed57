/* The control room: asks once a second, draws the hour that the gate keeps, and passes on what the
   operator wants.

   Rules: nothing is asked while the tab is hidden. What is remembered is bounded: the samples of an
   hour, and nothing of a room or replica that is gone; elements are made once and changed, so a page
   left open for a day stays as it was. Whatever comes from the gate is set as text. Whatever an
   operator wants is asked for twice, and told in numbers. */
(() => {
  "use strict";

  const { makeChart, duration, number, second } = window.gatekeeperChart;
  const EVERY_S = 1;
  const MAX_BACKOFF_S = 10;
  const TIMEOUT_S = 5;
  const STUCK_S = 30;        // a request that a sleeping machine forgot
  const MOST_SAMPLES = 1500; // whatever the gate keeps
  const ENTRIES = 50;
  const TOKEN = "gatekeeper:admin-token";
  const MODES = {
    auto: "Auto: at the rate",
    hold: "Held: nobody enters",
    open: "Open: everybody enters",
    ended: "Ended: nobody enters",
  };
  const ROOM_CHARTS = [
    {
      title: "People per minute", kind: "number", unit: "/min",
      explains: "Arriving above the rate: the line grows. Entering below released: those who are released do not come.",
      series: [["arrived", "arriving"], ["released", "released from the line"], ["admitted", "entering"], ["abandoned", "left or did not come"], ["limit", "rate"]],
    },
    {
      title: "In line and on the site", kind: "number",
      explains: "People who wait, and those who hold a slot: inside, or released and expected.",
      series: [["queue", "in line"], ["active", "on the site"]],
    },
    {
      title: "How long those who entered had waited", kind: "duration",
      explains: "From arrival to admission, over the last minute.",
      series: [["wait_p50", "half waited less than"], ["wait_p99", "99 of 100 waited less than"]],
    },
  ];
  const SITE_CHARTS = [
    {
      title: "Requests per second", kind: "number", unit: "/s",
      explains: "Failed: no connection, no answer in time, or an answer from 500 up.",
      series: [["forwarded", "forwarded to the site"], ["waiting", "answered with the waiting page"], ["failed", "failed by the site"]],
    },
    {
      title: "How long the site takes to answer", kind: "duration",
      explains: "From the request to the head of the answer, over the last minute. When this climbs, lower the rate.",
      series: [["origin_p50", "half take less than"], ["origin_p99", "99 of 100 take less than"]],
    },
  ];

  const byId = (id) => document.getElementById(id);
  const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
  const fine = new Intl.NumberFormat("en", { maximumFractionDigits: 1 });
  const clock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit" });

  const cards = new Map();     // room → card
  const rows = new Map();      // replica → its row of the table
  const siteCharts = SITE_CHARTS.map(makeChart);
  let samples = [];            // { at, rooms, replicas }, from old to new
  let latest = null;           // the newest answer
  let entries = [];            // of the audit log, newest first
  let auditMark = null;
  let range = 3600;
  let drawnAt = "";            // what the charts show: drawn anew only when that changed
  let timer = 0;
  let askedAt = 0;             // 0: nothing is under way
  let turn = 0;                // an answer of an earlier turn is dropped
  let failures = 0;
  let signedOut = false;
  let announced = "";
  let announcedAt = 0;

  // --- talking to the gate ----------------------------------------------------------------------

  /* The answer's JSON; throws an Error that can be shown as it is. */
  async function call(method, path) {
    const abort = new AbortController();
    const timeout = setTimeout(() => abort.abort(), TIMEOUT_S * 1000);
    try {
      const headers = { Accept: "application/json" };
      const token = sessionStorage.getItem(TOKEN);
      if (token) headers.Authorization = "Bearer " + token;
      const response = await fetch(path, { method, headers, cache: "no-store", signal: abort.signal });
      if (response.status === 401) {
        signOut(token);
        throw new Error("The gate wants a token first.");
      }
      const answer = await response.json().catch(() => null);
      if (!response.ok || answer === null) {
        throw new Error((answer && answer.error) || "The gate answered with status " + response.status + ".");
      }
      return answer;
    } catch (error) {
      if (error.name === "AbortError") throw new Error("The gate did not answer in time.");
      if (error instanceof TypeError) throw new Error("The gate is out of reach.");
      throw error;
    } finally {
      clearTimeout(timeout);
    }
  }

  async function poll() {
    if (signedOut || document.hidden) return;
    if (askedAt && Math.abs(Date.now() - askedAt) < STUCK_S * 1000) return;
    clearTimeout(timer);
    askedAt = Date.now();
    turn += 1;
    const mine = turn;
    try {
      const after = samples.length ? samples[samples.length - 1].at : 0;
      const answer = await call("GET", "/admin/overview?after=" + after);
      if (mine !== turn) return;
      failures = 0;
      connection("live", "Live");
      show(answer);
      if (answer.audit_mark !== auditMark) await readAudit(answer.audit_mark);
    } catch (error) {
      if (mine !== turn) return;
      failures += 1;
      if (!signedOut) connection("lost", error.message + " Trying again …");
    }
    if (mine !== turn) return;
    askedAt = 0;
    const seconds = failures ? Math.min(EVERY_S * Math.pow(2, failures), MAX_BACKOFF_S) : EVERY_S;
    if (!signedOut && !document.hidden) timer = setTimeout(poll, seconds * 1000);
  }

  /* Asks now, also when the machine slept in the middle of something. */
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
    askedAt = 0;
    poll();
  }

  function text(element, words) {
    if (element.textContent !== words) element.textContent = words;
  }

  // --- what is to be seen -----------------------------------------------------------------------

  function show(answer) {
    latest = answer;
    keep(answer);
    byId("live").hidden = false;
    byId("you").hidden = false;
    text(byId("you"), answer.you.name + (answer.you.role === "read" ? " · may only read" : ""));
    byId("sign-out").hidden = !sessionStorage.getItem(TOKEN);
    document.documentElement.dataset.role = answer.you.role;
    showSituation(answer.situation);
    showRooms(answer);
    showReplicas(answer);
    draw();
  }

  /* The samples of the gate's hour; those of a time that is over are forgotten. */
  function keep(answer) {
    const last = samples.length ? samples[samples.length - 1].at : 0;
    const unpack = (rows, fields) => Object.fromEntries(
      Object.entries(rows).map(([name, row]) => [name, named(fields, row)]));
    answer.samples.forEach((each) => {
      if (each.at <= last) return;
      samples.push({
        at: each.at,
        rooms: unpack(each.rooms, answer.room_fields),
        replicas: unpack(each.replicas, answer.replica_fields),
      });
    });
    const now = answer.now ? answer.now.at : last;
    const first = samples.findIndex((each) => each.at > now - answer.kept_s && each.at <= now + answer.every_s);
    samples = first < 0 ? [] : samples.slice(Math.max(first, samples.length - MOST_SAMPLES));
  }

  function showSituation(situation) {
    const told = situation.length ? situation : [{ level: "calm", text: "Nothing was read yet.", since: null }];
    const words = (each) => each.text.replace("{since}", each.since ? clock.format(each.since * 1000) : "");
    byId("situation").dataset.level = told[0].level;
    text(byId("headline"), words(told[0]));
    const list = byId("also");
    told.slice(1).forEach((each, index) => {
      const item = list.children[index] || list.appendChild(document.createElement("li"));
      item.dataset.level = each.level;
      text(item, words(each));
    });
    while (list.children.length > told.length - 1) list.lastChild.remove();
    document.title = (told[0].level === "bad" ? "⚠ " : "") + words(told[0]).slice(0, 60) + " · Gatekeeper";
    // Read aloud when it is something else, not when a number moved.
    const kind = told[0].text.replace(/[\d,.%]+/g, "#");
    if (kind !== announced && Date.now() - announcedAt > 5000) {
      announced = kind;
      announcedAt = Date.now();
      text(byId("announcer"), words(told[0]));
    }
  }

  function showRooms(answer) {
    const names = answer.rooms.map((room) => room.room);
    cards.forEach((card, name) => {
      if (names.includes(name)) return;
      card.element.remove();
      card.option.remove();
      cards.delete(name);
    });
    byId("of-rooms").hidden = names.length < 2; // of one, they are those of all
    answer.rooms.forEach((room) => {
      if (!cards.has(room.room)) cards.set(room.room, makeCard(room.room));
      const card = cards.get(room.room);
      card.room = room;
      const row = answer.now && answer.now.rooms[room.room];
      showFacts(card, room, row ? named(answer.room_fields, row) : {});
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
      button.addEventListener("click", () => want(card, "mode", { mode: button.dataset.mode }, button));
    });
    element.querySelectorAll("form").forEach((form) => {
      form.addEventListener("submit", (event) => {
        event.preventDefault();
        want(card, form.dataset.action, Object.fromEntries(new FormData(form)), form.querySelector("button"));
      });
    });
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
    const away = now.queue === null; // of the store: the rest is as last known
    card.element.dataset.modeNow = away ? "away" : room.mode;
    text(card.find("[data-mode-words]"), away ? "Store away: as last known" : MODES[room.mode] || room.mode);
    card.element.querySelectorAll("[data-mode]").forEach((button) => {
      const pressed = String(button.dataset.mode === room.mode);
      if (button.getAttribute("aria-pressed") !== pressed) button.setAttribute("aria-pressed", pressed);
    });
    card.find("[data-told]").hidden = !room.message;
    text(card.find("[data-told]"), room.message ? "All who wait read: “" + room.message + "”" : "");
    set("queue", whole.format(room.queue_length), "");
    set("active", whole.format(room.active), room.max_active ? "of " + whole.format(room.max_active) : "");
    set("arrived", ...flow(now.arrived));
    const entering = flow(now.admitted);
    set("admitted", entering[0], room.mode === "open" ? entering[1] : entering[1] + " of " + fine.format(room.rate_per_minute));
    set("abandoned", ...flow(now.abandoned));
    set("wait", ...(away ? ["–", ""] : newcomerWait(room)));
    const quantiles = (name, half, most) => {
      if (typeof half === "number") set(name, duration(half), "· " + duration(most));
      else set(name, "–", "");
    };
    quantiles("waited", now.wait_p50, now.wait_p99);
    quantiles("answers", now.origin_p50, now.origin_p99);
    set("failed", ...(typeof now.failed === "number" ? [number(now.failed), "/s"] : ["–", ""]));
    card.element.dataset.failing = String(now.failed > 0);
    text(card.find("[data-totals]"), "In all: " + whole.format(room.arrived_total) + " lined up, " +
      whole.format(room.released_total) + " were released, " + whole.format(room.admitted_total) +
      " entered, " + whole.format(room.abandoned_total) + " left or did not come.");
  }

  function newcomerWait(room) {
    if (room.mode === "hold" || room.mode === "ended") return [room.mode === "hold" ? "held" : "ended", ""];
    if (room.queue_length === 0 || room.mode === "open") return ["no time", ""];
    if (room.rate_per_minute === 0) return ["held", ""];
    return split(duration(room.queue_length / room.rate_per_minute * 60));
  }

  const split = (words) => [words.split(" ")[0], words.split(" ").slice(1).join(" ")];

  // --- replicas ---------------------------------------------------------------------------------

  function showReplicas(answer) {
    const names = answer.replicas.map((each) => each.replica);
    rows.forEach((row, name) => {
      if (names.includes(name)) return;
      row.element.remove();
      row.option.remove();
      rows.delete(name);
    });
    answer.replicas.forEach((each) => {
      if (!rows.has(each.replica)) rows.set(each.replica, makeRow(each.replica));
      const { element, cells } = rows.get(each.replica);
      const row = answer.now && answer.now.replicas[each.replica];
      const now = row ? named(answer.replica_fields, row) : {};
      const silent = each.quiet_s >= answer.silent_after_s;
      const rate = (value, unit) => (typeof value === "number" ? number(value) + unit : "–");
      element.dataset.silent = String(silent);
      text(cells[0], silent ? "silent for " + duration(Math.round(each.quiet_s)) : "up");
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

  /* When there is a new sample, or other charts are wanted; every few seconds at most. */
  function draw() {
    if (!latest || !latest.now) return;
    const [kind, chosen] = byId("of").value.split(" ");
    const last = samples.length ? samples[samples.length - 1].at : 0;
    const wanted = [last, range, kind, chosen, [...cards.keys()].join(), entries.length && entries[0].at].join(" ");
    if (wanted === drawnAt) return;
    drawnAt = wanted;
    const until = latest.now.at;
    cards.forEach((card) => {
      const shown = samples.filter((each) => each.rooms[card.name])
        .map((each) => [each.at, each.rooms[card.name]]);
      const marks = marksOf((entry) => entry.room === card.name);
      card.charts.forEach((chart) => chart.show(shown, until, range, marks));
    });
    const shown = samples.filter((each) => each[kind][chosen]).map((each) => [each.at, each[kind][chosen]]);
    siteCharts.forEach((chart) => chart.show(shown, until, range, marksOf(() => true)));
  }

  function marksOf(concerns) {
    return entries.filter((entry) => entry.outcome === "done" && concerns(entry))
      .map((entry) => ({ at: Date.parse(entry.at) / 1000, words: entry.who + " " + sentence(entry) }));
  }

  // --- the audit log ----------------------------------------------------------------------------

  async function readAudit(mark) {
    const answer = await call("GET", "/admin/audit?limit=" + ENTRIES);
    auditMark = mark;
    entries = answer.entries;
    byId("entries").replaceChildren(...entries.map(entryItem));
    byId("no-entries").hidden = entries.length > 0;
    draw();
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
    const tried = { refused: "was refused: " + entry.what, failed: "failed: " + sentence(entry) };
    const note = entry.note ? " (" + entry.note + ")" : "";
    item.append(time, part("b", entry.who), part("span", (tried[entry.outcome] || sentence(entry)) + note), part("small", entry.address));
    return item;
  }

  function when(ms) {
    const today = new Date(ms).toDateString() === new Date().toDateString();
    return today ? second.format(ms) : new Date(ms).toLocaleString(undefined, { dateStyle: "medium", timeStyle: "short" });
  }

  function sentence(entry) {
    const room = entry.room ? " " + entry.room : "";
    const quoted = (words) => (words ? "“" + words + "”" : "nothing");
    switch (entry.what) {
      case "mode": return "set" + room + " to " + entry.to + (entry.from ? ", was " + entry.from : "");
      case "rate": return "set the rate of" + room + " to " + fine.format(entry.to) + "/min" + (typeof entry.from === "number" ? ", was " + fine.format(entry.from) : "");
      case "allow": return "let " + whole.format(entry.to) + " extra into" + room;
      case "message": return "told those in" + room + " " + quoted(entry.to) + (entry.from ? ", was " + quoted(entry.from) : "");
      case "revoke": return "ended " + entry.visitor + " in" + room + ", who held " + (entry.from || "?");
      default: return entry.what + room;
    }
  }

  // --- what the operator wants ------------------------------------------------------------------

  /* What will happen, in numbers; throws an Error that says what was expected. */
  function consequences(room, action, values) {
    const people = (count) => (count === 1 ? "1 person" : whole.format(count) + " people");
    const line = people(room.queue_length) + " in line";
    const inside = people(room.active) + " on the site";
    const modes = {
      auto: ["Let people in by rate?", "Go by rate", "People enter at " + fine.format(room.rate_per_minute) + " a minute. " + drained(room, room.rate_per_minute)],
      hold: ["Hold the line?", "Hold the line", "Nobody is let in until you choose another mode. " + line + " keep their places; " + inside + " stay."],
      open: ["Open the gate?", "Open the gate", line + " and every newcomer go in at once, whatever the rate" + (room.max_active ? " and the limit of " + whole.format(room.max_active) : "") + "; " + inside + " already."],
      ended: ["End it?", "End it", "Nobody is let in, and " + line + " read that it is over. Their places are kept, so another mode takes it back; " + inside + " stay."],
    };
    switch (action) {
      case "mode": return modes[values.mode];
      case "rate": {
        const rate = perMinute(values.rate);
        const now = room.rate_per_minute ? " instead of " + fine.format(room.rate_per_minute) : ", up from 0";
        return ["Set the rate?", "Set the rate", fine.format(rate) + " a minute are let in" + now + ". " + (rate ? drained(room, rate) : "Only those whom you allow enter.")];
      }
      case "allow": {
        const count = Number(values.n);
        const at = Math.min(count, room.queue_length);
        const held = room.mode === "hold" || room.mode === "ended";
        const later = held ? "The mode is " + room.mode + ": they enter once it is auto." :
          (at < count ? whole.format(count - at) + " more stay granted for whoever comes." : "");
        return ["Let " + whole.format(count) + " extra in?", "Let them in", people(at) + " of " + whole.format(room.queue_length) + " in line go in beside the rate. " + later];
      }
      case "message": {
        const words = values.text.trim();
        return words
          ? ["Tell all who wait?", "Tell them", line + " read within seconds: “" + words + "”"]
          : ["Take the message back?", "Take it back", line + " read no message any more."];
      }
      default:
        return ["End this session?", "End it", "Whatever " + values.visitor + " holds, inside or in line, ends at once on every replica. They can only line up anew, at the end."];
    }
  }

  function drained(room, rate) {
    if (room.queue_length === 0) return "Nobody is in line now.";
    const all = room.queue_length === 1 ? "The one in line is" : "All " + whole.format(room.queue_length) + " in line are";
    return all + " in after about " + duration(room.queue_length / rate * 60) + ".";
  }

  function perMinute(words) {
    const match = /^(\d+(?:\.\d+)?)\/(s|min|h)$/.exec(words.trim());
    if (words.trim() === "0") return 0;
    if (!match) throw new Error('expected a rate such as "500/min" or "8/s", or 0');
    return Number(match[1]) * { s: 60, min: 1, h: 1 / 60 }[match[2]];
  }

  /* Asks whether that is meant, and then has it done. */
  function want(card, action, values, button) {
    let asked;
    try {
      asked = consequences(card.room, action, values);
    } catch (error) {
      outcome(card, error.message, true);
      return;
    }
    const dialog = byId("ask");
    text(byId("ask-title"), cards.size > 1 ? card.name + ": " + asked[0] : asked[0]);
    text(byId("ask-yes"), asked[1]);
    text(byId("ask-text"), asked[2].trim());
    dialog.returnValue = "no";
    dialog.onclose = () => {
      if (button.isConnected) button.focus();
      if (dialog.returnValue === "yes") act(card, action, values);
    };
    dialog.showModal();
    byId("ask-no").focus();
  }

  async function act(card, action, values) {
    const query = new URLSearchParams(Object.assign({}, values, { room: card.name }));
    try {
      const answer = await call("POST", "/admin/" + action + "?" + query);
      outcome(card, done(action, values, answer), false);
    } catch (error) {
      outcome(card, error.message, true);
    }
    wake();
  }

  function done(action, values, answer) {
    switch (action) {
      case "mode": return "Done: " + MODES[values.mode] + ".";
      case "rate": return "Done: the rate is " + values.rate + ".";
      case "message": return values.text.trim() ? "Done: they are told." : "Done: the message is taken back.";
      case "revoke": return "Done: they held " + ({ slot: "a slot", place: "a place in line" }[answer.held] || "nothing") + ".";
      default: return "Done: granted " + answer.granted + "; " + answer.pending + " of all granted are not taken yet.";
    }
  }

  function outcome(card, words, failed) {
    const line = card.find(".outcome");
    line.textContent = words;
    line.classList.toggle("error", failed);
    line.hidden = false;
  }

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
