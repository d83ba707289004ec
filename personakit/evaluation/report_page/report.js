"use strict";
// The sample browser. Text is set by textContent only: what a user or a model wrote is never markup.
(async () => {
  const PER_PAGE = 10;
  const MOST_USERS = 1000;
  const samples = await unpacked(document.getElementById("samples").textContent);
  if (!samples.length) return;
  document.getElementById("browser").hidden = false;
  const form = document.querySelector(".filters");
  const fields = form.elements; // `form.method` alone would read like the form's own method
  const cards = document.getElementById("cards");
  let page = 0;

  async function unpacked(text) { // base64 of gzip of JSON
    const letters = atob(text);
    const bytes = new Uint8Array(letters.length);
    for (let place = 0; place < letters.length; place += 1) bytes[place] = letters.charCodeAt(place);
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    return new Response(stream).json();
  }

  function element(name, text, className) {
    const made = document.createElement(name);
    if (text !== undefined && text !== null) made.textContent = text;
    if (className) made.className = className;
    return made;
  }

  function fill(name, any) {
    const values = [...new Set(samples.map((sample) => sample[name]))];
    if (any) fields[name].append(new Option(any, ""));
    for (const value of values) fields[name].append(new Option(value, value));
  }

  function row(list, name, content) {
    if (content === null || content === undefined || content === "") return;
    const value = element("dd");
    if (content instanceof Node) value.append(content);
    else value.textContent = content;
    list.append(element("dt", name), value);
  }

  function changed(sample) {
    if (!sample.changes) return sample.prediction || "(empty)";
    const whole = document.createDocumentFragment();
    const tags = { same: "span", gone: "del", new: "ins" };
    for (const [kind, text] of sample.changes) whole.append(element(tags[kind], text));
    return whole;
  }

  function items(sample) {
    const shown = [...sample.context.items.map((item) => item.text), ...sample.context.prompts];
    if (sample.context.summary) shown.unshift(sample.context.summary);
    if (!shown.length) return null;
    const list = element("ul");
    for (const text of shown) list.append(element("li", text));
    return list;
  }

  function score(sample) {
    if (sample.utility === null) return "";
    const base = sample.baseline === null ? "" : ` (baseline ${sample.baseline.toFixed(2)})`;
    return `score ${sample.utility.toFixed(2)}${base}`;
  }

  function card(sample) {
    const made = element("article", null, "card");
    const head = element("header");
    head.append(element("span", sample.outcome, `badge ${sample.outcome}`), element("span", score(sample)));
    head.append(element("span", sample.task), element("span", `user ${sample.user}`), element("span", `query ${sample.query_id}`));
    const list = element("dl");
    row(list, "query", sample.query);
    const whose = sample.profile_of !== null && sample.profile_of !== sample.user ? `history of ${sample.profile_of}` : "history used";
    row(list, whose, items(sample) || "none");
    row(list, "generic", sample.generic);
    for (const [name, text] of Object.entries(sample.trace)) row(list, name, text);
    row(list, "this answer", changed(sample));
    row(list, "gold", sample.gold);
    row(list, "problem", sample.problem);
    made.append(head, list);
    return made;
  }

  function show() {
    const user = fields.user.value.trim();
    const chosen = samples.filter((sample) =>
      sample.method === fields.method.value &&
      (!fields.task.value || sample.task === fields.task.value) &&
      (!fields.outcome.value || sample.outcome === fields.outcome.value) &&
      (!user || sample.user.includes(user)));
    const pages = Math.max(1, Math.ceil(chosen.length / PER_PAGE));
    page = Math.min(page, pages - 1);
    cards.replaceChildren(...chosen.slice(page * PER_PAGE, (page + 1) * PER_PAGE).map(card));
    document.getElementById("count").textContent = `${chosen.length} answers`;
    document.getElementById("page").textContent = `page ${page + 1} of ${pages}`;
    document.getElementById("before").disabled = page === 0;
    document.getElementById("after").disabled = page >= pages - 1;
  }

  fill("method");
  fill("task", "all");
  fill("outcome", "all");
  const users = [...new Set(samples.map((sample) => sample.user))];
  if (users.length <= MOST_USERS) { // a longer list is slow to make, and nobody scrolls through it
    document.getElementById("users").append(...users.map((user) => new Option(user, user)));
  }
  form.addEventListener("input", () => { page = 0; show(); });
  form.addEventListener("submit", (event) => event.preventDefault());
  document.getElementById("before").addEventListener("click", () => { page -= 1; show(); });
  document.getElementById("after").addEventListener("click", () => { page += 1; show(); });
  show();
})();
