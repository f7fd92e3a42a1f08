"use strict";
/* "Tell me in this browser": asks the browser for leave and for a subscription, puts it into a plain form, sends it.
   Runs on /approvals alone; without it people are told at the addresses they name on /account. */
(() => {
  const form = document.querySelector("form[data-push]");
  if (!form || !("serviceWorker" in navigator) || !("PushManager" in window) || !("Notification" in window)) return;
  const problem = form.querySelector("[role=alert]");
  const key = () => {
    const text = form.dataset.push.replace(/-/g, "+").replace(/_/g, "/");
    return Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
  };
  const same = (a, b) => a.length === b.length && a.every((octet, at) => octet === b[at]);

  async function subscribed() {
    if ((await Notification.requestPermission()) !== "granted") {
      throw new Error("This browser does not let Valetkey show notices. Allow it in the settings of this site.");
    }
    await navigator.serviceWorker.register("/worker.js", { scope: "/", updateViaCache: "none" });
    const { pushManager } = await navigator.serviceWorker.ready;
    const old = await pushManager.getSubscription();
    if (old && !(old.options.applicationServerKey && same(new Uint8Array(old.options.applicationServerKey), key()))) {
      await old.unsubscribe(); // made for another key: nothing we send would reach it
    }
    return pushManager.subscribe({ userVisibleOnly: true, applicationServerKey: key() });
  }

  form.hidden = false;
  for (const without of document.querySelectorAll("[data-without-push]")) without.hidden = true;
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const button = form.querySelector("button");
    button.disabled = true;
    problem.hidden = true;
    try {
      form.elements.subscription.value = JSON.stringify(await subscribed());
      form.submit();
    } catch (error) {
      const usual = "The browser did not get a subscription from its push service. Is it online?";
      problem.textContent = error.name === "Error" ? error.message : usual;
      problem.hidden = false;
      button.disabled = false;
    }
  });
})();
