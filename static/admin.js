/* The live dashboard: asks each second, draws ten minutes, and passes on what the operator wants.

   Rules: nothing is asked while the tab is hidden. What is remembered is bounded: ten minutes of
   samples a room, and nothing of a room that is gone. Whatever comes from the gate is set as text.
   What may surprise visitors (hold, open) is asked for twice. */
(() => {
  "use strict";

  const EVERY_S = 1;
  const MAX_BACKOFF_S = 10;
  const TIMEOUT_S = 5;
  const WINDOW_S = 600;
  const MEAN_S = 10;
  const GAP_S = 5;      // a longer silence is a gap in the line, not a slope
  const TOKEN = "gatekeeper:admin-token";
  const MODES = { auto: "Auto: at the rate", hold: "Held: nobody enters", open: "Open: everybody enters" };

  const byId = (id) => document.getElementById(id);
  const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
  const fine = new Intl.NumberFormat("en", { maximumFractionDigits: 1 });

  const cards = new Map();   // room → card
  let timer = 0;
  let asking = false;
  let failures = 0;
  let signedOut = false;

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
    if (asking || signedOut || document.hidden) return;
    clearTimeout(timer);
    asking = true;
    try {
      const answer = await call("GET", "/admin/status");
      failures = 0;
      show(answer.rooms);
      connection("live", "Live");
    } catch (error) {
      failures += 1;
      if (!signedOut) connection("lost", error.message + " Trying again …");
    }
    asking = false;
    const seconds = failures ? Math.min(EVERY_S * Math.pow(2, failures), MAX_BACKOFF_S) : EVERY_S;
    if (!signedOut && !document.hidden) timer = setTimeout(poll, seconds * 1000);
  }

  function connection(state, words) {
    document.documentElement.dataset.state = state;
    if (byId("connection").textContent !== words) byId("connection").textContent = words;
  }

  function signOut(refused) {
    signedOut = true;
    sessionStorage.removeItem(TOKEN);
    byId("refused").hidden = !refused;
    byId("sign-in").hidden = false;
    byId("rooms").hidden = true;
    connection("signed-out", "Signed out");
    byId("token").focus();
  }

  function signIn(event) {
    event.preventDefault();
    sessionStorage.setItem(TOKEN, byId("token").value.trim());
    byId("token").value = "";
    byId("sign-in").hidden = true;
    byId("rooms").hidden = false;
    signedOut = false;
    poll();
  }

  // --- rooms ------------------------------------------------------------------------------------

  function show(rooms) {
    const names = rooms.map((room) => room.room);
    cards.forEach((card, name) => {
      if (names.includes(name)) return;
      card.element.remove();
      cards.delete(name);
    });
    rooms.forEach((room) => {
      if (!cards.has(room.room)) cards.set(room.room, makeCard(room.room));
      const card = cards.get(room.room);
      sample(card, room, Date.now() / 1000);
      showFacts(card, room);
      draw(card, room);
    });
  }

  function makeCard(name) {
    const element = byId("room").content.firstElementChild.cloneNode(true);
    const find = (selector) => element.querySelector(selector);
    find("[data-name]").textContent = name;
    const card = {
      name,
      element,
      find,
      samples: [],
      flow: makeChart(find("[data-chart=flow]"), ["area", "entered", "released", "limit"]),
      line: makeChart(find("[data-chart=line]"), ["area", "queue"]),
    };
    element.querySelectorAll("[data-mode]").forEach((button) => {
      button.addEventListener("click", () => chooseMode(card, button.dataset.mode));
    });
    element.querySelectorAll("[data-confirm]").forEach((box) => {
      box.querySelector("[data-yes]").addEventListener("click", () => setMode(card, box.dataset.confirm));
      box.querySelector("[data-no]").addEventListener("click", () => closeConfirm(card));
    });
    element.querySelectorAll("form").forEach((form) => {
      form.addEventListener("submit", (event) => {
        event.preventDefault();
        const values = Object.fromEntries(new FormData(form));
        act(card, form.dataset.action, values);
      });
    });
    byId("rooms").append(element);
    return card;
  }

  function showFacts(card, room) {
    const set = (name, number, unit) => {
      const small = document.createElement("small");
      small.textContent = unit;
      card.find("[data-fact=" + name + "]").replaceChildren(number, unit ? " " : "", small);
    };
    card.element.dataset.modeNow = room.mode;
    card.find("[data-mode-words]").textContent = MODES[room.mode] || room.mode;
    card.element.querySelectorAll("[data-mode]").forEach((button) => {
      button.setAttribute("aria-pressed", String(button.dataset.mode === room.mode));
    });
    set("queue", whole.format(room.queue_length), "");
    set("wait", ...newcomerWait(room));
    set("active", whole.format(room.active), room.max_active ? "of " + whole.format(room.max_active) : "");
    set("rate", fine.format(room.rate_per_minute), "/min");
    card.find("[data-totals]").textContent =
      "In all: " + whole.format(room.arrived_total) + " lined up, " +
      whole.format(room.released_total) + " were released, " +
      whole.format(room.admitted_total) + " entered, " +
      whole.format(room.abandoned_total) + " gave up.";
  }

  function newcomerWait(room) {
    if (room.mode === "hold" || (room.rate_per_minute === 0 && room.mode !== "open")) return ["held", ""];
    if (room.queue_length === 0 || room.mode === "open") return ["none", ""];
    const minutes = room.queue_length / room.rate_per_minute;
    if (minutes < 1) return ["< 1", "minute"];
    return minutes < 90 ? [whole.format(minutes), "minutes"] : [fine.format(minutes / 60), "hours"];
  }

  // --- what the operator wants ------------------------------------------------------------------

  function chooseMode(card, mode) {
    closeConfirm(card);
    const box = card.find("[data-confirm=" + mode + "]");
    if (!box) {
      setMode(card, mode);
      return;
    }
    box.hidden = false;
    box.querySelector("[data-no]").focus();
  }

  function closeConfirm(card) {
    const open = card.find("[data-confirm]:not([hidden])");
    if (!open) return;
    open.hidden = true;
    card.find("[data-mode=" + open.dataset.confirm + "]").focus();
  }

  function setMode(card, mode) {
    closeConfirm(card);
    act(card, "mode", { mode });
  }

  async function act(card, action, values) {
    const query = new URLSearchParams(Object.assign({}, values, { room: card.name }));
    try {
      const answer = await call("POST", "/admin/" + action + "?" + query);
      outcome(card, done(action, values, answer), false);
      poll();
    } catch (error) {
      outcome(card, error.message, true);
    }
  }

  function done(action, values, answer) {
    if (action === "mode") return "Mode: " + values.mode + ".";
    if (action === "rate") return "Rate: " + values.rate + ".";
    return "Granted " + answer.granted + "; " + answer.pending + " of that wait for someone to take them.";
  }

  function outcome(card, words, failed) {
    const line = card.find(".outcome");
    line.textContent = words;
    line.classList.toggle("error", failed);
    line.hidden = false;
  }

  // --- ten minutes ------------------------------------------------------------------------------

  function sample(card, room, now) {
    const samples = card.samples.filter((each) => each.at >= now - WINDOW_S && each.at <= now);
    card.samples = samples;
    samples.push({
      at: now,
      admitted: room.admitted_total,
      released: room.released_total,
      enteredPerMinute: meanPerMinute(samples, "admitted", room.admitted_total, now),
      releasedPerMinute: meanPerMinute(samples, "released", room.released_total, now),
      limit: room.rate_per_minute,
      queue: room.queue_length,
    });
  }

  /* Growth of a total over the last seconds; null where a gap or a reset leaves nothing to say. */
  function meanPerMinute(samples, name, total, now) {
    let from = null;
    for (let i = samples.length - 1; i >= 0 && samples[i].at >= now - MEAN_S - 0.5; i -= 1) {
      from = samples[i];
    }
    if (from === null || now - from.at < 2 * EVERY_S || total < from[name]) return null;
    return (total - from[name]) / (now - from.at) * 60;
  }

  function makeChart(figure, series) {
    figure.append(byId("chart").content.cloneNode(true));
    const svg = figure.querySelector("svg");
    const paths = {};
    series.forEach((name) => {
      paths[name] = document.createElementNS("http://www.w3.org/2000/svg", "path");
      paths[name].setAttribute("class", name);
      svg.append(paths[name]);
    });
    return { svg, paths, top: figure.querySelector(".top"), half: figure.querySelector(".half") };
  }

  function draw(card, room) {
    const samples = card.samples;
    const latest = samples[samples.length - 1];
    const flow = ["enteredPerMinute", "releasedPerMinute", "limit"];
    const flowTop = scale(card.flow, samples, flow);
    line(card.flow.paths.entered, samples, "enteredPerMinute", flowTop);
    area(card.flow.paths.area, card.flow.paths.entered);
    line(card.flow.paths.released, samples, "releasedPerMinute", flowTop);
    line(card.flow.paths.limit, samples, "limit", flowTop);
    card.flow.svg.setAttribute("aria-label", "People per minute over the last 10 minutes; now " +
      whole.format(latest.enteredPerMinute || 0) + " entered at a rate of " + fine.format(room.rate_per_minute));
    line(card.line.paths.queue, samples, "queue", scale(card.line, samples, ["queue"]));
    area(card.line.paths.area, card.line.paths.queue);
    card.line.svg.setAttribute("aria-label", "People in line over the last 10 minutes; now " +
      whole.format(latest.queue));
  }

  /* The round number at the top of the axis: an even digit, or 1, times a power of ten. */
  function scale(chart, samples, names) {
    let most = 2;
    samples.forEach((each) => names.forEach((name) => { most = Math.max(most, each[name] || 0); }));
    const power = Math.pow(10, Math.floor(Math.log10(most)));
    const top = [1, 2, 4, 6, 8, 10].map((step) => step * power).find((step) => step >= most);
    chart.top.textContent = whole.format(top);
    chart.half.textContent = fine.format(top / 2);
    return top;
  }

  /* One sub-path for each stretch without a gap. */
  function line(path, samples, name, top) {
    const now = samples[samples.length - 1].at;
    let before = null;
    let drawn = "";
    samples.forEach((each) => {
      if (each[name] === null) {
        before = null;
        return;
      }
      const joined = before !== null && each.at - before < GAP_S;
      const x = (WINDOW_S - (now - each.at)).toFixed(1);
      const y = (100 - each[name] / top * 100).toFixed(1);
      drawn += (joined ? "L" : "M") + x + " " + y;
      before = each.at;
    });
    path.setAttribute("d", drawn);
  }

  /* The ground under a line: each of its stretches, closed along the bottom. */
  function area(path, above) {
    const stretches = (above.getAttribute("d") || "").split("M").filter((stretch) => stretch);
    path.setAttribute("d", stretches.map((stretch) => {
      const points = stretch.split("L");
      const first = points[0].split(" ")[0];
      const last = points[points.length - 1].split(" ")[0];
      return "M" + stretch + "L" + last + " 100L" + first + " 100Z";
    }).join(""));
  }

  // --- start ------------------------------------------------------------------------------------

  byId("sign-in").addEventListener("submit", signIn);
  document.addEventListener("visibilitychange", () => {
    clearTimeout(timer);
    poll();
  });
  poll();
})();
