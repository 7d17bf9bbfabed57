/* The busiest passes in the control room, in rooms that count requests (`concurrent`): one used by
   many people has many requests and addresses. Each can be ended.

   Rules: rows are kept by pass, so that a button stays where the pointer is while numbers change. */
window.gatekeeperPasses = (page) => {
  "use strict";

  const { call, ask, wake, confirmation, result, keepOnly, text } = page;
  const section = document.getElementById("passes");
  const body = section.querySelector("tbody");
  const outcome = section.querySelector(".result");
  const number = new Intl.NumberFormat("en");
  const MAX_ADDRESSES = 16;
  const rows = new Map();

  function show(overview) {
    const passes = overview.passes;
    section.hidden = !passes.length && outcome.hidden;
    keepOnly(rows, passes.map(key));
    passes.forEach((each, index) => {
      const row = rows.get(key(each)) || makeRow(each, overview.rooms);
      const shown = words(each);
      row.cells.forEach((cell, at) => text(cell, shown[at]));
      const next = body.children[index];
      if (next !== row.element && !body.contains(document.activeElement)) body.insertBefore(row.element, next || null);
    });
  }

  const key = (each) => each.room + " " + each.visitor;

  function words(each) {
    const addresses = number.format(each.addresses) + (each.addresses >= MAX_ADDRESSES ? " or more" : "");
    return [each.room, number.format(each.requests), addresses, number.format(each.at_once), number.format(each.refused)];
  }

  function makeRow(each, rooms) {
    const element = document.createElement("tr");
    const head = document.createElement("th");
    head.scope = "row";
    head.textContent = each.reference;
    head.title = each.visitor;
    const cells = words(each).map(() => document.createElement("td"));
    const last = document.createElement("td");
    const button = document.createElement("button");
    button.type = "button";
    button.className = "quiet";
    button.dataset.action = "revoke";
    button.textContent = "End session …";
    button.setAttribute("aria-label", "End the session of " + each.reference + " …");
    button.addEventListener("click", () => {
      const room = rooms.find((other) => other.room === each.room);
      ask(null, confirmation(room, "revoke", { visitor: each.reference }), button, () => end(each));
    });
    last.append(button);
    element.append(head, ...cells, last);
    body.append(element);
    const row = { element, cells };
    rows.set(key(each), row);
    return row;
  }

  async function end(each) {
    try {
      const query = new URLSearchParams({ room: each.room, visitor: each.visitor });
      const response = await call("POST", "/admin/revoke?" + query);
      line(each.reference + ": " + result("revoke", {}, response), false);
    } catch (error) {
      line(error.message, true);
    }
    wake();
  }

  function line(sentence, failed) {
    outcome.textContent = sentence;
    outcome.classList.toggle("error", failed);
    outcome.hidden = false;
  }

  return { show };
};
