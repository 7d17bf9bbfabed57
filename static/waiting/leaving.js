/* The visitor leaves the line, here or in another tab. */
async function leave(event) {
  event.preventDefault();
  const button = event.target.querySelector("button");
  button.disabled = true;
  byId("failed").hidden = true;
  try {
    const response = await fetch(event.target.action, {
      method: "POST",
      credentials: "same-origin",
      headers: { Accept: "application/json" },
    });
    if (!response.ok) throw new Error(response.status);
    remember("left", arrivedAt);   // an event for other tabs
    forget("place");
    end("left");
    document.querySelector("h1").focus();
  } catch (error) {
    byId("failed").hidden = false;
  }
  button.disabled = false;
}

function followOtherTabs(event) {
  if (event.key === key("left") && JSON.parse(event.newValue) === arrivedAt && isPolling()) {
    end("elsewhere");
  }
}

function stay() {
  byId("leave").open = false;
  byId("leave").querySelector("summary").focus();
}
