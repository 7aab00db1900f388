"use strict";
// Socket.IO with a room for each channel, over WebSocket only and without compression.
// Usage: node server.js HOST PORT PING-INTERVAL-MS

const { createServer } = require("node:http");
const { Server } = require("socket.io");

const [host, port, pingInterval] = process.argv.slice(2);

const http = createServer((_, res) => res.writeHead(404).end());
const io = new Server(http, {
  transports: ["websocket"],
  perMessageDeflate: false,
  httpCompression: false,
  serveClient: false,
  pingInterval: Number(pingInterval),
});

// Socket.IO's own advice for many connections: the handshake's request is not needed any more.
io.engine.on("connection", (raw) => {
  raw.request = null;
});

io.on("connection", (socket) => {
  socket.on("subscribe", (channel, done) => {
    socket.join(channel);
    done();
  });
  socket.on("unsubscribe", (channel, done) => {
    socket.leave(channel);
    done();
  });
  socket.on("publish", (channel, data) => {
    io.to(channel).emit("message", channel, data);
  });
});

http.listen(Number(port), host, () => {
  const { address, port } = http.address();
  console.log(`ws://${address}:${port}/socket.io/?EIO=4&transport=websocket`);
});
