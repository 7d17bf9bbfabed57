/* The certificates and handshakes of the edge in the control room; without an edge there is no such section. */
window.gatekeeperEdge = () => {
  "use strict";

  const section = document.getElementById("edge");
  const body = section.querySelector("tbody");
  const stopped = section.querySelector(".error");
  const handshakes = document.getElementById("handshakes");
  const time = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" });
  const integer = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
  let shown = "";

  function show(overview) {
    const edge = overview.edge;
    section.hidden = !edge;
    if (!edge) return;
    stopped.hidden = edge.running;
    showHandshakes(edge.handshakes);
    if (JSON.stringify(edge.certificates) === shown) return;
    shown = JSON.stringify(edge.certificates);
    body.replaceChildren(...edge.certificates.map(row));
  }

  function showHandshakes(counts) {
    const [full, failed, allFull, allFailed] = ["full_last_minute", "failed_last_minute", "full", "failed"]
      .map((name) => integer.format(counts[name]));
    handshakes.textContent = `TLS handshakes in the last minute: ${full} full, ${failed} failed; `
      + `since the gate started: ${allFull} and ${allFailed}.`;
  }

  function row(each) {
    const element = document.createElement("tr");
    const head = document.createElement("th");
    head.scope = "row";
    head.textContent = each.domain;
    const expires = each.expires_at === null ? "–" : time.format(new Date(each.expires_at * 1000));
    const cells = [each.state, expires, each.issuer || "–", each.problem || "–"].map((words) => {
      const cell = document.createElement("td");
      cell.textContent = words;
      return cell;
    });
    element.append(head, ...cells);
    return element;
  }

  return { show };
};
