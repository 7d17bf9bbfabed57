/* What autotune measures in a room and does to its rate, in the control room; a room that the origin
   does not steer shows nothing of it. */
window.gatekeeperAutotune = () => {
  "use strict";

  const { duration } = window.gatekeeperChart;
  const rate = new Intl.NumberFormat("en", { maximumFractionDigits: 1 });
  const percent = new Intl.NumberFormat("en", { style: "percent", maximumFractionDigits: 2 });
  const clock = new Intl.DateTimeFormat(undefined, { timeStyle: "medium" });

  function show(card, room) {
    const element = card.find("[data-autotune]");
    element.hidden = !room.autotune;
    if (!room.autotune) return;
    const words = sentences(room.autotune, room.rate_per_minute).join(" ");
    if (element.textContent !== words) element.textContent = words;
    element.dataset.above = String(isAbove(room.autotune));
  }

  function isAbove(tuned) {
    const { last } = tuned;
    return Boolean(last) && (last.p95_s > tuned.latency_target_s || last.failed_share > tuned.errors_target);
  }

  function sentences(tuned, now) {
    const { last, change } = tuned;
    const found = ["Autotune: " + rate.format(now) + "/min, between " + rate.format(tuned.rate_min) + " and " + rate.format(tuned.rate_max) + "/min."];
    if (!last) return found.concat("Nothing was measured in the last seconds.");
    const p95 = last.p95_s === null ? "no responses" : "p95 " + duration(last.p95_s);
    const failed = last.failed_share === null ? "" : ", failed " + percent.format(last.failed_share) + " (target " + percent.format(tuned.errors_target) + ")";
    found.push("Origin: " + p95 + " (target " + duration(tuned.latency_target_s) + ")" + failed + "; " + last.why + ".");
    if (change) {
      found.push("Last change at " + clock.format(Date.parse(change.at)) + ", from " + rate.format(change.before) + " to " + rate.format(change.after) + "/min: " + change.why + ".");
    }
    return found;
  }

  return { show };
};
