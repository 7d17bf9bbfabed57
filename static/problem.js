/* Loads a problem page again, at growing intervals: an origin that recovers must not receive all
   waiting visitors within one second. Never while offline, since the browser's own error page would
   stay. */
(() => {
  "use strict";

  const MAX_S = 60;
  const KEY = "gatekeeper:tries";
  const FORGET_MS = 300000;   // tries of an earlier problem do not slow down this one

  function tries() {
    try {
      const seen = JSON.parse(sessionStorage.getItem(KEY));
      const count = seen && Date.now() - seen.at < FORGET_MS ? seen.count + 1 : 0;
      sessionStorage.setItem(KEY, JSON.stringify({ at: Date.now(), count }));
      return count;
    } catch (error) {
      return 2;
    }
  }

  const seconds = Math.min(document.documentElement.dataset.retry * Math.pow(1.5, tries()), MAX_S);
  function reload() {
    if (navigator.onLine !== false) location.reload();
  }

  setTimeout(reload, seconds * (0.85 + 0.3 * Math.random()) * 1000);
  addEventListener("online", reload);
})();
