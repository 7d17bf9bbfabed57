/* Loads the page of a visitor without a place again: in the time that the gate chose for this page, so
   that not all pages return in one second. Never while offline, since the browser's own error page
   would stay. Until then it counts the time down, where the page shows it. */
(() => {
  "use strict";

  const LATEST_MS = 5000;     // devices of one network return together
  const MINUTES_FROM_S = 90;  // shorter times are counted in seconds

  const data = document.documentElement.dataset;
  const next = document.getElementById("next");
  const at = performance.now() + data.renew * 1000;

  function renew() {
    if (navigator.onLine !== false) location.reload();
    else addEventListener("online", () => setTimeout(renew, LATEST_MS * Math.random()), { once: true });
  }

  function show() {
    const left = Math.max(Math.ceil((at - performance.now()) / 1000), 0);
    const [value, unit] = left < MINUTES_FROM_S ? [left, "second"] : [Math.ceil(left / 60), "minute"];
    let text = value + (unit === "second" ? " s" : " min");   // Safari has units since 2021
    try {
      text = new Intl.NumberFormat(data.intl, { style: "unit", unit, unitDisplay: "long" }).format(value);
    } catch (error) { /* as above */ }
    if (next.textContent !== text) next.textContent = text;
  }

  setTimeout(renew, data.renew * 1000);
  if (next) setInterval(show, 1000);
  document.addEventListener("slept", renew);   // static/countdown.js
})();
