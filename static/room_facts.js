/* The figures of a room in its card of the control room: line, active, flow, waits, failures. */
window.gatekeeperRoomFacts = (page) => {
  "use strict";

  const { text } = page;
  const { duration, number } = window.gatekeeperChart;
  const { MODES } = window.gatekeeperActions;
  const integer = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
  const decimal = new Intl.NumberFormat("en", { maximumFractionDigits: 1 });

  function show(card, room, now) {
    const set = (name, figure, unit) => {
      const fact = card.find("[data-fact=" + name + "]");
      const words = figure + (unit ? " " + unit : "");
      if (fact.textContent === words) return;
      const small = document.createElement("small");
      small.textContent = unit;
      fact.replaceChildren(figure, unit ? " " : "", small);
    };
    const flow = (value) => (value === null || value === undefined ? ["–", ""] : [number(value), "/min"]);
    const storeLost = now.queue === null; // the other values are the last known
    card.element.dataset.modeNow = storeLost ? "lost" : room.mode;
    text(card.find("[data-mode-words]"), storeLost ? "Store unreachable: last known values" : MODES[room.mode] || room.mode);
    card.element.querySelectorAll("[data-mode]").forEach((button) => {
      const pressed = String(button.dataset.mode === room.mode);
      if (button.getAttribute("aria-pressed") !== pressed) button.setAttribute("aria-pressed", pressed);
    });
    card.find("[data-message]").hidden = !room.message;
    text(card.find("[data-message]"), room.message ? "Message on the waiting page: “" + room.message + "”" : "");
    set("queue", integer.format(room.queue_length), room.queue_limit ? "of " + integer.format(room.queue_limit) : "");
    set("active", integer.format(room.active), room.max_active ? "of " + integer.format(room.max_active) : "");
    set("arrived", ...flow(now.arrived));
    const admitted = flow(now.admitted);
    set("admitted", admitted[0], room.mode === "open" ? admitted[1] : admitted[1] + " of " + decimal.format(room.rate_per_minute));
    set("abandoned", ...flow(now.abandoned));
    set("wait", ...(storeLost ? ["–", ""] : newcomerWait(room)));
    const quantiles = (name, p50, p99) => {
      if (typeof p50 === "number") set(name, duration(p50), "· " + duration(p99));
      else set(name, "–", "");
    };
    quantiles("waited", now.wait_p50, now.wait_p99);
    quantiles("origin", now.origin_p50, now.origin_p99);
    set("failed", ...(typeof now.failed === "number" ? [number(now.failed), "/s"] : ["–", ""]));
    card.element.dataset.failing = String(now.failed > 0);
    const lanes = Object.entries(room.lanes || {}).map(([lane, count]) => integer.format(count) + " " + lane);
    text(card.find("[data-totals]"), (lanes.length ? "In line: " + lanes.join(", ") + ". " : "") + "Totals: " + integer.format(room.arrived_total) + " arrived, " +
      integer.format(room.released_total) + " released, " + integer.format(room.admitted_total) +
      " admitted, " + integer.format(room.abandoned_total) + " left or no-show.");
  }

  function newcomerWait(room) {
    if (room.mode === "hold" || room.mode === "ended") return [room.mode === "hold" ? "held" : "ended", ""];
    if (room.queue_length === 0 || room.mode === "open") return ["none", ""];
    if (room.rate_per_minute === 0) return ["held", ""];
    return split(duration(room.queue_length / room.rate_per_minute * 60));
  }

  const split = (words) => [words.split(" ")[0], words.split(" ").slice(1).join(" ")];

  return { show };
};
