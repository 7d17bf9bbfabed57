/* The newest changes in the control room, as a list and as marks of the charts. */
window.gatekeeperAuditLog = (page) => {
  "use strict";

  const { second } = window.gatekeeperChart;
  const { sentence } = window.gatekeeperActions;
  const ENTRIES = 50;
  const byId = (id) => document.getElementById(id);
  let entries = [];            // newest first
  let readMark = null;

  /* Reads the log again if it has another mark than before; whether it was read. */
  async function follow(mark) {
    if (mark === readMark) return false;
    const log = await page.call("GET", "/admin/audit?limit=" + ENTRIES);
    readMark = mark;
    entries = log.entries;
    byId("entries").replaceChildren(...entries.map(entryItem));
    byId("no-entries").hidden = entries.length > 0;
    return true;
  }

  const newest = () => entries.length && entries[0].at;

  function marksOf(matches) {
    return entries.filter((entry) => entry.outcome === "done" && matches(entry))
      .map((entry) => ({ at: Date.parse(entry.at) / 1000, words: entry.who + " " + sentence(entry) }));
  }

  function entryItem(entry) {
    const item = document.createElement("li");
    item.dataset.outcome = entry.outcome;
    const part = (name, words) => {
      const element = document.createElement(name);
      element.textContent = words;
      return element;
    };
    const time = part("time", when(Date.parse(entry.at)));
    time.dateTime = entry.at;
    const attempt = { refused: "refused: " + entry.what, failed: "failed: " + sentence(entry) };
    const note = entry.note ? " (" + entry.note + ")" : "";
    item.append(time, part("b", entry.who), part("span", (attempt[entry.outcome] || sentence(entry)) + note), part("small", entry.address));
    return item;
  }

  function when(ms) {
    const today = new Date(ms).toDateString() === new Date().toDateString();
    return today ? second.format(ms) : new Date(ms).toLocaleString(undefined, { dateStyle: "medium", timeStyle: "short" });
  }

  return { follow, marksOf, newest };
};
