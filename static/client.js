/* For single-page apps, as a script element with src="/.gatekeeper/client.js".

   When the gate responds to a fetch or XMLHttpRequest of the app, it opens the waiting page, and
   comes back to the same address when the visitor is admitted. Before a session ends it says so.

   Rules: a response without `X-Gatekeeper-State` is none of our business, and every response reaches
   the app unchanged. Only responses of this origin, and of those that the app names, are looked at.
   The waiting page opens at once, again not before `Retry-After`, and not a third time in a minute.

   data-origins   origins of APIs behind a gate, separated by spaces
   data-for       an address in the room of the session, on the host of this script; this page's by default
   data-minutes   how long before the end of the session to say so; 5 by default, 0 = never
   data-notice    "off": the event alone

   Events on document, both cancelable:
   gatekeeper:waiting   {url, retryAfter}   cancelled: the app shows by itself that visitors wait
   gatekeeper:ending    {endsAt}            cancelled: no notice */
(() => {
  "use strict";

  const PREFIX = "/.gatekeeper/";
  const FILE = PREFIX + "client.js";
  const OPENED = "gatekeeper:opened";   // times at which the waiting page was opened
  const MAX_OPENED = 2;
  const MINUTE_MS = 60000;
  const FIND_AGAIN_MS = 5 * MINUTE_MS;
  const MAX_TIMER_MS = 20 * MINUTE_MS;   // a computer that slept is noticed
  const TEXTS = { /* texts */ };

  if (window.gatekeeperClient) return;
  window.gatekeeperClient = true;

  const script = document.currentScript || document.querySelector('script[src*="' + FILE + '"]');
  const data = script ? script.dataset : {};
  const origins = [location.origin].concat((data.origins || "").split(/\s+/).filter(Boolean));
  const gate = script && script.src.includes(FILE) ? new URL(script.src).origin : location.origin;
  let isOpening = false;
  let openedHere = 0;         // without a storage

  // --- what the gate responds to --------------------------------------------------------------

  /* `header` returns a field of the response, which the browser may hide. */
  function look(address, header) {
    let url;
    try {
      url = new URL(address, location.href);
    } catch (error) {
      return;
    }
    if (!origins.includes(url.origin) || url.pathname.startsWith(PREFIX)) return;
    if (header("X-Gatekeeper-State") !== "waiting" || isOpening) return;
    open(url, Math.max(Number(header("Retry-After")) || 0, 1));
  }

  if (window.fetch) {
    const fetched = window.fetch;
    window.fetch = function (resource) {
      return fetched.apply(this === undefined ? window : this, arguments).then((response) => {
        look(response.url || resource.url || resource, (name) => response.headers.get(name));
        return response;
      });
    };
  }

  const openRequest = XMLHttpRequest.prototype.open;
  const looked = new WeakSet();
  XMLHttpRequest.prototype.open = function () {
    if (!looked.has(this)) {
      looked.add(this);
      this.addEventListener("load", () => {
        look(this.responseURL, (name) => this.getResponseHeader(name));
      });
    }
    return openRequest.apply(this, arguments);
  };

  // --- the waiting page -----------------------------------------------------------------------

  function open(url, retryAfterS) {
    const now = Date.now();
    const opened = recall().filter((at) => now - at < MINUTE_MS);
    if (Math.max(opened.length, openedHere) >= MAX_OPENED) return;
    isOpening = true;
    const last = opened.length ? opened[opened.length - 1] : 0;
    setTimeout(() => navigate(url, retryAfterS, opened), Math.max(last + retryAfterS * 1000 - now, 0));
  }

  function navigate(url, retryAfterS, opened) {
    isOpening = false;
    if (!dispatch("waiting", { url: url.href, retryAfter: retryAfterS })) return;
    isOpening = true;
    openedHere += 1;
    remember(opened.concat(Date.now()));
    const isHere = url.origin === location.origin;
    const back = isHere ? location.pathname + location.search + location.hash : location.href;
    location.replace(url.origin + PREFIX + "wait?for=" + encodeURIComponent(url.pathname + url.search) +
      "&return=" + encodeURIComponent(back));
  }

  addEventListener("pageshow", (event) => { if (event.persisted) isOpening = false; });

  function recall() {
    try {
      return JSON.parse(sessionStorage.getItem(OPENED)) || [];
    } catch (error) {
      return [];
    }
  }

  function remember(times) {
    try {
      sessionStorage.setItem(OPENED, JSON.stringify(times));
    } catch (error) {
      // Then `openedHere` counts alone.
    }
  }

  function dispatch(name, detail) {
    return document.dispatchEvent(new CustomEvent("gatekeeper:" + name, { bubbles: true, cancelable: true, detail }));
  }

  // --- the end of the session -----------------------------------------------------------------

  const warnMs = Number(data.minutes === undefined ? 5 : data.minutes) * MINUTE_MS;

  function find() {
    findEnd().catch(() => {});   // offline, or the gate is not there
  }

  async function findEnd() {
    const address = data.for || location.pathname + location.search;
    const response = await fetch(gate + PREFIX + "status?for=" + encodeURIComponent(address), {
      credentials: "include",
      headers: { Accept: "application/json" },
    });
    if (response.status === 404) return;   // this address is in no room
    const status = await response.json();
    if (status.state !== "admitted" || !status.ends_at) {
      setTimeout(find, FIND_AGAIN_MS);   // the session begins with a later request
      return;
    }
    // By the gate's clock: that of the visitor may be wrong.
    const skewMs = Date.parse(response.headers.get("Date")) - Date.now() || 0;
    warnAt(Date.parse(status.ends_at) - skewMs);
  }

  function warnAt(endsAtMs) {
    const leftMs = endsAtMs - Date.now();
    if (leftMs <= 0) return;
    if (leftMs > warnMs) {
      setTimeout(() => warnAt(endsAtMs), Math.min(leftMs - warnMs, MAX_TIMER_MS));
      return;
    }
    const endsAt = new Date(endsAtMs);
    if (dispatch("ending", { endsAt }) && data.notice !== "off") showNotice(endsAt, leftMs);
  }

  /* In a shadow tree, so that styles of the app do not change it, and without style attributes, which
     its Content-Security-Policy may forbid. */
  function showNotice(endsAt, leftMs) {
    const host = document.createElement("div");
    const shadow = host.attachShadow({ mode: "open" });
    const box = shadow.appendChild(document.createElement("div"));
    const words = box.appendChild(document.createElement("span"));
    const button = box.appendChild(document.createElement("button"));
    host.id = "gatekeeper-ending";
    host.lang = TEXTS.lang;
    box.dir = TEXTS.dir;
    box.setAttribute("role", "status");
    style(box, "position:fixed;inset-block-end:12px;inset-inline-end:12px;z-index:2147483647;display:flex;gap:12px;" +
      "align-items:center;max-width:min(360px,calc(100vw - 24px));box-sizing:border-box;padding:12px 16px;" +
      "border-radius:8px;background:#1d2b26;color:#fff;font:15px/1.4 system-ui,sans-serif;box-shadow:0 2px 12px #0006");
    style(button, "min-width:24px;min-height:24px;padding:4px 8px;border:1px solid #fff;border-radius:4px;" +
      "background:none;color:#fff;font:inherit;cursor:pointer");
    button.textContent = TEXTS.close;
    button.addEventListener("click", () => host.remove());
    document.body.appendChild(host);
    const time = new Intl.DateTimeFormat(TEXTS.lang, { hour: "numeric", minute: "2-digit" }).format(endsAt);
    // After it is in the page: a screen reader announces what changes.
    setTimeout(() => { words.textContent = TEXTS.ending.replace("#", time); }, 100);
    setTimeout(() => host.remove(), leftMs);
  }

  function style(element, declarations) {
    element.style.cssText = declarations;
  }

  if (warnMs > 0 && window.fetch) {
    if (document.readyState === "complete") find();
    else addEventListener("load", find);
  }
})();
