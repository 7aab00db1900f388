// The protocol of PROTOCOL.md as this page needs it: one connection that comes back by itself and resumes its
// subscriptions where they were, or has them restored by the server if it names a device. It knows nothing of the page.

const SUBPROTOCOL = "jetwire.v1.json";
const REPLY_TIMEOUT = 15000;
const ACK_EVERY = 100; // milliseconds between two acks of a subscription
const LATER = new Set(["unavailable", "timeout", "internal", "draining", "rate_limited"]); // a subscription is asked for again

// Close codes after which the same would fail again, and those that want a new token; the others mean: come back later.
const NEVER = new Set([1000, 1002, 1003, 1007, 1009, 4000, 4001, 4002, 4003, 4007, 4008, 4009, 4010, 4011, 4012, 4013, 4019, 4024, 4025, 4026, 4028, 4031, 4032]);
const WITH_TOKEN = new Set([4004, 4005, 4006, 4027]);

// ProtocolError is what a request fails with.
export class ProtocolError extends Error {
  constructor(code, message, retryAfter) {
    const again = retryAfter ? ` (again in ${Math.ceil(retryAfter * 10) / 10} s)` : "";
    super((message ? `${code}: ${message}` : code) + again);
    Object.assign(this, { code, retryAfter });
  }
}

// split yields the JSON texts of a frame: objects, one behind the other.
export function* split(text) {
  let depth = 0, start = 0, quoted = false;
  for (let i = 0; i < text.length; i++) {
    const c = text[i];
    if (quoted) {
      if (c === "\\") i++;
      else if (c === '"') quoted = false;
    } else if (c === '"') quoted = true;
    else if (c === "{" || c === "[") {
      if (depth++ === 0) start = i;
    } else if (c === "}" || c === "]") {
      if (--depth === 0) yield text.slice(start, i + 1);
    }
  }
}

// parse keeps numbers that JavaScript would round as they were written, where the browser can.
export function parse(text) {
  if (!JSON.rawJSON) return JSON.parse(text);
  return JSON.parse(text, (_, v, context) =>
    typeof v === "number" && context?.source && String(v) !== context.source ? JSON.rawJSON(context.source) : v);
}

// Link calls on.state(name, detail), on.message(channel, message), on.gap(gap), on.error(error), on.subscribed(channel, reply),
// on.restored(channel, position) for a subscription that the server kept for the device, and on.refused(channel, error). A channel may be
// a pattern. What the page has shown of a subscription it says by shown(channel, seq).
export class Link {
  constructor(url, token, on, device) {
    Object.assign(this, { url, token, on, device });
    // channel -> {epoch, seq, ready, repaired}; seq undefined: from now on. With a device also what was shown, what the server has
    // sent on this connection (seen), and what the last ack on it said (told).
    this.subs = new Map();
    this.dropped = new Set(); // unsubscribed while there was no connection
    this.pending = new Map(); // id -> {resolve, reject, timer}
    this.nextID = 1;
    this.failures = 0;
    this.open();
  }

  open() {
    clearTimeout(this.retry);
    this.on.state("connecting");
    const ws = this.ws = new WebSocket(this.url, SUBPROTOCOL);
    ws.onopen = () => this.connect(ws);
    ws.onmessage = (e) => { if (ws === this.ws) this.receive(e.data); };
    ws.onclose = (e) => { if (ws === this.ws) this.lost(e); };
  }

  async connect(ws) {
    try {
      const reply = await this.request("connect", { token: this.token, client: "jetwire-page/1", device: this.device || undefined });
      if (ws !== this.ws) return;
      this.failures = 0;
      this.ready = true;
      this.on.state("connected", reply);
      this.heartbeat(reply.ping);
      for (const [channel, s] of this.subs) if (!s.ready) this.ask(channel);
    } catch (e) {
      if (ws === this.ws) this.refused = e; // the close that follows says what to do
    }
  }

  // restore takes over what the server has kept for the device. What is known already is dropped when it comes again.
  restore(list) {
    for (const r of list) {
      if (this.dropped.has(r.channel)) {
        this.request("unsubscribe", { channel: r.channel }).then(() => this.dropped.delete(r.channel), () => {});
        continue;
      }
      let s = this.subs.get(r.channel);
      const known = s?.seq !== undefined;
      if (!s) this.subs.set(r.channel, s = {});
      s.ready = true;
      if (r.qos !== 0) {
        if (known && s.epoch !== r.epoch) this.gap({ channel: r.channel, epoch: r.epoch, from: 0, reason: "epoch" });
        if (!known || s.seq < r.since) Object.assign(s, { seq: r.since, epoch: r.epoch, shown: r.since });
        Object.assign(s, { seen: r.since, told: r.since });
      }
      if (!known) this.on.restored(r.channel, r);
    }
  }

  // shown says that a message is on the screen. The server is told soon, and keeps that for the device.
  shown(channel, seq) {
    const s = this.subs.get(channel);
    if (!s || !this.durable || !(seq > (s.shown ?? -1))) return;
    s.shown = seq;
    this.acknowledge(channel, s);
  }

