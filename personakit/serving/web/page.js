// The page of the service: which models and users there are, and the key.

import { call, key } from "./api.js";
import "./answers.js";
import { $, run, say } from "./parts.js";
import { listUsers, openUser } from "./user.js";

async function start() {
  const access = await call("GET", "v1/access");
  const { data } = await call("GET", "v1/models");
  const runs = data.map((model) => model.id).filter((name) => name !== access.base);
  $("model").replaceChildren(...(runs.length ? runs : [access.base]).map((name) => new Option(name)));
  $("model-field").hidden = runs.length < 2;
  if (access.user) {
    $("user").value = access.user;
    $("user").readOnly = true;
    $("user-hint").textContent = "The key is bound to this user.";
  } else {
    await listUsers();
  }
  $("remove-key").hidden = !key.get();
  $("main").hidden = false;
  await run($("user-form"), openUser);
  return "";
}

document.addEventListener("key-needed", ({ detail }) => {
  $("main").hidden = true;
  $("key-form").hidden = false;
  say($("key-form").querySelector("[role=status]"), key.get() ? detail : "", true);
  $("key").focus();
});

// With another key the page begins anew: nothing that the old one showed stays.
$("key-form").addEventListener("submit", (event) => {
  event.preventDefault();
  key.set($("key").value.trim());
  location.reload();
});
$("remove-key").addEventListener("click", () => {
  key.remove();
  location.reload();
});

run($("start"), start);
