/* Options while waiting: a sound, a notification, a screen that stays on.

   Rules: the browser is asked for a permission only after a press. Choices are stored per site. An
   option that the browser does not support is not shown. A sound needs a press on this page: one
   chosen on an earlier page is unlocked by the first press or key anywhere on the page. */
(() => {
  "use strict";

  const KEY = "gatekeeper:options";
  const NOTES_HZ = [587.33, 783.99, 987.77];
  const SOUND_S = 1.6;
  const NOTICE_S = 20;       // some browsers close notifications with their page; the pass stays valid

  const form = document.getElementById("options");
  const { sound, notice, awake, aloud } = form.elements;
  const Audio = window.AudioContext || window.webkitAudioContext;
  let audio = null;
  let lock = null;
  let policy = null;         // names the only address that a service worker may have

  // --- sound --------------------------------------------------------------------------------------

  function unlock() {
    if (!sound.checked) return;
    audio = audio || new Audio();
    if (audio.state === "suspended") audio.resume().catch(() => {});
  }

  function play() {
    if (navigator.vibrate) navigator.vibrate([200, 100, 200]);
    if (!audio || audio.state !== "running") return false;
    NOTES_HZ.forEach((hz, index) => {
      const start = audio.currentTime + index * .22;
      const tone = audio.createOscillator();
      const volume = audio.createGain();
      tone.frequency.value = hz;
      volume.gain.setValueAtTime(0, start);
      volume.gain.linearRampToValueAtTime(.25, start + .02);
      volume.gain.exponentialRampToValueAtTime(.001, start + .8);
      tone.connect(volume).connect(audio.destination);
      tone.start(start);
      tone.stop(start + .8);
    });
    return true;
  }

  // --- notification -------------------------------------------------------------------------------

  /* On Android the constructor exists and throws: notifications need a service worker there. */
  function canNotify() {
    if (!window.Notification || !window.isSecureContext) return false;
    if (Notification.permission === "granted" || navigator.serviceWorker) return true;
    try {
      new Notification("").close();
      return true;
    } catch (error) {
      return false;
    }
  }

  /* By static/notifier.js. The permission was given for this site, so nothing is asked. */
  async function notifyByWorker(title, options) {
    policy = policy || (window.trustedTypes ? trustedTypes.createPolicy("gatekeeper-notifier", {
      createScriptURL: (url) => {
        if (url !== form.dataset.notifier) throw new TypeError(url);
        return url;
      },
    }) : { createScriptURL: (url) => url });
    const registration = await navigator.serviceWorker.register(policy.createScriptURL(form.dataset.notifier));
    const worker = registration.active || registration.waiting || registration.installing;
    if (worker.state !== "activated") {
      await new Promise((done) => worker.addEventListener("statechange", () => {
        if (worker.state === "activated") done();
      }));
    }
    await registration.showNotification(title, Object.assign({ data: location.href }, options));
  }

  async function askToNotify() {
    if (!notice.checked) return;
    const permission = await Notification.requestPermission();
    notice.checked = permission === "granted";
    document.getElementById("blocked").hidden = permission !== "denied";
    save();
  }

  function notify(words) {
    if (!notice.checked || Notification.permission !== "granted") return false;
    const title = document.querySelector("h1 > :not([hidden])").textContent;
    const options = {
      body: words || document.querySelector(".lead > :not([hidden])").textContent,
      icon: document.querySelector("link[rel=icon]").href,
      requireInteraction: true,
    };
    try {
      const note = new Notification(title, options);
      note.onclick = () => {
        window.focus();
        note.close();
      };
      return true;
    } catch (error) {
      if (!navigator.serviceWorker) return false;
      notifyByWorker(title, options).catch(() => {});
      return true;
    }
  }

  // --- the screen ---------------------------------------------------------------------------------

  /* The browser releases the lock whenever the page is hidden, so it is requested again. */
  async function keepAwake() {
    if (!awake.checked || document.hidden) {
      if (lock) lock.release();
      lock = null;
      return;
    }
    try {
      lock = await navigator.wakeLock.request("screen");
    } catch (error) {
      // For example a low battery.
    }
  }

  // --- all options --------------------------------------------------------------------------------

  function save() {
    const chosen = {};
    [sound, notice, awake, aloud].forEach((box) => { chosen[box.name] = box.checked; });
    try {
      localStorage.setItem(KEY, JSON.stringify(chosen));
    } catch (error) {
      // Then the choice is valid for this page only.
    }
  }

  function restore() {
    let chosen = null;
    try {
      chosen = JSON.parse(localStorage.getItem(KEY));
    } catch (error) {
      // Nothing was stored.
    }
    [sound, notice, awake, aloud].forEach((box) => {
      if (chosen && box.name in chosen) box.checked = chosen[box.name];
    });
    if (window.Notification && Notification.permission !== "granted") notice.checked = false;
  }

  function offer(box, available) {
    box.parentElement.hidden = !available;
    box.disabled = !available;
    if (!available) box.checked = false;
  }

  document.addEventListener("turn", (event) => {
    const isPlaying = sound.checked && play();
    const isNotified = notify();
    if (isPlaying) event.detail.delayS = SOUND_S;
    if (isNotified && document.hidden) event.detail.delayS = NOTICE_S;
  });

  /* Some minutes before the opening of an event: static/countdown.js. */
  document.addEventListener("opening", (event) => {
    if (sound.checked) play();
    notify(event.detail);
  });

  restore();
  offer(sound, Boolean(Audio));
  offer(notice, canNotify());
  offer(awake, "wakeLock" in navigator);
  form.addEventListener("change", save);
  sound.addEventListener("change", () => {
    unlock();
    if (sound.checked) audio.resume().then(play).catch(() => {});
  });
  notice.addEventListener("change", askToNotify);
  awake.addEventListener("change", keepAwake);
  document.addEventListener("visibilitychange", keepAwake);
  document.addEventListener("pointerdown", unlock);
  document.addEventListener("keydown", unlock);
  keepAwake();

  /* Chrome freezes hidden pages to save energy, but no page that holds a lock others may wait for. A
     page with a lock is not kept for the back button, so the lock is released with pagehide. */
  let releaseLock = () => {};
  function preventFreezing() {
    if (!navigator.locks) return;
    navigator.locks.request("gatekeeper", { mode: "shared" }, () => new Promise((done) => {
      releaseLock = done;
    })).catch(() => {});
  }
  addEventListener("pagehide", () => releaseLock());
  addEventListener("pageshow", (event) => { if (event.persisted) preventFreezing(); });
  preventFreezing();
})();
