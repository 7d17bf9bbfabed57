/* The configuration in the control room: the settings of each room, the rules in force, the reload.

   Rules: a panel asks the gate when it is opened, and again when the audit log has changed, so a
   closed one costs no request. Every value of the gate is set as text. Every change is confirmed
   first, with the value now and that of the file. */
window.gatekeeperConfiguration = (page) => {
  "use strict";

  const { call, ask, wake } = page;

  const spelled = (value) => (value === "" ? "none" : String(value));

  /* What a text means: the API takes values as the file spells them, and numbers and truths are no texts. */
  function valueOf(words, now) {
    const trimmed = words.trim();
    if (typeof now === "boolean" && /^(true|false)$/.test(trimmed)) return trimmed === "true";
    return typeof now === "number" && /^\d{1,15}$/.test(trimmed) ? Number(trimmed) : trimmed;
  }

  // --- the settings of a room ---------------------------------------------------------------------

  /* Lets the panel of a room's card load its settings when it is opened. */
  function attach(card) {
    card.settings = new Map(); // key → its row
    const panel = card.find("[data-settings]");
    panel.addEventListener("toggle", () => { if (panel.open) refresh(card); });
  }

  async function refresh(card) {
    if (!card.find("[data-settings]").open) return;
    try {
      show(card, await call("GET", "/admin/settings?room=" + encodeURIComponent(card.name)));
    } catch (error) {
      report(card, error.message, true);
    }
  }

  function show(card, response) {
    Object.entries(response.rooms[0].settings).forEach(([key, setting]) => {
      if (!card.settings.has(key)) card.settings.set(key, makeRow(card, key));
      const row = card.settings.get(key);
      const edited = row.setting && row.input.value !== String(row.setting.value);
      row.setting = setting;
      if (!edited || document.activeElement !== row.input) row.input.value = setting.value;
      row.element.dataset.live = String(setting.live);
      const origin = setting.live ? "set live; the file has " + spelled(setting.file) : "as in the file";
      row.note.textContent = setting.note ? setting.note + "; " + origin : origin;
      row.reset.hidden = !setting.live;
    });
  }

  function makeRow(card, key) {
    const element = document.getElementById("setting").content.firstElementChild.cloneNode(true);
    const find = (selector) => element.querySelector(selector);
    const row = { element, input: find("input"), note: find("small"), reset: find("[data-reset]"), setting: null };
    find("code").textContent = key;
    row.reset.setAttribute("aria-label", "Reset " + key + " …");
    find("[data-set]").setAttribute("aria-label", "Set " + key + " …");
    element.addEventListener("submit", (event) => {
      event.preventDefault();
      change(card, key, valueOf(row.input.value, row.setting.value), find("[data-set]"));
    });
    row.reset.addEventListener("click", () => change(card, key, null, row.reset));
    card.find("[data-settings] .rows").append(element);
    return row;
  }

  function change(card, key, value, button) {
    const { value: now, file } = card.settings.get(key).setting;
    const after = value === null ? file : value;
    const from = value === null ? "the value of the file" : "the file has " + spelled(file);
    ask(card, {
      title: value === null ? "Reset " + key + "?" : "Set " + key + "?",
      confirm: value === null ? "Reset " + key : "Set " + key,
      text: key + " becomes " + spelled(after) + " (" + from + "); it is " + spelled(now) + " now. All replicas follow within a second.",
    }, button, async () => {
      try {
        show(card, await call("POST", "/admin/settings?room=" + encodeURIComponent(card.name), { [key]: value }));
        report(card, "Done: " + key + " is " + spelled(after) + ".", false);
      } catch (error) {
        report(card, error.message, true);
      }
      wake();
    });
  }

  function report(card, words, failed) {
    line(card.find("[data-settings] .result"), words, failed);
  }

  // --- the file -----------------------------------------------------------------------------------

  const rules = document.getElementById("rules");
  const reloaded = document.getElementById("reloaded");
  const button = document.getElementById("reload");

  button.addEventListener("click", () => ask(null, {
    title: "Reload the configuration?",
    confirm: "Reload",
    text: "The whole file is read again: rooms, rules, templates, certificates and secrets. No connection is dropped. A file with a problem changes nothing.",
  }, button, async () => {
    line(reloaded, "Reloading …", false);
    try {
      const response = await call("POST", "/admin/reload");
      line(reloaded, "Done: " + response.rooms.length + " rooms, " + response.rules.length + " rules.", false);
    } catch (error) {
      line(reloaded, "Nothing changed. " + error.message, true);
    }
    showRules();
    wake();
  }));
  rules.addEventListener("toggle", showRules);

  async function showRules() {
    if (!rules.open) return;
    try {
      const response = await call("GET", "/admin/rules");
      rules.querySelector("tbody").replaceChildren(...response.rules.map(ruleRow));
    } catch (error) {
      line(reloaded, error.message, true);
    }
  }

  function ruleRow(rule) {
    const row = document.createElement("tr");
    const name = rule.name + (rule.default ? " (default)" : "");
    [name, rule.action, rule.conditions, String(rule.matches)].forEach((words, index) => {
      const cell = document.createElement(index ? "td" : "th");
      if (!index) cell.scope = "row";
      cell.textContent = words;
      row.append(cell);
    });
    return row;
  }

  function line(element, words, failed) {
    element.textContent = words;
    element.classList.toggle("error", failed);
    element.hidden = false;
  }

  return { attach, refresh, showRules };
};
