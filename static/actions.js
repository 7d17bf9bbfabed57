/* The words of the control room's actions: what a change will do, what it did, and its line in the
   audit log.

   Rules: a change is confirmed in numbers before it is sent. The rate parser accepts what the gate's
   own accepts (`tests/testdata/rates.json` holds both to it); the gate has the last word. */
window.gatekeeperActions = (() => {
  "use strict";

  const { duration } = window.gatekeeperChart;
  const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
  const fine = new Intl.NumberFormat("en", { maximumFractionDigits: 1 });
  const MODES = {
    auto: "Auto: admission by rate",
    hold: "Held: admission is paused",
    open: "Open: everyone is admitted",
    ended: "Ended: admission is closed",
  };
  const RATE = /^([0-9]+(?:\.[0-9]+)?)\s*\/\s*(s|sec|second|m|min|minute|h|hour)$/;
  const PER_MINUTE = { s: 60, m: 1, h: 1 / 60 };
  const MAX_PER_MINUTE = 60000000;

  /* Admissions per minute of a rate such as "500/min" or "8/s"; throws an Error with the problem. */
  function perMinute(input) {
    const words = input.trim();
    if (words === "0") return 0;
    const match = RATE.exec(words);
    if (!match) throw new Error(JSON.stringify(input) + ' is not a rate; expected e.g. "500/min" or "8/s"');
    const rate = Number(match[1]) * PER_MINUTE[match[2][0]];
    if (rate > MAX_PER_MINUTE) throw new Error(JSON.stringify(input) + ' is too high; expected at most "1000000/s"');
    return rate;
  }

  /* The dialog of a change: { title, confirm, text }. Throws an Error for an invalid value. */
  function confirmation(room, action, values) {
    const line = whole.format(room.queue_length) + " in line";
    const active = whole.format(room.active) + " active";
    const dialog = (title, confirm, text) => ({ title, confirm, text: text.trim() });
    switch (action) {
      case "mode": switch (values.mode) {
        case "auto": return dialog("Admit by rate?", "Admit by rate", "Visitors are admitted at " + fine.format(room.rate_per_minute) + "/min. " + drained(room, room.rate_per_minute));
        case "hold": return dialog("Hold the line?", "Hold the line", "Admission is paused until you choose another mode. " + line + " keep their places; " + active + " stay.");
        case "open": return dialog("Open the gate?", "Open the gate", line + " and every newcomer are admitted at once, without the rate" + (room.max_active ? " and the limit of " + whole.format(room.max_active) : "") + "; " + active + " now.");
        case "ended": return dialog("End admission?", "End admission", "Admission closes, and " + line + " see that it is over. They keep their places: in another mode the line goes on; " + active + " stay.");
        default: throw new Error("there are no words for the mode " + values.mode);
      }
      case "rate": {
        const rate = perMinute(values.rate);
        return dialog("Set the rate?", "Set the rate", "The rate becomes " + fine.format(rate) + "/min; it is " + fine.format(room.rate_per_minute) + "/min now. " + (rate ? drained(room, rate) : "Only extra admissions enter."));
      }
      case "allow": {
        const count = Number(values.n);
        const taken = Math.min(count, room.queue_length);
        const held = room.mode === "hold" || room.mode === "ended";
        const rest = held ? "The mode is " + room.mode + ": they are admitted once it is auto." :
          (taken < count ? whole.format(count - taken) + " more stay granted for newcomers." : "");
        return dialog("Admit " + whole.format(count) + " extra?", "Admit them", whole.format(taken) + " of " + line + " are admitted in addition to the rate. " + rest);
      }
      case "message": {
        const words = values.text.trim();
        return words
          ? dialog("Show this message?", "Show message", line + " see within seconds: “" + words + "”")
          : dialog("Remove the message?", "Remove message", line + " see no message.");
      }
      default:
        return dialog("End this session?", "End session", "Visitor " + values.visitor + " loses the session or the place in line on every replica. The visitor can join again at the end of the line.");
    }
  }

  function drained(room, rate) {
    if (room.queue_length === 0) return "The line is empty now.";
    if (rate === 0) return "";
    return "The line of " + whole.format(room.queue_length) + " takes about " + duration(room.queue_length / rate * 60) + ".";
  }

  /* What a change did, from the gate's response. */
  function result(action, values, response) {
    switch (action) {
      case "mode": return "Done: " + MODES[values.mode] + ".";
      case "rate": return "Done: the rate is " + values.rate.trim() + ".";
      case "message": return values.text.trim() ? "Done: the message is shown." : "Done: the message is removed.";
      case "revoke": return "Done: the visitor held " + ({ slot: "a slot", place: "a place in line" }[response.held] || "nothing") + ".";
      default: return "Done: granted " + response.granted + "; " + response.pending + " of all grants are pending.";
    }
  }

  /* An entry of the audit log, after the operator's name. */
  function sentence(entry) {
    const room = entry.room ? " " + entry.room : "";
    const quoted = (words) => (words ? "“" + words + "”" : "none");
    switch (entry.what) {
      case "mode": return "set" + room + " to " + entry.to + (entry.from ? ", was " + entry.from : "");
      case "rate": return "set the rate of" + room + " to " + fine.format(entry.to) + "/min" + (typeof entry.from === "number" ? ", was " + fine.format(entry.from) : "");
      case "allow": return "admitted " + whole.format(entry.to) + " extra to" + room;
      case "message": return "set the message of" + room + " to " + quoted(entry.to) + (entry.from ? ", was " + quoted(entry.from) : "");
      case "revoke": return "revoked " + entry.visitor + " in" + room + ", held " + (entry.from || "unknown");
      case "admit": return "admitted " + entry.visitor + " to" + room + ", was " + (entry.from || "unknown");
      case "event add": return "planned " + entry.to + " in" + room;
      case "event delay": return "moved " + entry.to + " in" + room + ", was " + (entry.from || "unknown");
      case "event open": return "opened " + entry.to + " in" + room;
      case "event cancel": return "cancelled " + entry.to + " in" + room + ", was " + (entry.from || "unknown");
      case "event commitment": return "planned " + entry.to + " in" + room;
      case "event drawn": return "drew the order of " + entry.to + " in" + room;
      case "reload": return "reloaded the configuration";
      default: return entry.what.startsWith("set ")
        ? entry.what + " of" + room + " to " + spelled(entry.to) + ", was " + spelled(entry.from)
        : entry.what + room;
    }
  }

  const spelled = (value) => (value === "" || value === undefined ? "none" : String(value));

  return { MODES, perMinute, confirmation, result, sentence };
})();
