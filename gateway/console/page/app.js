// The page: what is on the screen, and what the person does. Everything that comes from the server is shown as text.

import { Link } from "./protocol.js";

const $ = (id) => document.getElementById(id);
const TOKEN = "jetwire.token", CHANNELS = "jetwire.channels"; // in sessionStorage: gone with the tab
const DEVICE = "jetwire.device"; // in localStorage as what was typed last, in sessionStorage as what this tab uses
const PAGE = 50, KEEP = 2000; // messages of a history page; messages kept on the screen

const rooms = new Map(); // channel -> {list: <ol> children, oldest, unread, button}
let link = null, current = null;

// ---- connection

function connect(token, device) {
  sessionStorage.setItem(TOKEN, token);
  sessionStorage.setItem(DEVICE, device);
  const scheme = location.protocol === "https:" ? "wss:" : "ws:";
  link = new Link(`${scheme}//${location.host}/ws`, token, { state, message, gap, subscribed, restored, refused, error: (e) => note(e.message) }, device);
  for (const channel of remembered()) addRoom(channel);
  $("connect").hidden = true;
  $("main").hidden = $("leave").hidden = false;
}

function state(name, detail) {
  const pill = $("state");
  pill.dataset.state = name;
  pill.textContent = { connecting: "connecting …", connected: "connected", waiting: "connection lost, coming back …", closed: "not connected" }[name];
  if (name === "connected") $("user").textContent = detail.durable ? `${detail.user} · ${detail.durable.device}` : detail.user;
  if (name !== "closed") return;
  if (detail.why) note(detail.why);
  if (detail.needsToken) sessionStorage.removeItem(TOKEN);
  for (const channel of [...rooms.keys()]) removeRoom(channel);
  link = null;
  $("user").textContent = "";
  $("connect").hidden = false;
  $("main").hidden = $("leave").hidden = true;
  $("token").focus();
}

$("connect").addEventListener("submit", (e) => {
  e.preventDefault();
  const token = $("token").value.trim();
  const device = $("device").value.trim();
  $("token").value = "";
  localStorage.setItem(DEVICE, device);
  if (token) connect(token, device);
});
$("leave").addEventListener("click", () => {
  sessionStorage.removeItem(TOKEN);
  link?.close();
});
addEventListener("pagehide", () => link?.flush());
addEventListener("online", () => link?.hurry());
document.addEventListener("visibilitychange", () => { if (!document.hidden) link?.hurry(); });

// ---- channels

function remembered() {
  try {
    return JSON.parse(sessionStorage.getItem(CHANNELS)) ?? [];
  } catch {
    return [];
  }
}

function remember() { sessionStorage.setItem(CHANNELS, JSON.stringify([...rooms.keys()])); }

const isPattern = (channel) => /[*>]/.test(channel);

function addRoom(channel, quietly) {
  if (!rooms.has(channel)) {
    const button = element("button", { type: "button" });
    button.append(element("span", { className: "label" }, channel), element("span", { className: "unread", hidden: true }));
    button.addEventListener("click", () => show(channel));
    const item = element("li");
    item.append(button);
    $("channels").append(item);
    rooms.set(channel, { items: [], unread: 0, button, item, oldest: undefined, past: !isPattern(channel) });
    link.subscribe(channel);
  }
  if (!quietly || !current) show(channel);
}

function removeRoom(channel) {
  rooms.get(channel)?.item.remove();
  rooms.delete(channel);
  if (current === channel) show(rooms.keys().next().value ?? null);
}

function show(channel) {
  current = channel;
  $("room").hidden = !channel;
  $("empty").hidden = !!channel;
  for (const [name, r] of rooms) r.button.setAttribute("aria-current", String(name === channel));
  if (!channel) return;
  const room = rooms.get(channel);
  room.unread = 0;
  count(room);
  $("name").textContent = channel;
  $("older").hidden = !room.past;
  $("publish").hidden = isPattern(channel);
  link.shown(channel, room.last);
  $("messages").replaceChildren(...room.items);
  toEnd();
}

function count(room) {
  const badge = room.button.lastElementChild;
  badge.hidden = room.unread === 0;
  badge.textContent = room.unread > 99 ? "99+" : String(room.unread);
}

$("add").addEventListener("submit", (e) => {
  e.preventDefault();
  const channel = $("channel").value.trim();
  if (!channel) return;
  $("channel").value = "";
  addRoom(channel);
  remember();
});
$("drop").addEventListener("click", () => {
  link.unsubscribe(current);
  removeRoom(current);
  remember();
});

// subscribed fills a new room with the newest messages of the past: up to where the subscription begins.
function subscribed(channel, reply) {
  const room = rooms.get(channel);
  if (!room || room.oldest !== undefined) return;
  begin(channel, room, reply.epoch, reply.seq);
}

// restored shows what the server has kept for this device: the past up to where it goes on, and what was missed behind it.
function restored(channel, position) {
  addRoom(channel, true);
  const room = rooms.get(channel);
  if (room.oldest !== undefined) return;
  if (position.qos === 0) past(channel, false);
  else begin(channel, room, position.epoch, position.since);
}

function begin(channel, room, epoch, seq) {
  Object.assign(room, { epoch, oldest: seq + 1 });
  if (!isPattern(channel)) older(channel, true); // a pattern has no history of its own
}

