/* Puts the console together. Its frame is the page's (console.html); the rest is made here. */

import { setText, show } from "../../ai_chatbot/chat/dom.js";
import { Desk } from "./desk.js";
import { Inbox } from "./inbox.js";
import { Lists } from "./lists.js";
import { closing } from "./menu.js";
import { Pane } from "./pane.js";
import { asked, isUnread } from "./reducer.js";
import { Team } from "./team.js";
import { pageTranslator, presenceMeaning, presenceName } from "./words.js";

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
    max_sessions: Number(dataset.agentMaxSessions),
  },
  loginUrl: dataset.loginUrl,
});

find("inbox").append(new Inbox({ desk, t }).element);
find("lists").append(...new Lists({ desk, t }).elements, new Team({ desk, t }).element);
find("pane").append(...new Pane({ desk, t, site }).elements);

const presence = find("presence");
presence.addEventListener("change", () => desk.setPresence(presence.value));
// Chosen from, the presences say what they mean; otherwise there is no room for it.
const explain = (explained) => {
  for (const option of presence.options) {
    const name = presenceName(option.value, t);
    setText(option, explained ? `${name}: ${presenceMeaning(option.value, t)}` : name);
  }
};
for (const type of ["pointerdown", "keydown"]) {
  presence.addEventListener(type, () => explain(true));
}
for (const type of ["change", "blur"]) presence.addEventListener(type, () => explain(false));
const load = find("load");
const link = find("link");
const title = document.title;

desk.store.subscribe((state) => {
  presence.value = state.me.status;
  presence.dataset.status = state.me.status;
  presence.title = presenceMeaning(state.me.status, t);
  show(link, !state.linkUp);
  document.body.dataset.screen = state.selected ? "conversation" : "list";
  const { queue, mine } = state.lists;
  const own = { n: mine.items.length, most: state.me.max_sessions };
  setText(load, t("{n} of {most}", own));
  load.title = t("You have {n} of at most {most} conversations", own);
  load.classList.toggle("is-full", own.n >= own.most);
  const { transfers, assists } = asked(state);
  const unread = mine.items.filter((item) => isUnread(state, item));
  const news = transfers.length + assists.length + queue.items.length + unread.length;
  document.title = news ? `(${news}) ${title}` : title;
});

closing(find("menu"));

desk.start();