  acknowledge(channel, s) {
    s.timer ??= setTimeout(() => {
      s.timer = undefined;
      this.ack(channel, s);
    }, ACK_EVERY);
  }

  // ack never goes beyond what the server has sent on this connection: that it would refuse.
  ack(channel, s) {
    const seq = Math.min(s.shown ?? 0, s.seen ?? 0);
    if (!this.ready || !s.ready || this.subs.get(channel) !== s || !(seq > s.told)) return;
    s.told = seq;
    this.ws.send(JSON.stringify({ ack: { channel, seq, epoch: s.epoch } }));
  }

  // flush tells at once what was shown: the page goes.
  flush() {
    for (const [channel, s] of this.subs) this.ack(channel, s);
  }

  // heartbeat asks for an answer now and then, since a browser does not show the server's pings.
  heartbeat(seconds) {
    clearInterval(this.beat);
    this.beat = setInterval(() => {
      this.request("ping", {}).catch((e) => { if (e.code === "no_answer") this.drop("nothing was heard"); });
    }, Math.max(seconds || 25, 1) * 1000);
  }

  // drop gives up a connection that seems dead, without waiting for its end.
  drop(why) {
    const ws = this.ws;
    ws.onclose = ws.onmessage = null;
    ws.close();
    this.lost({ code: 1006, reason: why });
  }

  lost({ code, reason }) {
    clearInterval(this.beat);
    this.ready = false;
    const name = this.refused?.code || reason || `closed with ${code}`;
    for (const p of this.pending.values()) {
      clearTimeout(p.timer);
      p.reject(new ProtocolError("connection_lost", `the outcome is unknown (${name})`));
    }
    this.pending.clear();
    for (const s of this.subs.values()) {
      s.ready = false;
      clearTimeout(s.timer);
      s.timer = undefined;
    }
    const refused = this.refused;
    this.refused = null;
    if (this.ended) return;
    if (NEVER.has(code) || WITH_TOKEN.has(code)) {
      this.ended = true;
      this.on.state("closed", { code, needsToken: WITH_TOKEN.has(code), why: refused?.message || reason || `closed with ${code}` });
      return;
    }
    const bound = Math.min(30000, 500 * 2 ** this.failures++);
    const wait = (this.after || 0) * 1000 + Math.random() * bound;
    this.after = 0;
    this.on.state("waiting", { wait, why: refused?.message || reason || "" });
    this.retry = setTimeout(() => this.open(), wait);
  }

  // hurry does not wait for the next attempt any longer.
  hurry() {
    if (!this.ended && !this.ready && this.ws.readyState === WebSocket.CLOSED) this.open();
  }

  close() {
    this.ended = true;
    clearTimeout(this.retry);
    clearInterval(this.beat);
    this.flush();
    this.ws.close(1000);
    this.on.state("closed", { code: 1000, why: "" });
  }

  // request sends one command. raw is a JSON text that becomes the member "data" as it is.
  request(name, body, raw) {
    return new Promise((resolve, reject) => {
      if (this.ws.readyState !== WebSocket.OPEN) {
        reject(new ProtocolError("not_connected", "nothing was sent"));
        return;
      }
      const id = this.nextID++;
      const timer = setTimeout(() => {
        this.pending.delete(id);
        reject(new ProtocolError("no_answer", `no answer to ${name} in ${REPLY_TIMEOUT / 1000} s`));
      }, REPLY_TIMEOUT);
      this.pending.set(id, { resolve, reject, timer, name });
      let text = JSON.stringify(body);
      if (raw !== undefined) text = text.slice(0, -1) + `,"data":${raw}}`;
      this.ws.send(`{"id":${id},"${name}":${text}}`);
    });
  }

  receive(frame) {
    for (const text of split(frame)) {
      const o = parse(text);
      if (o.id !== undefined) this.answer(o);
      else if (o.message) this.message(o.message);
      else if (o.gap) this.gap(o.gap);
      else if (o.unsubscribed) this.unsubscribed(o.unsubscribed);
      else if (o.expired) this.on.error(new ProtocolError("expired_token", `the connection ends in ${o.expired.grace} s; connect with a new token`));
      else if (o.reconnect) this.after = o.reconnect.after;
      else if (o.error) this.on.error(failure(o.error));
    }
  }

  answer(o) {
    const p = this.pending.get(o.id);
    if (!p) return;
    this.pending.delete(o.id);
    clearTimeout(p.timer);
    // Whatever follows in the same frame stands behind the reply, so what the reply changes is changed now.
    if (o.subscribe) this.subscribed(o.subscribe);
    if (o.connect) {
      this.durable = o.connect.durable;
      if (this.durable) this.restore(this.durable.restored);
    }
    if (o.error) p.reject(failure(o.error));
    else p.resolve(o[p.name] ?? {});
  }

