"use strict";
/* Shows a notice that a call waits, and opens its page when it is pressed. Asks for nothing, keeps nothing, and answers
   nothing: what it shows was encrypted for this browser, and the link is looked at before it is followed. */
const home = new URL("/approvals", self.location.origin).href;
const ours = (link) => {
  try {
    return new URL(link).origin === self.location.origin ? link : home;
  } catch {
    return home;
  }
};

self.addEventListener("push", (event) => {
  let told = {};
  try {
    told = event.data.json();
  } catch {} // an empty message still means that something waits
  const body = typeof told.body === "string" ? told.body : "A call waits for your answer.";
  event.waitUntil(self.registration.showNotification("Valetkey", { body, data: { link: ours(told.link) } }));
});

self.addEventListener("notificationclick", (event) => {
  event.notification.close();
  event.waitUntil(self.clients.openWindow(ours(event.notification.data.link)));
});
