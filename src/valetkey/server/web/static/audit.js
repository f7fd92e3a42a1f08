"use strict";
/* /audit followed: once asked to, looks again every few seconds and puts what it finds in place of the old. Stops at the
   first answer that is no page, as when the session has ended. Without it there is the link "Look again". */
(() => {
  const button = document.querySelector("[data-follow]");
  if (!button) return;
  let timer = 0;
  const live = () => document.querySelector("[data-live]");
  const stop = (words) => {
    clearInterval(timer);
    timer = 0;
    button.setAttribute("aria-pressed", "false");
    button.textContent = words;
  };
  const look = async () => {
    const old = live();
    if (document.hidden || old.contains(document.activeElement) || old.querySelector("details[open]")) return;
    const answer = await fetch(button.dataset.follow, { redirect: "error" });
    if (answer.status === 429) return;
    if (!answer.ok) throw new Error("no page");
    const fresh = new DOMParser().parseFromString(await answer.text(), "text/html").querySelector("[data-live]");
    if (!fresh) throw new Error("no page");
    if (timer && fresh.innerHTML !== old.innerHTML) old.replaceWith(document.adoptNode(fresh));
  };
  const tick = () => look().catch(() => stop("Stopped. Follow again"));
  button.addEventListener("click", () => {
    if (timer) return stop("Follow");
    timer = setInterval(tick, 5000);
    button.setAttribute("aria-pressed", "true");
    button.textContent = "Following";
    tick();
  });
  button.hidden = false;
})();
