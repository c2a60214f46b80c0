// The sign-in form.

import { Api, Failure, SignedOut } from "./api.js";
import { $, put } from "./dom.js";

/** Shows the form, with a reason where there is one, until somebody is signed in. */
export function signIn(reason) {
  const form = $("sign-in-form");
  const button = form.querySelector("button");
  $("sign-in").hidden = false;
  $("sign-in-reason").hidden = !reason;
  put($("sign-in-reason"), reason ?? "");
  put($("sign-in-problem"), "");
  form.elements.email.focus();
  return new Promise((done) => {
    form.onsubmit = async (event) => {
      event.preventDefault();
      button.disabled = true;
      put($("sign-in-problem"), "");
      try {
        await new Api().post("/api/auth/login", { email: form.elements.email.value, password: form.elements.password.value, session: true });
        form.reset();
        form.onsubmit = null;
        $("sign-in").hidden = true;
        done();
      } catch (error) {
        put($("sign-in-problem"), explained(error));
        form.elements.password.select();
      } finally {
        button.disabled = false;
      }
    };
  });
}

function explained(error) {
  if (error instanceof SignedOut) return "The e-mail address or the password is wrong.";
  if (error instanceof Failure && error.status === 429) return "Too many failed attempts. Wait a minute, then try again.";
  if (error instanceof Failure) return error.message.charAt(0).toUpperCase() + error.message.slice(1);
  return "The service cannot be reached. Is it running?";
}