  // message hands on what is next, drops what was handed on, and asks again where something is missing.
  message(m) {
    const channel = m.pattern ?? m.channel, s = this.subs.get(channel);
    if (!s) return;
    if (m.seq === undefined) {
      this.on.message(channel, m);
      return;
    }
    if (this.durable && s.ready) s.seen = Math.max(s.seen ?? 0, m.seq);
    if (s.seq !== undefined) {
      if (m.seq <= s.seq || s.asking) {
        if (this.durable && m.seq <= s.shown) { // the ack has not arrived
          s.told = Math.min(s.told, m.seq - 1);
          this.acknowledge(channel, s);
        }
        return;
      }
      if (m.prev > s.seq) {
        if (s.repaired !== s.seq) {
          s.repaired = s.seq;
          // With a device nothing is unsubscribed: the server would forget the position. A new connection brings it again.
          if (this.durable) this.drop("a message is missing");
          else this.repair(channel, s);
          return;
        }
        this.on.gap({ channel, from: s.seq + 1, to: m.prev, reason: "retention" });
      }
    }
    s.seq = m.seq;
    this.on.message(channel, m);
  }

  gap(g) {
    const s = this.subs.get(g.channel);
    if (!s) return;
    if (g.reason === "epoch" && s.epoch === g.epoch) return; // known already
    if (g.reason === "epoch") Object.assign(s, { epoch: g.epoch, seq: 0, shown: 0, seen: 0, told: 0 });
    else {
      if (s.seen !== undefined) s.seen = Math.max(s.seen, g.to);
      if (s.seq >= g.to) return; // known: sent again
      Object.assign(s, { epoch: g.epoch, seq: g.to });
    }
    this.on.gap(g);
  }

  // unsubscribed takes the end of a subscription.
  unsubscribed(u) {
    const s = this.subs.get(u.channel);
    if (!s?.ready) return;
    s.ready = false;
    if (LATER.has(u.code)) {
      this.again(u.channel, s);
      return;
    }
    this.subs.delete(u.channel);
    this.on.refused(u.channel, new ProtocolError(u.code, u.message));
  }

  // again asks for a subscription after a while, unless it is there or not wanted by then.
  again(channel, s, after) {
    setTimeout(() => { if (this.ready && this.subs.get(channel) === s && !s.ready) this.ask(channel); }, (after ?? 1) * 1000 + Math.random() * 2000);
  }

  async repair(channel, s) {
    s.asking = true;
    try {
      await this.request("unsubscribe", { channel });
      s.asking = false;
      this.ask(channel);
    } catch {
      s.asking = false; // the connection is lost: the next one resumes
    }
  }

  // subscribe follows a channel from now on.
  subscribe(channel) {
    if (this.subs.has(channel)) return Promise.resolve();
    this.subs.set(channel, {});
    this.dropped.delete(channel);
    return this.ready ? this.ask(channel) : Promise.resolve();
  }

  async ask(channel) {
    const s = this.subs.get(channel);
    const body = { channel };
    // For a device, the position becomes what was acknowledged.
    if (s.seq !== undefined) Object.assign(body, { since: this.durable ? s.asked = s.shown ?? s.seq : s.seq, epoch: s.epoch });
    try {
      await this.request("subscribe", body);
    } catch (e) {
      if (e.code === "connection_lost" || e.code === "not_connected") return;
      if (e.code === "rate_limited") {
        this.on.error(e);
        this.again(channel, s, e.retryAfter);
        return;
      }
      this.subs.delete(channel);
      this.on.refused(channel, e);
    }
  }

  subscribed(reply) {
    const s = this.subs.get(reply.channel);
    if (!s) return;
    s.ready = true;
    // A gap moves a position of another epoch; until it comes, the old epoch's name stays with the old position.
    if (s.seq === undefined) Object.assign(s, { seq: reply.seq, epoch: reply.epoch, shown: reply.seq, asked: reply.seq });
    s.seen = s.told = s.epoch === reply.epoch ? s.asked : 0;
    this.on.subscribed(reply.channel, reply);
  }

  unsubscribe(channel) {
    if (!this.subs.delete(channel)) return;
    if (this.ready) this.request("unsubscribe", { channel }).catch((e) => { if (e.code === "connection_lost") this.dropped.add(channel); });
    else if (this.device) this.dropped.add(channel);
  }

  publish(channel, text, qos) {
    const body = { channel, qos };
    if (qos === 2) body.id = messageID();
    let raw = text.trim();
    try {
      JSON.parse(raw);
    } catch {
      raw = JSON.stringify(text);
      body.encoding = "text";
    }
    return this.request("publish", body, raw);
  }

  history(body) { return this.request("history", body); }
}

function failure(e) { return new ProtocolError(e.code, e.message, e.retry_after); }

function messageID() {
  const b = crypto.getRandomValues(new Uint8Array(12));
  return Array.from(b, (x) => x.toString(16).padStart(2, "0")).join("");
}
