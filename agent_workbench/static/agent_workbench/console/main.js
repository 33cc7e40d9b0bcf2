/* Puts the console together. Its frame is the page's (console.html); the rest is made here. */

import { show } from "../../ai_chatbot/chat/dom.js";
import { Desk } from "./desk.js";
import { Lists } from "./lists.js";
import { Pane } from "./pane.js";
import { isUnread } from "./reducer.js";
import { pageTranslator } from "./words.js";

const { dataset } = document.body;
const find = (name) => document.querySelector(`[data-${name}]`);
const t = pageTranslator();
// The help pages may be another process's, at an address this one does not know.
const site = "servesSite" in dataset ? location.origin : null;
const desk = new Desk({
  me: {
    id: Number(dataset.agentId),
    name: dataset.agentName,
    role: dataset.agentRole,
    status: dataset.agentStatus,
  },
  loginUrl: dataset.loginUrl,
});

find("lists").append(...new Lists({ desk, t }).elements);
find("pane").append(...new Pane({ desk, t, site }).elements);

const presence = find("presence");
presence.addEventListener("change", () => desk.setPresence(presence.value));
const link = find("link");
const title = document.title;

desk.store.subscribe((state) => {
  presence.value = state.me.status;
  presence.dataset.status = state.me.status;
  show(link, !state.linkUp);
  document.body.dataset.screen = state.selected ? "conversation" : "list";
  const { queue, mine } = state.lists;
  const news = queue.items.length + mine.items.filter((item) => isUnread(state, item)).length;
  document.title = news ? `(${news}) ${title}` : title;
});

const menu = find("menu");
document.addEventListener("click", (event) => {
  if (!menu.contains(event.target)) menu.open = false;
});
menu.addEventListener("keydown", (event) => {
  if (event.key !== "Escape") return;
  menu.open = false;
  menu.querySelector("summary").focus();
});

desk.start();
