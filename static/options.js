/* What a visitor may ask for while waiting: a sound, a notification, a screen that stays on.

   Rules: nothing is asked of the browser but upon a press, and what was chosen is remembered for the
   site. What a browser does not have is not offered. A sound needs a press on this very page: one
   that was chosen on an earlier page is unlocked by the first press or key, wherever it falls. */
(() => {
  "use strict";

  const KEY = "gatekeeper:options";
  const NOTES_HZ = [587.33, 783.99, 987.77];
  const BE_HEARD_S = 1.6;
  const BE_SEEN_S = 20;      // a notification may go with its page; a claimed place does not

  const form = document.getElementById("options");
  const { sound, notice, awake, aloud } = form.elements;
  const Audio = window.AudioContext || window.webkitAudioContext;
  let audio = null;
  let lock = null;

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

  /* Android has the constructor and throws from it: notifications are for service workers there. */
  function canNotify() {
    if (!window.Notification || !window.isSecureContext) return false;
    if (Notification.permission === "granted") return true;
    try {
      new Notification("").close();
      return true;
    } catch (error) {
      return false;
    }
  }

  async function askToNotify() {
    if (!notice.checked) return;
    const answer = await Notification.requestPermission();
    notice.checked = answer === "granted";
    document.getElementById("blocked").hidden = answer !== "denied";
    save();
  }

  function notify() {
    if (!notice.checked || Notification.permission !== "granted") return false;
    try {
      const note = new Notification(document.querySelector("h1 > :not([hidden])").textContent, {
        body: document.querySelector(".lead > :not([hidden])").textContent,
        icon: document.querySelector("link[rel=icon]").href,
        requireInteraction: true,
      });
      note.onclick = () => {
        window.focus();
        note.close();
      };
      return true;
    } catch (error) {
      return false;
    }
  }

  // --- the screen ---------------------------------------------------------------------------------

  /* The browser takes the lock back with each look away, so it is asked for again. */
  async function keepAwake() {
    if (!awake.checked || document.hidden) {
      if (lock) lock.release();
      lock = null;
      return;
    }
    try {
      lock = await navigator.wakeLock.request("screen");
    } catch (error) {
      // A low battery: the browser knows better.
    }
  }

  // --- all of them --------------------------------------------------------------------------------

  function save() {
    const chosen = {};
    [sound, notice, awake, aloud].forEach((box) => { chosen[box.name] = box.checked; });
    try {
      localStorage.setItem(KEY, JSON.stringify(chosen));
    } catch (error) {
      // It holds for this page, then.
    }
  }

  function restore() {
    let chosen = null;
    try {
      chosen = JSON.parse(localStorage.getItem(KEY));
    } catch (error) {
      // Nothing was remembered.
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
    const heard = sound.checked && play();
    const seen = notify();
    if (heard) event.detail.delayS = BE_HEARD_S;
    if (seen && document.hidden) event.detail.delayS = BE_SEEN_S;
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

  /* Chrome freezes hidden pages to save energy, but none that holds a lock that others may wait for.
     A page that holds one is not kept for the way back, hence let go of when the page is left. */
  let letGo = () => {};
  function stayAlive() {
    if (!navigator.locks) return;
    navigator.locks.request("gatekeeper", { mode: "shared" }, () => new Promise((done) => {
      letGo = done;
    })).catch(() => {});
  }
  addEventListener("pagehide", () => letGo());
  addEventListener("pageshow", (event) => { if (event.persisted) stayAlive(); });
  stayAlive();
})();
