/* The event stream of a place, if the gate streams: each event postpones the next poll; so when the
   stream fails, the page polls. Only a visible tab has a stream: a browser has six connections per
   site. Between two exact places the position is estimated from the number of released visitors. */
const QUIET_S = 45;         // a stream without events for so long is replaced by a poll
let stream = null;          // the EventSource, if the gate streams

function openStream() {
  if (data.updates !== "stream" || !window.EventSource) return;
  if (document.hidden) {
    if (!stream) return;
    stream.close();
    stream = null;
    pollIn(delayS());
    return;
  }
  if (stream && stream.readyState !== EventSource.CLOSED) return;
  const opened = stream = new EventSource(data.status);
  let place = null;         // the last exact one
  const on = (name, handle) => opened.addEventListener(name, (event) => {
    if (opened === stream && isPolling()) handle(JSON.parse(event.data));
  });
  on("place", (status) => {
    place = status;
    handleStatus(place);
    if (isPolling()) pollIn(delayS());
  });
  on("room", (changes) => {
    if (!place || place.position === null) return;
    const released = changes.released_total - place.released_total || 0;
    const ahead = Math.max(place.ahead - Math.max(released, 0), 0);
    place = Object.assign(place, changes, { ahead, position: ahead + 1 });
    const rate = place.rate_per_minute;
    place.eta_seconds = rate ? Math.ceil((ahead + 1) * 60 / rate) : null;
    showPlace(place);
    pollIn(delayS());
  });
  on("admitted", poll);
  on("gone", poll);
  opened.onerror = () => { if (opened === stream && isPolling()) pollIn(delayS()); };
}
