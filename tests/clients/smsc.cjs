// An SMSC of the npm package `smpp`, told by a JSON object a line what to do; each line that it says is an event.
//
//   {"port", "pem"}                          first of all: where to listen, 0 for any; over TLS with what is in this file
//   {"deliver": {pdu}, "id"}                 bring a deliver_sm, or what its `command` says; → {"answered": id, "status"},
//                                            status null: it broke off
//   {"script": [status, ...]}                the statuses of the next submit_sm_resp; null: none at all
//   {"receipts": "none" | "early" | "late"}  before the response, or after it
//   {"told": "text" | "parameters"}          where a receipt says what it is about
//   {"ids": "text" | "hexadecimal"}          how ids stand in responses; in receipts they are decimal
//   {"alphabet": "ASCII" | "LATIN1"}         what data_coding 0 means; ASCII is npm's word for GSM 03.38
//   {"cut": true}                            break every connection
//   {"load": {texts, window, cuts}}          bring many more texts, again where the link breaks; → {"loaded": {...}}
//   {"tally": true}                          how often each text was submitted since the load began; → {"tally": {...}}
//
// Events besides: {"listening"}, {"bound"}, {"submit"}, {"gone"}.
'use strict';

const fs = require('node:fs');
const readline = require('node:readline');
const smpp = require('smpp');

const say = (event) => process.stdout.write(JSON.stringify(event) + '\n');
const sessions = new Set();
const state = { receipts: 'late', told: 'text', ids: 'text', script: [], count: 0, load: null };

const text = (message) => (typeof message === 'object' && message !== null ? message.message : message);

// npm's codec has taken the header off, or read the payload.
const content = (pdu) => text(pdu.message_payload) || text(pdu.short_message) || '';

const headers = (pdu) => ((pdu.short_message && pdu.short_message.udh) || []).map((element) => element.toString('hex'));

const idOf = (number) => (state.ids === 'hexadecimal' ? number.toString(16).toUpperCase() : String(number));

function receipt(session, pdu, number) {
  const said = `id:${number} sub:001 dlvrd:001 submit date:2611260458 done date:2611260459 stat:DELIVRD err:000 text:`;
  const told = state.told === 'text'
    ? { short_message: said }
    : { short_message: 'it has arrived', receipted_message_id: String(number), message_state: 2 };
  session.deliver_sm({
    source_addr: pdu.destination_addr, source_addr_ton: 1, source_addr_npi: 1,
    destination_addr: pdu.source_addr, dest_addr_ton: 1, dest_addr_npi: 1,
    esm_class: 4, ...told,
  });
}

function submit(session, pdu) {
  const status = state.script.length ? state.script.shift() : 0;
  const load = state.load;
  if (load) {
    const said = content(pdu);
    load.submitted[said] = (load.submitted[said] || 0) + 1;
  } else {
    say({
      submit: {
        from: pdu.source_addr, to: pdu.destination_addr, text: content(pdu), headers: headers(pdu),
        data_coding: pdu.data_coding, esm_class: pdu.esm_class, registered_delivery: pdu.registered_delivery,
        sar: [pdu.sar_msg_ref_num, pdu.sar_total_segments, pdu.sar_segment_seqnum].map((value) => value ?? null),
        payload: pdu.message_payload !== undefined, status,
      },
    });
  }
  if (status === null) return;
  const number = ++state.count;
  const wants = status === 0 && pdu.registered_delivery && state.receipts !== 'none';
  if (wants && state.receipts === 'early') receipt(session, pdu, number);
  session.send(pdu.response({ command_status: status, message_id: status ? '' : idOf(number) }));
  if (wants && state.receipts === 'late') setTimeout(() => receipt(session, pdu, number), 20);
  if (load && load.cutAt.length && state.count >= load.cutAt[0]) {
    load.cutAt.shift();
    cut();
  }
}

function cut() {
  for (const session of sessions) session.destroy();
}

