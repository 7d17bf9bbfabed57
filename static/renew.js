/* Loads the page of a visitor without a place again: in the time that the gate chose for this page, so
   that not all pages return in one second. Never while offline, since the browser's own error page
   would stay. */
(() => {
  "use strict";

  const LATEST_MS = 5000;     // devices of one network return together

  function renew() {
    if (navigator.onLine !== false) location.reload();
    else addEventListener("online", () => setTimeout(renew, LATEST_MS * Math.random()), { once: true });
  }

  setTimeout(renew, document.documentElement.dataset.renew * 1000);
  document.addEventListener("slept", renew);   // static/countdown.js
})();
