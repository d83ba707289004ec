// The user: their history and summaries, a pasted history, forgetting.

import { call } from "./api.js";
import { $, announce, count, itemNode, node, onSubmit, run } from "./parts.js";

const ITEMS_AT_ONCE = 100;

let opened = ""; // the user whose history is shown
let read = ""; // the name in the field when it was last read; there may be no such user

/** Return the name in the user's field; empty for nobody. */
export const userName = () => $("user").value.trim();

/** Offer the tenant's users as suggestions. */
export async function listUsers() {
  const { users } = await call("GET", "v1/users", { query: { limit: 100 } });
  $("users").replaceChildren(...users.map(({ user }) => Object.assign(new Option(), { value: user })));
  $("user-hint").textContent =
    users.length < 100 ? "Choose a user, or type a new name." : "The first 100 are listed; type any other name.";
}

/** Show what is stored about the user in the field. */
export async function openUser() {
  let name, sentence;
  do {
    name = userName();
    if (name !== read) announce("user-left", read);
    read = name;
    sentence = await openNamed(name);
  } while (name !== userName()); // it was changed while the history was loaded
  return sentence;
}

async function openNamed(name) {
  const path = { user: name };
  const user = name ? await call("GET", "v1/users/{user}", { path }).catch(ifUnknown) : null;
  const summaries = user?.summaries ? (await call("GET", "v1/users/{user}/summaries", { path })).summaries : [];
  opened = user ? name : "";
  $("items").replaceChildren();
  $("history").open = false;
  $("history").hidden = !user?.items;
  $("summaries").replaceChildren(...summaries.map((each, place) => summaryForm(name, each, place)));
  $("forget").hidden = !user;
  if (!name) return "Without a user, both answers are the base model's.";
  return user ? `${count(user.items, "text")}.` : `Nothing is stored about ${name} yet.`;
}

function ifUnknown(error) {
  if (error.status === 404) return null;
  throw error;
}

async function showItems() {
  const after = $("items").lastElementChild?.value ?? 0;
  const query = { after, limit: ITEMS_AT_ONCE };
  const { items } = await call("GET", "v1/users/{user}/items", { path: { user: opened }, query });
  $("items").append(...items.map(itemNode));
  $("more").hidden = items.length < ITEMS_AT_ONCE;
  return "";
}

function summaryForm(user, { model, text }, place) {
  const made = document.importNode($("summary-form").content, true).firstElementChild;
  const area = made.querySelector("textarea");
  area.id = `summary-${place}`;
  area.value = text;
  made.querySelector("label").htmlFor = area.id;
  made.querySelector("label").textContent = `Summary by ${model}`;
  onSubmit(made, async () => {
    const path = { user, model };
    await call("PUT", "v1/users/{user}/summaries/{model}", { path, body: { text: area.value } });
    return "Saved. Ask again to see what it changes.";
  });
  return made;
}

// A click leaves the field. Nothing may move under the pointer before the click is done.
let released = Promise.resolve();
document.addEventListener("pointerdown", () => {
  released = new Promise((resolve) => {
    for (const end of ["pointerup", "pointercancel"]) document.addEventListener(end, resolve, { once: true });
  });
});
$("user").addEventListener("change", async () => {
  await released;
  run($("user-form"), openUser);
});
onSubmit($("user-form"), openUser);
$("history").addEventListener("toggle", () => {
  if ($("history").open && !$("items").childElementCount) run($("history"), showItems);
});
$("more").addEventListener("click", () => run($("history"), showItems));

// ---- A pasted history

/** Return the items in a pasted text: JSON lines, or texts between empty lines, or one text a line. */
function itemsIn(pasted) {
  const lines = pasted.split("\n").filter((line) => line.trim());
  if (lines.length && lines.every((line) => line.trim().startsWith("{"))) {
    return lines.map((line, place) => {
      try {
        return JSON.parse(line);
      } catch {
        throw new Error(`Line ${place + 1} begins like JSON but is none.`);
      }
    });
  }
  const texts = pasted.trim().split(/\n\s*\n/);
  return (texts.length > 1 ? texts : lines).map((text) => ({ text: text.trim() }));
}

$("pasted").addEventListener("input", () => {
  try {
    $("paste-count").textContent = `${count(itemsIn($("pasted").value).length, "text")}.`;
  } catch (error) {
    $("paste-count").textContent = error.message;
  }
});

onSubmit($("paste-form"), async () => {
  const items = itemsIn($("pasted").value);
  if (!items.length) throw new Error("There is no text yet.");
  if (!userName()) $("user").value = `visitor-${Math.random().toString(36).slice(2, 8)}`;
  const name = userName();
  await call("POST", "v1/users/{user}/items", { path: { user: name }, body: { items } });
  $("paste-form").reset();
  $("paste-count").textContent = "";
  if (!$("user").readOnly) await listUsers();
  await run($("user-form"), openUser);
  return `${count(items.length, "text")} stored for ${name}.`;
});

// ---- Forgetting

$("forget").addEventListener("click", () => {
  $("forget-text").textContent =
    `All that is stored about ${opened} is deleted: texts and summaries. This cannot be undone.`;
  $("forget-dialog").returnValue = "";
  $("forget-dialog").showModal();
});

$("forget-dialog").addEventListener("close", () => {
  if ($("forget-dialog").returnValue === "forget") run($("user-form"), forget);
});

async function forget() {
  const name = opened;
  await call("DELETE", "v1/users/{user}", { path: { user: name } });
  announce("user-left", name);
  if (!$("user").readOnly) {
    $("user").value = "";
    await listUsers();
  }
  await openUser();
  $("user").focus();
  return `${name} is forgotten.`;
}
