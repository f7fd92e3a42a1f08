"use strict";
/* /approvals stays current without being reloaded: asks for the page every few seconds and puts its live part in place
   of the old one. Answers nothing by itself. Without it there is the link "Look again". */
(() => {
  const live = () => document.querySelector("[data-live]");
  const look = async () => {
    const old = live();
    if (!old || document.hidden || old.contains(document.activeElement)) return;
    const answer = await fetch(old.dataset.live, { redirect: "error" });
    if (!answer.ok) return;
    const fresh = new DOMParser().parseFromString(await answer.text(), "text/html").querySelector("[data-live]");
    if (fresh && fresh.innerHTML !== old.innerHTML) old.replaceWith(document.adoptNode(fresh));
  };
  setInterval(() => look().catch(() => {}), 3000);
})();
