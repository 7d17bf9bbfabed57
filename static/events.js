/* The events of a room in the control room: what is planned, and a form for a new one.

   Rules: as for the settings, a panel asks the gate when it is opened, when the audit log changed,
   and when an event begins or ends. Every time is shown in the operator's zone and in UTC. Every
   change is confirmed first. Every value of the gate is set as text. */
window.gatekeeperEvents = (page) => {
  "use strict";

  const { call, ask, wake } = page;
  const { duration } = window.gatekeeperChart;
  const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
  const local = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "long" });
  const UNITS_MS = { ms: 1, s: 1000, m: 60000, h: 3600000, d: 86400000 };
  const STAGES = {
    planned: "planned", prequeue: "visitors gather", running: "running", ended: "ended", cancelled: "cancelled",
  };

  /* A time of the gate in the operator's zone and in UTC. */
  function both(at) {
    const utc = new Date(at).toISOString().replace("T", " ").replace(/\.\d+Z$/, "");
    return local.format(new Date(at)) + " (" + utc + " UTC)";
  }

  /* Milliseconds of a delay such as "10m" or "1h30m"; throws an Error with the problem. */
  function delayMs(input) {
    const words = input.trim();
    const parts = [...words.matchAll(/(\d+(?:\.\d+)?)(ms|s|m|h|d)/g)];
    const ms = parts.reduce((sum, part) => sum + Number(part[1]) * UNITS_MS[part[2]], 0);
    if (!parts.length || parts.map((part) => part[0]).join("") !== words || ms <= 0) {
      throw new Error(JSON.stringify(input) + ' is not a delay; expected e.g. "10m" or "1h30m"');
    }
    return ms;
  }

  /* What a card says of its event: the stage, and the time until the next change. */
  function words(event) {
    if (!event) return "";
    const until = event.seconds === null ? "" : ", " + event.next + " in " + countdown(event.seconds);
    return event.name + ": " + STAGES[event.stage] + until;
  }

  function countdown(seconds) {
    if (seconds >= 86400) return duration(seconds);
    const two = (value) => String(value).padStart(2, "0");
    const hours = Math.floor(seconds / 3600);
    return (hours ? hours + ":" : "") + two(Math.floor(seconds / 60) % 60) + ":" + two(seconds % 60);
  }

  /* Lets the panel of a room's card load its events when it is opened, and its form make one. */
  function attach(card) {
    const panel = card.find("[data-events]");
    panel.addEventListener("toggle", () => { if (panel.open) refresh(card); });
    const form = panel.querySelector("form");
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      make(card, form);
    });
  }

  /* The newest state of the room: the line on its card, and the panel where the stage changed. */
  function show(card, event) {
    const line = card.find("[data-event-words]");
    const text = words(event);
    if (line.textContent !== text) line.textContent = text;
    line.hidden = !text;
    const stage = event ? event.name + " " + event.stage : "";
    if (card.stage !== undefined && card.stage !== stage) refresh(card);
    card.stage = stage;
  }

  async function refresh(card) {
    if (!card.find("[data-events]").open) return;
    try {
      const response = await call("GET", "/admin/events?room=" + encodeURIComponent(card.name));
      card.find("[data-event-list]").replaceChildren(...response.events.map((event) => item(card, event)));
      card.find("[data-no-events]").hidden = response.events.length > 0;
    } catch (error) {
      report(card, error.message, true);
    }
  }

  function item(card, event) {
    const element = document.getElementById("event").content.firstElementChild.cloneNode(true);
    const find = (selector) => element.querySelector(selector);
    element.dataset.stage = event.stage;
    find("[data-name]").textContent = event.name;
    find("[data-stage-words]").textContent = STAGES[event.stage] + (event.file ? ", from the file" : ", made live");
    find("[data-times]").replaceChildren(...[["prequeue", "Visitors gather from"], ["start", "Start"], ["end", "End"]]
      .filter(([key]) => event[key])
      .map(([key, label]) => timeLine(label, event[key])));
    find("[data-keys]").textContent = keysOf(event);
    const isAhead = event.stage === "planned" || event.stage === "prequeue";
    find("form").hidden = !isAhead && event.stage !== "running";
    find("label").hidden = find("[data-delay]").hidden = find("[data-open]").hidden = !isAhead;
    const cancel = find("[data-cancel]");
    cancel.textContent = isAhead ? "Cancel …" : "End …";
    [[find("[data-delay]"), "Delay "], [find("[data-open]"), "Open now: "], [cancel, isAhead ? "Cancel " : "End "]]
      .forEach(([button, label]) => button.setAttribute("aria-label", label + event.name + " …"));
    find("form").addEventListener("submit", (submitted) => {
      submitted.preventDefault();
      delay(card, event, find("input").value, find("[data-delay]"));
    });
    find("[data-open]").addEventListener("click", () => openNow(card, event, find("[data-open]")));
    cancel.addEventListener("click", () => end(card, event, isAhead, cancel));
    return element;
  }

  function timeLine(label, at) {
    const element = document.createElement("span");
    const time = document.createElement("time");
    time.dateTime = at;
    time.textContent = both(at);
    element.append(label + " ", time);
    return element;
  }

  const OWN = ["name", "room", "stage", "prequeue", "start", "end", "announced", "commitment", "drawn", "file"];

  const FIELDS = [...OWN, "delay", "order", "before", "after", "beacon", "rate"];

  function keysOf(event) {
    const keys = Object.entries(event).filter(([key, value]) => !OWN.includes(key) && value !== "" && value !== null);
    const draw = event.commitment ? " · commitment " + event.commitment : "";
    return keys.map(([key, value]) => key + " = " + value).join(" · ") + draw;
  }

  /* The keys of the room that the form's lines set; throws an Error with the problem. Numbers are no
     texts to the gate, which checks everything else. */
  function settingsOf(lines) {
    const found = {};
    lines.split("\n").map((line) => line.trim()).filter(Boolean).forEach((line) => {
      const [, key, words] = /^([a-z_]+)\s*=\s*(.*)$/.exec(line) || [];
      if (!key) throw new Error(JSON.stringify(line) + ' is not a setting; expected e.g. "max_active = 6000"');
      if (FIELDS.includes(key)) throw new Error(key + " has a field of its own; expected it there");
      if (key in found) throw new Error(key + " is set twice; expected it once");
      found[key] = valueOf(key, words);
    });
    return found;
  }

  function valueOf(key, words) {
    if (key === "title" || key === "message") return words;
    if (words === "true" || words === "false") return words === "true";
    return /^\d{1,15}(\.\d{1,6})?$/.test(words) ? Number(words) : words;
  }

  // --- changes ------------------------------------------------------------------------------------

  function make(card, form) {
    const values = Object.fromEntries([...new FormData(form)].filter(([, value]) => value !== ""));
    let settings;
    try {
      settings = settingsOf(values.settings || "");
    } catch (error) {
      report(card, error.message, true);
      return;
    }
    delete values.settings;
    const body = Object.assign({}, values, settings, { room: card.name });
    ["prequeue", "start", "end"].forEach((key) => { if (values[key]) body[key] = new Date(values[key]).toISOString(); });
    if (!body.prequeue) delete body.order; // nobody to draw
    const gather = body.prequeue ? "Visitors gather from " + both(body.prequeue) + (body.order === "draw" ? ", and are drawn. " : ", and keep the order of their arrival. ") : "";
    const until = body.end ? " until " + both(body.end) : ", without an end";
    const rate = body.rate ? " at " + body.rate : " at the room's rate";
    const others = Object.entries(settings).map(([key, value]) => key + " = " + value).join(", ");
    const beacon = body.beacon ? " The draw waits for the beacon " + body.beacon + ", at most a minute." : "";
    ask(card, {
      title: "Plan " + body.name + "?",
      confirm: "Plan it",
      text: gather + "The room admits from " + both(body.start) + until + rate + "." + beacon + (others && " It sets " + others + "."),
    }, form.querySelector("button"), () => send(card, "POST", body, "planned", () => form.reset()));
  }

  function delay(card, event, input, button) {
    let start;
    try {
      start = new Date(new Date(event.start).getTime() + delayMs(input));
    } catch (error) {
      report(card, error.message, true);
      return;
    }
    ask(card, {
      title: "Delay " + event.name + "?",
      confirm: "Delay it",
      text: "The start moves by " + input.trim() + " to " + both(start) + "; it is " + both(event.start) +
        " now. Visitors gather until then. The end stays.",
    }, button, () => send(card, "POST", { name: event.name, room: card.name, delay: input.trim() }, "delayed"));
  }

  function openNow(card, event, button) {
    const line = whole.format(card.room.queue_length) + " in line";
    const draw = event.stage === "prequeue" && event.order === "draw" ? " are drawn, and" : "";
    ask(card, {
      title: "Open " + event.name + " now?",
      confirm: "Open now",
      text: line + draw + " are admitted from this moment on, not from " + both(event.start) + ". This cannot be taken back.",
    }, button, () => send(card, "POST", { name: event.name, room: card.name, start: "now" }, "opened"));
  }

  function end(card, event, isAhead, button) {
    const line = whole.format(card.room.queue_length) + " in line";
    const rate = "the room's own rate";
    ask(card, isAhead ? {
      title: "Cancel " + event.name + "?",
      confirm: "Cancel the event",
      text: line + " keep the order of their arrival, and are admitted at " + rate + ". Hold the line first if nobody is to enter.",
    } : {
      title: "End " + event.name + " now?",
      confirm: "End the event",
      text: "The room returns to its own settings, and admits " + line + " at " + rate + ". To close admission instead, use the mode End.",
    }, button, () => send(card, "DELETE", { name: event.name, room: card.name }, isAhead ? "cancelled" : "ended"));
  }

  async function send(card, method, body, done, act) {
    const isPost = method === "POST";
    const query = isPost ? "" : "?" + new URLSearchParams(body);
    try {
      const event = await call(method, "/admin/events" + query, isPost ? body : undefined);
      report(card, "Done: " + event.name + " is " + done + ".", false);
      if (act) act();
    } catch (error) {
      report(card, error.message, true);
    }
    refresh(card);
    wake();
  }

  function report(card, text, failed) {
    const line = card.find("[data-events] .result");
    line.textContent = text;
    line.classList.toggle("error", failed);
    line.hidden = false;
  }

  return { attach, show, refresh };
};
