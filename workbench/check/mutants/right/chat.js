// A chat server: one thread, in which each event of a socket calls a function.
//
// Run it:  node chat.js PORT
// Bad at:  CPU-heavy work. While the server works for one client, all others wait.
'use strict';
const net = require('net');

const MAX_MSG_LEN = 16 * 1024; // bytes, without the zero byte
const QUEUE_LIMIT = 256 * 1024; // bytes that may wait for a client whose socket accepts nothing
const QUEUE_CEILING = 8 * 1024 * 1024; // bytes that may wait for any client
const STALL = 1000; // milliseconds; Node reports only when a socket has accepted all of a write
const WRITE_DEADLINE = 10000; // milliseconds for which a client may receive nothing of its queue
const DRAIN = 3000; // milliseconds for which the server still sends to a client that leaves
const LINGER = 500; // milliseconds for which the server still reads before it closes a connection
const TICK = 100; // milliseconds between two checks of the deadlines

const clients = new Set(); // the clients in the room
const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

class ProtocolError extends Error {}

function main() {
  const listener = net.createServer({ allowHalfOpen: true, noDelay: true }, handleClient);
  listener.on('error', (err) => {
    if (listener.listening) return; // accept has failed: that connection is already closed
    console.error(`cannot listen: ${err.message}`);
    process.exit(1);
  });
  listener.listen({ host: '127.0.0.1', port: Number(process.argv[2]), backlog: 1024 });
  setInterval(() => setImmediate(endSlowClients), TICK).unref();
  for (const signal of ['SIGINT', 'SIGTERM']) {
    process.on(signal, () => {
      listener.close(); // the program ends when the last connection is closed
      for (const client of clients) handleDisconnect(client);
    });
  }
}

function handleClient(sock) {
  sock.on('error', () => {}); // Node closes the socket after this event
  if (sock.remoteAddress === undefined) { // already disconnected
    sock.destroy();
    return;
  }
  const name = `${sock.remoteAddress}:${sock.remotePort}`;
  const client = { sock, name, rest: Buffer.alloc(0), tookAt: 0 };
  clients.add(client);
  sock.on('data', (data) => {
    if (clients.has(client)) relayMsgs(client, data); // what a leaving client sends is ignored
  });
  sock.on('end', () => handleDisconnect(client));
  sock.on('close', () => clients.delete(client));
}

function relayMsgs(client, data) {
  const frames = [];
  let lastWords = '';
  try {
    for (const msg of parseRecvdData(client, data)) frames.push(prepMsg(`${client.name}: ${msg}`));
  } catch (err) {
    if (!(err instanceof ProtocolError)) throw err;
    lastWords = prepMsg(`server: ${err.message}`);
  }
  if (frames.length > 0) broadcastMsg(client, Buffer.concat(frames));
  if (lastWords) handleDisconnect(client, lastWords);
}

// Yields each complete message, and keeps the rest.
function* parseRecvdData(client, data) {
  const bytes = Buffer.concat([client.rest, data]);
  let begin = 0;
  for (let end; (end = bytes.indexOf(0, begin)) >= 0; begin = end + 1) {
    if (end > begin) yield parseFrame(bytes.subarray(begin, end));
  }
  client.rest = Buffer.from(bytes.subarray(begin)); // a copy, so that the whole buffer can be freed
  if (client.rest.length > MAX_MSG_LEN) throw new ProtocolError('the message is too long');
}

function parseFrame(frame) {
  if (frame.length > MAX_MSG_LEN) throw new ProtocolError('the message is too long');
  try {
    return decoder.decode(frame);
  } catch {
    throw new ProtocolError('the message is not UTF-8');
  }
}

function prepMsg(msg) {
  return Buffer.from(`${msg}\0`);
}

function broadcastMsg(sender, frames) {
  for (const client of clients) {
    if (client.sock.writableLength === 0) client.tookAt = Date.now();
    client.sock.write(frames, () => { client.tookAt = Date.now(); });
    if (client.sock.writableLength > QUEUE_CEILING) endClient(client);
  }
}

// Called after all pending events are handled, so that no client is disconnected for a write
// whose completion this program has not noticed yet.
function endSlowClients() {
  for (const client of clients) {
    const waiting = client.sock.writableLength;
    const age = waiting > 0 ? Date.now() - client.tookAt : 0;
    if ((age > STALL && waiting > QUEUE_LIMIT) || age > WRITE_DEADLINE) endClient(client);
  }
}

function endClient(client) {
  clients.delete(client);
  client.sock.destroy();
}

// Takes a client out of the room. Its queue is still sent.
function handleDisconnect(client, lastWords = '') {
  if (!clients.delete(client)) return;
  const { sock } = client;
  const timers = [setTimeout(() => sock.destroy(), DRAIN)];
  // A close with bytes unread would send a reset, and the last bytes sent may be lost.
  sock.end(lastWords, () => timers.push(setTimeout(() => sock.destroy(), LINGER)));
  sock.on('close', () => timers.forEach(clearTimeout));
}

main();
