/* The certificates of the edge in the control room; without an edge there is no such section. */
window.gatekeeperEdge = () => {
  "use strict";

  const section = document.getElementById("edge");
  const body = section.querySelector("tbody");
  const stopped = section.querySelector(".error");
  const time = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" });
  let shown = "";

  function show(overview) {
    const edge = overview.edge;
    section.hidden = !edge;
    if (!edge || JSON.stringify(edge) === shown) return;
    shown = JSON.stringify(edge);
    stopped.hidden = edge.running;
    body.replaceChildren(...edge.certificates.map(row));
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
