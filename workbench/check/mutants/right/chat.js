// A chat server: one thread, in which a function is called when something has happened on a socket.
//
// Run it:  node chat.js PORT
// Bad at:  hard work. While it does something for one client, all others wait.
'use strict';
const net = require('net');

const MAX_MSG_LEN = 16 * 1024; // bytes, without the zero byte
const QUEUE_LIMIT = 256 * 1024; // bytes that may wait for a client whose socket takes nothing
const QUEUE_CEILING = 8 * 1024 * 1024; // bytes that may wait for any client
const STALL = 1000; // milliseconds; Node tells only when a socket has taken all of a write
const WRITE_DEADLINE = 10000; // milliseconds that a client may take nothing of what waits for it
const DRAIN = 3000; // milliseconds for which what is queued for a leaver is still sent
const LINGER = 500; // milliseconds for which a connection is read on before it is closed
const TICK = 100; // milliseconds after which the deadlines are looked at again

const clients = new Set(); // those in the room
const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

class ProtocolError extends Error {}

function main() {
  const listener = net.createServer({ allowHalfOpen: true, noDelay: true }, handleClient);
  listener.on('error', (err) => {
    if (listener.listening) return; // accept has failed: that connection is gone
    console.error(`cannot listen: ${err.message}`);
    process.exit(1);
  });
  listener.listen({ host: '127.0.0.1', port: Number(process.argv[2]), backlog: 1024 });
  setInterval(() => setImmediate(endSlowClients), TICK).unref();
  for (const signal of ['SIGINT', 'SIGTERM']) {
    process.on(signal, () => {
      listener.close(); // the program ends when the last client has gone, too
      for (const client of clients) handleDisconnect(client);
    });
  }
}

function handleClient(sock) {
  sock.on('error', () => {}); // its own affair; it is closed after that
  if (sock.remoteAddress === undefined) { // it has gone already
    sock.destroy();
    return;
  }
  const name = `${sock.remoteAddress}:${sock.remotePort}`;
  const client = { sock, name, rest: Buffer.alloc(0), tookAt: 0 };
  clients.add(client);
  sock.on('data', (data) => {
    if (clients.has(client)) relayMsgs(client, data); // what a leaver says is thrown away
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

// Yields each message that is whole by now, and keeps the rest.
function* parseRecvdData(client, data) {
  const bytes = Buffer.concat([client.rest, data]);
  let begin = 0;
  for (let end; (end = bytes.indexOf(0, begin)) >= 0; begin = end + 1) {
    if (end > begin) yield parseFrame(bytes.subarray(begin, end));
  }
  client.rest = Buffer.from(bytes.subarray(begin)); // a copy, so that the whole is not kept
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

// Called when all that has happened so far has been seen to, so that nobody is blamed for a write
// whose end this program has not noticed yet.
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

// Takes a client out of the room. What is queued for it is still sent.
function handleDisconnect(client, lastWords = '') {
  if (!clients.delete(client)) return;
  const { sock } = client;
  const timers = [setTimeout(() => sock.destroy(), DRAIN)];
  // A close with bytes unread would send a reset, which may overtake what was sent last.
  sock.end(lastWords, () => timers.push(setTimeout(() => sock.destroy(), LINGER)));
  sock.on('close', () => timers.forEach(clearTimeout));
}

main();
