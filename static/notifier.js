/* Shows a notification where a page itself may not: on phones that is for service workers alone.

   Rules: it is registered when there is something to show, for the folder of this file, so that no
   page and no request of the site passes through it. A press leads back to the waiting page. */
(() => {
  "use strict";

  self.addEventListener("notificationclick", (event) => {
    const note = event.notification;
    note.close();
    event.waitUntil(self.clients.matchAll({ type: "window", includeUncontrolled: true }).then((pages) => {
      const page = pages.find((each) => each.url === note.data);
      return page ? page.focus() : self.clients.openWindow(note.data);
    }));
  });
})();
