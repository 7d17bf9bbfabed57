/* The table of replicas in the control room: one row each, with its choice for the charts.

   Rules: elements are created once and updated; those of a removed replica go. */
window.gatekeeperReplicas = (page) => {
  "use strict";

  const { duration, number } = window.gatekeeperChart;
  const byId = (id) => document.getElementById(id);
  const rows = new Map();      // replica → its row of the table

  function show(overview) {
    page.keepOnly(rows, overview.replicas.map((each) => each.replica));
    overview.replicas.forEach((each) => {
      if (!rows.has(each.replica)) rows.set(each.replica, makeRow(each.replica));
      const { element, cells } = rows.get(each.replica);
      const now = page.named(overview.replica_fields, overview.now && overview.now.replicas[each.replica]);
      const silent = each.quiet_s >= overview.silent_after_s;
      const rate = (value, unit) => (typeof value === "number" ? number(value) + unit : "–");
      element.dataset.silent = String(silent);
      page.text(cells[0], silent ? "not reporting for " + duration(Math.round(each.quiet_s)) : "up");
      page.text(cells[1], rate(now.forwarded, "/s"));
      page.text(cells[2], rate(now.waiting, "/s"));
      page.text(cells[3], rate(now.failed, "/s"));
      page.text(cells[4], typeof now.origin_p50 === "number" ? duration(now.origin_p50) + " · " + duration(now.origin_p99) : "–");
      page.text(cells[5], rate(now.admitted, "/min"));
      page.text(cells[6], rate(now.connections, ""));
    });
  }

  function makeRow(name) {
    const element = document.createElement("tr");
    const head = document.createElement("th");
    head.scope = "row";
    head.textContent = name;
    const cells = Array.from({ length: 7 }, () => document.createElement("td"));
    element.append(head, ...cells);
    byId("replicas").append(element);
    const option = new Option(name, "replicas " + name);
    byId("of-replicas").append(option);
    return { element, cells, option };
  }

  return { show };
};
