"use strict";
/* Passkeys. Asks our server for a challenge, lets the browser answer it, puts the answer into a plain form, sends it.
   Runs on /login, /account and where a dangerous call is approved; without it those pages offer the other ways. */
(() => {
  if (!window.PublicKeyCredential || !navigator.credentials) return;

  const bytes = (text) => Uint8Array.from(atob(text.replace(/-/g, "+").replace(/_/g, "/")), (c) => c.charCodeAt(0));
  const text = (buffer) =>
    btoa(String.fromCharCode(...new Uint8Array(buffer))).replace(/\+/g, "-").replace(/\//g, "_").replace(/=+$/, "");
  const listed = (found) => (found || []).map((each) => ({ ...each, id: bytes(each.id) }));

  async function challenge(form) {
    const body = new URLSearchParams({ csrf: form.elements.csrf.value });
    const answer = await fetch(form.dataset.begin, { method: "POST", body, redirect: "error" });
    if (!answer.ok) throw new Error("refused");
    return answer.json();
  }

  async function signIn(form) {
    const { step, options } = await challenge(form);
    const made = await navigator.credentials.get({
      publicKey: { ...options, challenge: bytes(options.challenge), allowCredentials: listed(options.allowCredentials) },
    });
    const { clientDataJSON, authenticatorData, signature, userHandle } = made.response;
    return [step, {
      id: made.id, rawId: text(made.rawId), type: made.type, clientExtensionResults: {},
      response: {
        clientDataJSON: text(clientDataJSON), authenticatorData: text(authenticatorData), signature: text(signature),
        userHandle: userHandle ? text(userHandle) : null,
      },
    }];
  }

  async function add(form) {
    const { step, options } = await challenge(form);
    const made = await navigator.credentials.create({
      publicKey: {
        ...options, challenge: bytes(options.challenge), user: { ...options.user, id: bytes(options.user.id) },
        excludeCredentials: listed(options.excludeCredentials),
      },
    });
    const { clientDataJSON, attestationObject } = made.response;
    return [step, {
      id: made.id, rawId: text(made.rawId), type: made.type, clientExtensionResults: {},
      response: { clientDataJSON: text(clientDataJSON), attestationObject: text(attestationObject) },
    }];
  }

  const why = {
    NotAllowedError: "The browser got no passkey: it was cancelled, or there is none for this address.",
    InvalidStateError: "This device has a passkey for you already.",
    SecurityError: "Passkeys work on the server's own address only. Is this the address you were given?",
  };

  for (const form of document.querySelectorAll("form[data-begin]")) {
    form.hidden = false;
    for (const without of form.parentElement.querySelectorAll("[data-without]")) without.hidden = true;
    form.addEventListener("submit", async (event) => {
      event.preventDefault();
      const button = form.querySelector("button");
      const problem = form.querySelector("[role=alert]");
      button.disabled = true;
      problem.hidden = true;
      try {
        const [step, credential] = await (form.dataset.passkey === "new" ? add(form) : signIn(form));
        form.elements.step.value = step;
        form.elements.credential.value = JSON.stringify(credential);
        form.submit();
      } catch (error) {
        problem.textContent = why[error.name] || "The passkey could not be used. Reload the page and try again.";
        problem.hidden = false;
        button.disabled = false;
      }
    });
  }
})();
