/* The report in the control room: which room, which period, and as which file.

   Rules: the panel asks for the events when it is opened; a closed one costs no request. The file is
   saved, not shown: the policy of this page would take its style away. */
window.gatekeeperReport = (page) => {
  "use strict";

  const { call } = page;
  const panel = document.getElementById("report");
  const form = panel.querySelector("form");
  const { room, period, format } = form.elements;
  const outcome = panel.querySelector(".result");
  const events = panel.querySelector("optgroup");

  panel.addEventListener("toggle", () => { if (panel.open) refresh(); });
  room.addEventListener("change", showEvents);

  let known = []; // the events of all rooms

  async function refresh() {
    try {
      const overview = await call("GET", "/admin/status");
      known = (await call("GET", "/admin/events")).events;
      const chosen = room.value;
      room.replaceChildren(...overview.rooms.map((each) => option(each.room, each.room)));
      if (overview.rooms.some((each) => each.room === chosen)) room.value = chosen;
      showEvents();
    } catch (error) {
      line(error.message, true);
    }
  }

  function showEvents() {
    const own = known.filter((each) => each.room === room.value && each.stage !== "cancelled");
    events.replaceChildren(...own.map((each) => option("event=" + encodeURIComponent(each.name), each.name)));
    events.hidden = !own.length;
  }

  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    line("Making the report …", false);
    try {
      const query = "room=" + encodeURIComponent(room.value) + "&" + period.value + "&format=" + format.value;
      const file = await call("GET", "/admin/report?" + query, undefined, (response) => response.blob());
      const link = document.createElement("a");
      link.href = URL.createObjectURL(file);
      link.download = "report-" + room.value + "." + format.value;
      link.click();
      setTimeout(() => URL.revokeObjectURL(link.href), 60000);
      line("Done: " + link.download + " is saved.", false);
    } catch (error) {
      line(error.message, true);
    }
  });

  function option(value, words) {
    const element = document.createElement("option");
    element.value = value;
    element.textContent = words;
    return element;
  }

  function line(words, failed) {
    outcome.textContent = words;
    outcome.classList.toggle("error", failed);
    outcome.hidden = false;
  }
};
