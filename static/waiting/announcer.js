/* The place for visitors that do not look at the page: screen readers say it, the tab shows it. */
const ANNOUNCE_AT = [100, 50, 25, 10, 5, 1];
let announcedPosition = Infinity;
let announcements = [];

/* One announcement per response: a screen reader drops a text that is soon replaced. */
function announce(words) {
  if (announcements.push(words) > 1) return;
  Promise.resolve().then(() => {
    if (byId("options").elements.aloud.checked) byId("live").textContent = announcements.join(" ");
    announcements = [];
  });
}

/* The first position, then only a few steps: a number each second is noise. */
function announcePosition(position) {
  const step = ANNOUNCE_AT.filter((at) => position <= at).pop();
  if (announcedPosition !== Infinity && !(step < announcedPosition)) return;
  announcedPosition = step || position;
  announce(data.say.replace("#", numbers.format(position)));
}

/* Title and icon show the position to visitors that look at other tabs. */
function showInTab(position) {
  document.title = position === null ? visibleText("h1") : numbers.format(position) + " · " + data.title;
  const mark = position !== null ? short(position) : { done: "✓", clock: "…" }[row().icon] || "!";
  const size = [0, 22, 20, 16, 13][mark.length];
  const icon = "data:image/svg+xml," + encodeURIComponent(
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32"><rect width="32" height="32" rx="8" fill="' +
    (position !== null || row().icon !== "alert" ? "#17684f" : "#8f4410") +
    '"/><text x="16" y="' + (16 + size * .36) + '" text-anchor="middle" fill="#fff" font-family="system-ui,sans-serif" font-weight="700" font-size="' +
    size + '">' + mark + "</text></svg>");
  const link = document.querySelector("link[rel=icon]");
  if (link.getAttribute("href") !== icon) link.href = icon;
}

function short(position) {
  if (position < 1000) return String(position);
  return position < 1e6 ? Math.floor(position / 1000) + "k" : Math.floor(position / 1e6) + "m";
}