// The load: texts in order, at most `window` without an answer; what has none when its link breaks goes first again.
function pump() {
  const load = state.load;
  const session = [...sessions].find((one) => one.receives);
  if (!load || !session) return;
  while (load.open < load.window && load.queue.length) {
    const one = load.queue.shift();
    load.open += 1;
    session.open.add(one);
    session.deliver_sm({ ...numbers(one), short_message: one.text }, (answer) => {
      if (!session.open.delete(one)) return;
      load.open -= 1;
      if (answer.command_status === 0) load.answered += 1;
      else if (answer.command_status === 0x64) load.queue.push(one);
      else load.refused += 1;
      if (load.answered + load.refused === load.total) loaded();
      pump();
    });
  }
}

const numbers = (one) => ({
  source_addr: one.from, source_addr_ton: 1, source_addr_npi: 1,
  destination_addr: one.to, dest_addr_ton: 1, dest_addr_npi: 1,
});

function loaded() {
  const { answered, refused, again } = state.load;
  say({ loaded: { answered, refused, again } });
}

function serve(session) {
  session.open = new Set();
  session.waits = new Map();
  const bind = (receives) => (pdu) => {
    const good = pdu.password === 'secret';
    session.send(pdu.response({ command_status: good ? 0 : smpp.ESME_RINVPASWD }));
    if (!good) return session.close();
    session.receives = receives;
    sessions.add(session);
    say({ bound: pdu.command });
    pump();
  };
  session.on('bind_transceiver', bind(true));
  session.on('bind_receiver', bind(true));
  session.on('bind_transmitter', bind(false));
  session.on('submit_sm', (pdu) => submit(session, pdu));
  session.on('enquire_link', (pdu) => session.send(pdu.response()));
  session.on('unbind', (pdu) => { session.send(pdu.response()); session.close(); });
  session.on('error', () => session.destroy());
  session.on('close', () => {
    sessions.delete(session);
    for (const id of session.waits.keys()) say({ answered: id, status: null });
    if (state.load) {
      state.load.again += session.open.size;
      state.load.open -= session.open.size;
      state.load.queue.unshift(...session.open);
    }
    session.open.clear();
    say({ gone: true });
  });
}

function act(line) {
  if (line.deliver) {
    const session = [...sessions].find((one) => one.receives);
    if (!session) return say({ answered: line.id, status: null });
    const { command = 'deliver_sm', ...pdu } = line.deliver;
    for (const name of ['short_message', 'message_payload']) {
      if (pdu[name] && pdu[name].hex) pdu[name] = Buffer.from(pdu[name].hex, 'hex');
    }
    session.waits.set(line.id, true);
    session[command](pdu, (answer) => {
      if (session.waits.delete(line.id)) say({ answered: line.id, status: answer.command_status });
    });
  }
  if (line.script) state.script = line.script;
  if (line.receipts) state.receipts = line.receipts;
  if (line.told) state.told = line.told;
  if (line.ids) state.ids = line.ids;
  if (line.alphabet) smpp.encodings.default = line.alphabet;
  if (line.cut) cut();
  if (line.load) {
    const { texts, window, cuts } = line.load;
    const step = texts.length / (cuts + 1);
    state.load ||= { queue: [], total: 0, open: 0, answered: 0, refused: 0, again: 0, submitted: {} };
    Object.assign(state.load, {
      window, cutAt: Array.from({ length: cuts }, (_, i) => state.count + Math.round(step * (i + 1))),
    });
    state.load.queue.push(...texts);
    state.load.total += texts.length;
    pump();
  }
  if (line.tally) say({ tally: state.load.submitted });
}

const lines = readline.createInterface({ input: process.stdin });
lines.once('line', (first) => {
  const { port, pem } = JSON.parse(first);
  const key = pem && fs.readFileSync(pem);
  const server = smpp.createServer(key ? { key, cert: key } : {}, serve);
  server.listen(port, '127.0.0.1', () => say({ listening: server.address().port }));
  lines.on('line', (line) => act(JSON.parse(line)));
});
lines.on('close', () => process.exit(0));