function refused(channel, e) {
  note(`${channel}: ${e.message}`);
  removeRoom(channel);
  remember();
}

// ---- messages

function message(channel, m) {
  add(channel, messageElement(m), m.seq);
}

function gap(g) {
  const room = rooms.get(g.channel);
  if (g.reason === "epoch") {
    past(g.channel, false); // the sequences on the screen are of another life of the stream
    if (room) Object.assign(room, { epoch: g.epoch, last: undefined });
  }
  add(g.channel, element("li", { className: "mark" }, g.reason === "epoch"
    ? "the stream was made anew; what it held before is gone"
    : `messages between #${g.from} and #${g.to} are no longer in the log`), g.to);
}

// add puts one thing at the end of a room. What is in the open room counts as shown up to seq.
function add(channel, item, seq) {
  const room = rooms.get(channel);
  if (!room) return;
  if (seq !== undefined) room.last = seq;
  room.items.push(item);
  if (room.items.length > KEEP) {
    room.items.shift().remove();
    const first = room.items.find((x) => x.dataset.seq);
    if (first) room.oldest = Number(first.dataset.seq);
    room.past = !isPattern(channel);
  }
  if (channel !== current) {
    room.unread++;
    count(room);
    return;
  }
  const atEnd = nearEnd();
  $("messages").append(item);
  link.shown(channel, seq);
  if (atEnd) toEnd();
}

async function older(channel, first) {
  const room = rooms.get(channel);
  if (!(room?.oldest > 1)) {
    past(channel, false);
    return;
  }
  $("older").disabled = true;
  try {
    const page = await link.history({ channel, until: room.oldest - 1, epoch: room.epoch, order: "newest", limit: PAGE });
    if (rooms.get(channel) !== room) return;
    const items = page.messages.map(messageElement).reverse();
    if (page.lost) items.unshift(element("li", { className: "mark" }, `messages between #${page.lost.from} and #${page.lost.to} are no longer in the log`));
    if (page.messages.length) room.oldest = page.messages.at(-1).seq;
    room.items.unshift(...items);
    past(channel, !!page.next && page.messages.length > 0);
    if (channel !== current) return;
    const box = $("scroll"), height = box.scrollHeight, atEnd = nearEnd();
    $("messages").prepend(...items);
    if (first && atEnd) toEnd();
    else box.scrollTop += box.scrollHeight - height;
  } catch (e) {
    note(`history of ${channel}: ${e.message}`);
  } finally {
    $("older").disabled = false;
  }
}

function past(channel, more) {
  const room = rooms.get(channel);
  if (room) room.past = more;
  if (channel === current) $("older").hidden = !more;
}

$("older").addEventListener("click", () => older(current, false));

function messageElement(m) {
  const li = element("li", { className: "message" });
  if (m.seq !== undefined) li.dataset.seq = m.seq;
  const when = m.time ? new Date(m.time) : null;
  const time = element("time", when ? { dateTime: when.toISOString(), title: when.toLocaleString() } : {}, when ? clock(when) : "live");
  const body = element("pre", { className: "body" }, m.encoding ? m.data : JSON.stringify(m.data));
  if (m.encoding === "base64") {
    body.classList.add("base64");
    body.title = "not text: shown as base64";
  }
  li.append(element("span", { className: "seq" }, m.seq === undefined ? "–" : `#${m.seq}`), time,
    element("span", { className: "from" }, m.from || "–"));
  if (m.pattern) {
    li.classList.add("of-pattern");
    li.append(element("span", { className: "where", title: m.channel }, m.channel));
  }
  li.append(body);
  if (m.id) li.title = `id ${m.id}`;
  return li;
}

function clock(t) {
  const today = t.toDateString() === new Date().toDateString();
  return today ? t.toLocaleTimeString() : t.toLocaleString();
}

function nearEnd() {
  const box = $("scroll");
  return box.scrollHeight - box.scrollTop - box.clientHeight < 80;
}

function toEnd() { $("scroll").scrollTop = $("scroll").scrollHeight; }

// ---- publishing

$("publish").addEventListener("submit", async (e) => {
  e.preventDefault();
  const box = $("data"), text = box.value, channel = current;
  if (!text.trim()) return;
  box.value = "";
  try {
    await link.publish(channel, text, Number($("qos").value));
  } catch (e) {
    note(`publish to ${channel}: ${e.message}`);
    if (!box.value) box.value = text;
  }
});
$("data").addEventListener("keydown", (e) => {
  if (e.key === "Enter" && !e.shiftKey && !e.isComposing) {
    e.preventDefault();
    $("publish").requestSubmit();
  }
});

// ---- small things

function element(name, fields = {}, text) {
  const e = Object.assign(document.createElement(name), fields);
  if (text !== undefined) e.textContent = text;
  return e;
}

function note(text, kind = "") {
  const e = element("div", { className: `note ${kind}` }, text);
  $("notes").append(e);
  while ($("notes").children.length > 4) $("notes").firstElementChild.remove();
  setTimeout(() => e.remove(), 9000);
}

const token = sessionStorage.getItem(TOKEN);
$("device").value = localStorage.getItem(DEVICE) ?? "";
if (token) connect(token, sessionStorage.getItem(DEVICE) ?? "");
else $("token").focus();
