/* Counts down to the opening of an event by the gate's clock, and shows the visitor's part in the draw.

   Rules: the gate sends the remaining time, and performance.now() measures from there, so the clock of
   the device may be wrong. Nothing is polled or loaded at zero: all pages reach it in one second, and
   each continues with its next poll. The syntax is that of 2017, as in static/waiting.js. */
(() => {
  "use strict";

  const REMIND_AT_S = 300;
  const SAY_AT_MINUTES = [60, 30, 15, 10, 5, 2, 1];
  const DAY_S = 86400;
  const SLEPT_MS = 3000;      // performance.now() stands still while most devices sleep (w3c/hr-time 115)
  const ASK_WITHIN_MS = 5000; // after that: devices of one office wake together

  const root = document.documentElement;
  const byId = (id) => document.getElementById(id);
  const section = byId("opening");
  const locale = root.dataset.intl || root.lang;
  const region = (navigator.languages || []).find((name) => name.split("-")[0] === root.lang.split("-")[0]);
  const moment = new Intl.DateTimeFormat(region || locale, {
    weekday: "long", year: "numeric", month: "long", day: "numeric", hour: "numeric", minute: "2-digit", timeZoneName: "short",
  });

  let timer = 0;
  let startsAt = section.dataset.starts;
  let endsAtMs = Infinity;    // by performance.now()
  let shownS = Infinity;
  let offsetMs = offset();

  function offset() {
    return Date.now() - performance.now();
  }

  /* Of several estimates for one start the earliest is best: each is late by the time of its way here. */
  function count(start, leftMs) {
    const estimate = performance.now() + leftMs;
    endsAtMs = start === startsAt ? Math.min(endsAtMs, estimate) : estimate;
    if (start !== startsAt) byId("starts").dateTime = start;
    startsAt = start;
    section.hidden = false;
    offsetMs = offset();
    showMoments();
    tick();
  }

  function tick() {
    clearTimeout(timer);
    if (section.hidden) return;
    if (Math.abs(offset() - offsetMs) > SLEPT_MS) askAgain();
    const leftMs = Math.max(endsAtMs - performance.now(), 0);
    show(Math.ceil(leftMs / 1000));
    if (leftMs > 0) timer = setTimeout(tick, leftMs % 1000 || 1000);
  }

  /* The device slept, or its clock was set: how much time is left is unknown until the gate says. */
  function askAgain() {
    offsetMs = offset();
    setTimeout(() => document.dispatchEvent(new Event("slept")), ASK_WITHIN_MS * Math.random());
  }

  function show(seconds) {
    if (seconds === shownS) return;
    const rest = seconds % DAY_S;
    const parts = [rest / 3600, rest / 60 % 60, rest % 60];
    byId("days").textContent = seconds < DAY_S ? "" : words("day", Math.floor(seconds / DAY_S));
    byId("clock").textContent = parts.map((part) => String(Math.floor(part)).padStart(2, "0")).join(":");
    byId("opened").hidden = seconds > 0;
    if (shownS !== Infinity) mark(seconds);
    shownS = seconds;
  }

  /* A screen reader announces a few minutes, not each second. */
  function mark(seconds) {
    const isPassed = (atS) => seconds <= atS && atS < shownS;
    const minutes = SAY_AT_MINUTES.filter((at) => isPassed(at * 60)).pop();
    const left = minutes && byId("count-label").textContent + ": " + words("minute", minutes);
    if (isPassed(0)) announce(byId("opened").textContent);
    else if (left) announce(left);
    if (isPassed(REMIND_AT_S)) document.dispatchEvent(new CustomEvent("opening", { detail: left }));
  }

  function announce(text) {
    if (byId("options").elements.aloud.checked) byId("live").textContent = text;
  }

  function words(unit, number) {
    try {
      return new Intl.NumberFormat(locale, { style: "unit", unit, unitDisplay: "long" }).format(number);
    } catch (error) {
      return number + (unit === "day" ? " d" : " min");   // Safari has units since 2021
    }
  }

  function showMoments() {
    section.querySelectorAll("time").forEach((time) => {
      time.textContent = moment.format(new Date(time.dateTime));
    });
  }

  function showDraw(draw) {
    if (!byId("draw") || !draw) return;
    byId("number").textContent = draw.id_hash.slice(0, 4) + " " + draw.id_hash.slice(4, 8);
    byId("id-hash").textContent = draw.id_hash;
    byId("drawn-turn").textContent = draw.turn;
    document.querySelectorAll(".drawn").forEach((element) => { element.hidden = false; });
  }

  document.addEventListener("status", (event) => {
    const status = event.detail;
    showDraw(status.draw);
    if (typeof status.starts_in_seconds === "number") {
      count(status.starts_at, status.starts_in_seconds * 1000);
    } else {
      section.hidden = true;   // it has begun, or was cancelled
      endsAtMs = Infinity;
      tick();
    }
  });
  document.addEventListener("visibilitychange", tick);
  if (section.dataset.startsIn) count(startsAt, Number(section.dataset.startsIn));
})();
