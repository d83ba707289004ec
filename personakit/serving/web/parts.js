// Parts of the page. Texts of users and models become text nodes, never HTML.

const LONGEST_SHOWN = 600; // characters

export const $ = (id) => document.getElementById(id);

export function node(tag, ...children) {
  const made = document.createElement(tag);
  made.append(...children);
  return made;
}

export const count = (number, noun) => `${number} ${noun}${number === 1 ? "" : "s"}`;

export function clipped(text) {
  const rest = text.length - LONGEST_SHOWN;
  return rest > 0 ? `${text.slice(0, LONGEST_SHOWN)} … (${count(rest, "more character")})` : text;
}

export function say(status, text, isError = false) {
  status.textContent = text;
  status.classList.toggle("error", isError);
}

/** Run an action of a part of the page, one at a time. The part's status shows what it returns or throws. */
export async function run(part, action, meanwhile = "") {
  if ("busy" in part.dataset) return;
  const status = part.querySelector(":scope > [role=status]");
  part.dataset.busy = ""; // aria-busy would keep screen readers from reading the status
  say(status, meanwhile);
  try {
    say(status, await action());
  } catch (error) {
    if (error.status === 401) announce("key-needed", error.message);
    else say(status, error.message, true);
  } finally {
    delete part.dataset.busy;
  }
}

export function onSubmit(form, action, meanwhile) {
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    run(form, action, meanwhile);
  });
}

/** Tell the other files of the page that something happened. */
export function announce(event, detail) {
  document.dispatchEvent(new CustomEvent(event, { detail }));
}

/** Return a list entry with an item of a history. */
export function itemNode({ number, fields, date }) {
  const made = node("li", node("span", `Text ${number}${date ? `, ${date}` : ""}`));
  made.value = number;
  made.firstChild.className = "hint";
  for (const [name, text] of Object.entries(fields)) {
    const field = node("p", clipped(name === "text" ? text : `${name}: ${text}`));
    field.dir = "auto";
    made.append(field);
  }
  return made;
}
