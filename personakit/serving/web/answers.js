// Asking: both answers with their differences, what was used, and editing.

import { call } from "./api.js";
import { difference } from "./difference.js";
import { $, clipped, count, itemNode, node, onSubmit, run, say } from "./parts.js";
import { openUser, userName } from "./user.js";

const TRACE_LABELS = {
  model: "Model",
  base: "Base model",
  base_seconds: "Seconds, base model",
  rewrite_seconds: "Seconds, rewrite",
  rewriter_tokens: "Tokens of the rewriter",
  unusable_items: "Texts without the fields that this model reads",
  prompt_cut: "Tokens that did not fit and were not read",
  left_out: "Edits left out",
  ignored: "Options that the base model does not have",
};

let shown = null; // the request whose answers are shown, with the answer
let asking = null; // the controller of the request that runs

/** Ask for both answers and show them; return a sentence about them. */
async function ask({ user, model, text }) {
  asking?.abort();
  const mine = Object.assign(new AbortController(), { user });
  asking = mine;
  $("stop").hidden = false;
  try {
    const messages = [{ role: "user", content: text }];
    const body = { model, messages, personakit: { generic: true }, ...(user && { user }) };
    const reply = await call("POST", "v1/chat/completions", { body, signal: mine.signal });
    return showAnswers({ user, model, text }, reply);
  } finally {
    if (asking === mine) {
      asking = null;
      $("stop").hidden = true;
    }
  }
}

function showAnswers(request, reply) {
  const { generic, items, personalised, reason, degraded, ...trace } = reply.personakit;
  const { content, refusal } = reply.choices[0].message;
  const answer = content ?? refusal ?? "";
  shown = { ...request, answer };
  const why = personalised
    ? `Personalised for ${request.user} with ${count(items.length, "text")}.`
    : `Not personalised: ${degraded ?? reason}.`;
  const found = difference(generic ?? answer, answer);
  mark($("generic"), found?.left ?? [{ text: generic }], "del");
  mark($("own"), found?.right ?? [{ text: answer }], "ins");
  const changes = found
    ? `Words and signs: ${found.removed} removed, ${found.added} added.`
    : "The answers are too long to mark their differences.";
  $("asked").textContent = clipped(request.text);
  $("why").textContent = why;
  $("changes").textContent = changes;
  $("legend").hidden = !found || !(found.removed || found.added);
  $("edit").hidden = !request.user;
  $("edit").open = false;
  $("edit-form").reset();
  say($("edit-form").querySelector("[role=status]"), "");
  $("revised").value = answer;
  showTrace(trace);
  $("answers").hidden = false;
  $("answers").scrollIntoView({ block: "nearest" });
  showUsed(shown, items).catch((error) => say($("used-note"), error.message, true));
  return `${why} ${personalised ? changes : ""}`;
}

function mark(element, pieces, tag) {
  element.replaceChildren(
    ...pieces.flatMap(({ text, space = "", changed }) => [changed ? node(tag, text) : text, space]),
  );
}

function showTrace(trace) {
  const rows = Object.entries(trace).filter(([, value]) => value && value.length !== 0);
  $("trace").replaceChildren(
    ...rows.flatMap(([name, value]) => [
      node("dt", TRACE_LABELS[name] ?? name.replaceAll("_", " ")),
      node("dd", typeof value === "object" ? [value].flat().map(plain).join(", ") : String(value)),
    ]),
  );
}

const plain = (value) => (typeof value === "object" ? JSON.stringify(value) : String(value));

/** Show the items that were used, best first. The trace has their numbers only. */
async function showUsed(request, numbers) {
  $("used").replaceChildren();
  say($("used-note"), numbers.length ? "" : "No text of a user was used.");
  for (const number of numbers) {
    const query = { after: number - 1, limit: 1 };
    const { items } = await call("GET", "v1/users/{user}/items", { path: { user: request.user }, query });
    if (request !== shown) return; // another answer is shown, or the user is forgotten
    const found = items.find((item) => item.number === number);
    $("used").append(found ? itemNode(found) : node("li", `Text ${number} is deleted.`));
  }
}

onSubmit($("ask-form"), () => {
  say($("again-part").querySelector("[role=status]"), "");
  return ask({ user: userName(), model: $("model").value, text: $("text").value });
}, "Asking ...");
$("again").addEventListener("click", () => run($("again-part"), () => ask(shown), "Asking ..."));
$("stop").addEventListener("click", () => asking?.abort());
$("text").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) $("ask-form").requestSubmit();
});

onSubmit($("edit-form"), async () => {
  const { user, answer } = shown;
  const text = $("revised").value;
  if (text === answer) throw new Error("The answer is not changed yet.");
  const edits = [{ text, draft: answer }];
  await call("POST", "v1/users/{user}/edits", { path: { user }, body: { edits } });
  if (user === userName()) await run($("user-form"), openUser);
  return "Saved.";
});

// Answers for one user do not stay when another one is chosen, or this one is forgotten.
document.addEventListener("user-left", ({ detail }) => {
  if (asking?.user === detail) asking.abort();
  if (shown?.user !== detail) return;
  shown = null;
  for (const part of [$("ask-form"), $("again-part")]) say(part.querySelector(":scope > [role=status]"), "");
  $("answers").hidden = true;
  for (const id of ["generic", "own", "used", "trace"]) $(id).replaceChildren();
  $("edit-form").reset();
});
