// Every operation of Proxy, by whatever age of Twilio's Node client NODE_PATH leads to. Not a test: test_ages.py
// starts it. What it is given and what it prints is as in scenario.py, whose twin it is.
//
// Everything is named by its SID, never taken as it came from create or list: in 6.1 and 6.2 such an instance does not
// know its own SID, and every method of it throws.
'use strict';

const assert = require('node:assert/strict');
const fs = require('node:fs');
const path = require('node:path');
const twilio = require('twilio');
const { version } = require('twilio/package.json');

const given = JSON.parse(process.argv[2]);
const VERBS = { ListInstance: ['create', 'list'], ContextImpl: ['fetch', 'update', 'remove'] };
const CALLBACKS = ['callbackUrl', 'interceptCallbackUrl', 'outOfSessionCallbackUrl'];
const EXPIRY = new Date('2099-07-30T20:00:00Z');
const DAY_MS = 24 * 60 * 60 * 1000;

const say = (what) => console.log(JSON.stringify(what));

// What this client can do, as it is found in its classes.
function abilities(api) {
  const root = path.join(path.dirname(require.resolve('twilio/package.json')), 'lib/rest/proxy/v1');
  const found = new Set();
  for (const file of fs.readdirSync(root, { recursive: true }).filter((each) => each.endsWith('.js'))) {
    for (const [name, value] of Object.entries(require(path.join(root, file)))) {
      for (const [kind, verbs] of Object.entries(VERBS).filter(([each]) => name.endsWith(each))) {
        const able = kind === 'ListInstance' ? value(api, 'x', 'x', 'x') : value.prototype;
        for (const verb of verbs.filter((each) => able[each])) {
          const title = verb === 'remove' ? 'Delete' : verb[0].toUpperCase() + verb.slice(1);
          found.add(title + name.slice(0, -kind.length));
        }
      }
    }
  }
  return [...found].sort();
}

async function operation(op, steps) {
  try {
    await steps();
  } catch (error) {
    say({ op, ok: false, detail: error.stack });
    process.exit(1);
  }
  say({ op, ok: true, detail: '' });
}

const sidsOf = (rows) => rows.map((row) => row.sid);

// The list begins with these, asked for at once, one by one, and page by page.
async function checkList(listing, ...newestFirst) {
  const sids = sidsOf(newestFirst);
  const limit = sids.length;
  assert.deepEqual(sidsOf(await listing.list({ limit })), sids);
  assert.deepEqual(sidsOf(await listing.list({ limit, pageSize: 1 })), sids);
  let page = await listing.page({ pageSize: 1 });
  assert.deepEqual(sidsOf(page.instances), sids.slice(0, 1));
  for (const sid of sids.slice(1)) {
    page = await page.nextPage();
    assert.deepEqual(sidsOf(page.instances), [sid]);
  }
}

// All that was read from the server is equal.
const checkSame = (one, other) => assert.deepEqual(one.toJSON(), other.toJSON());

const checkGone = (context) => assert.rejects(context.fetch(), { status: 404, code: 20404 });

// The message as it is once it has left the outbox.
async function sent(messages, message) {
  const deadline = Date.now() + 30_000;
  while (!['sent', 'delivered'].includes(message.outboundResourceStatus)) {
    assert.ok(Date.now() < deadline, message.outboundResourceStatus);
    await new Promise((resolve) => setTimeout(resolve, 20));
    message = await messages(message.sid).fetch();
  }
  return message;
}

async function main() {
  const client = twilio(given.account_sid, given.token);
  say({ client: 'node', version, can: abilities(client.proxy.v1) });
  client.proxy.baseUrl = given.url;
  const services = client.proxy.v1.services;
  const name = `node ${version} ${given.numbers[0]} ☃`;
  let fields, service, laterService, changed;

  await operation('CreateService', async () => {
    fields = {
      uniqueName: name,
      defaultTtl: 3600,
      geoMatchLevel: 'radius',
      numberSelectionBehavior: 'avoid-sticky',
      chatInstanceSid: `IS${'0'.repeat(32)}`,
    };
    for (const url of CALLBACKS) fields[url] = `https://example.com/${url}?a=1&b=2`;
    service = await services.create(fields);
    for (const field in fields) assert.equal(service[field], fields[field]);
    assert.ok(service.dateCreated instanceof Date && !Number.isNaN(service.dateCreated.getTime()));
    laterService = await services.create({ uniqueName: `${name} later` });
  });
  await operation('FetchService', async () => {
    checkSame(await services(service.sid).fetch(), service);
    checkSame(await services.get(service.sid).fetch(), service);
  });
  await operation('ListService', () => checkList(services, laterService, service));
  await operation('UpdateService', async () => {
    const cleared = Object.fromEntries(CALLBACKS.map((url) => [url, '']));
    changed = await services(service.sid).update({ geoMatchLevel: 'country', ...cleared });
    assert.equal(changed.geoMatchLevel, 'country');
    for (const url of CALLBACKS) assert.equal(changed[url], null);
    assert.equal(changed.defaultTtl, 3600);
  });

  const { phoneNumbers: numbers, shortCodes, sessions } = services(service.sid);
  let number, spare;
  await operation('CreatePhoneNumber', async () => {
    number = await numbers.create({ phoneNumber: given.numbers[0] });
    spare = await numbers.create({ phoneNumber: given.numbers[1] });
    assert.equal(number.phoneNumber, given.numbers[0]);
    assert.deepEqual([number.isoCountry, number.inUse, number.isReserved], ['US', 0, false]);
    assert.equal(number.capabilities.sms, true);
  });
  await operation('FetchPhoneNumber', async () => checkSame(await numbers(number.sid).fetch(), number));
  await operation('ListPhoneNumber', () =>
    checkList(numbers, ...[number, spare].sort((one, other) => (one.sid < other.sid ? 1 : -1))),
  );
  await operation('UpdatePhoneNumber', async () => {
    assert.equal((await numbers(spare.sid).update({ isReserved: true })).isReserved, true);
  });
  await operation('DeletePhoneNumber', async () => {
    assert.equal(await numbers(spare.sid).remove(), true);
    await checkGone(numbers(spare.sid));
    const again = await numbers.create({ sid: spare.sid, isReserved: true });
    assert.deepEqual([again.phoneNumber, again.isReserved], [spare.phoneNumber, true]);
  });

  if (shortCodes) {
    let shortCode;
    await operation('CreateShortCode', async () => {
      shortCode = await shortCodes.create({ sid: given.short_code_sid });
      assert.equal(shortCode.sid, given.short_code_sid);
      assert.equal(shortCode.isReserved, false);
    });
    await operation('FetchShortCode', async () => checkSame(await shortCodes(shortCode.sid).fetch(), shortCode));
    await operation('ListShortCode', () => checkList(shortCodes, shortCode));
    await operation('UpdateShortCode', async () => {
      assert.equal((await shortCodes(shortCode.sid).update({ isReserved: true })).isReserved, true);
    });
    await operation('DeleteShortCode', async () => {
      assert.equal(await shortCodes(shortCode.sid).remove(), true);
      await checkGone(shortCodes(shortCode.sid));
    });
  }

  let session, laterSession;
  await operation('CreateSession', async () => {
    fields = { uniqueName: 'one / two', ttl: 600, mode: 'message-only', status: 'open', dateExpiry: EXPIRY };
    session = await sessions.create(fields);
    for (const field in fields) assert.deepEqual(session[field], fields[field]);
    assert.equal(session.dateStarted, null);
    laterSession = await sessions.create({
      participants: [
        { Identifier: given.people[0], FriendlyName: 'Ann & Co' },
        { Identifier: given.people[1], ProxyIdentifier: spare.phoneNumber },
      ],
    });
    const made = await sessions(laterSession.sid).participants.list();
    assert.deepEqual(Object.fromEntries(made.map((each) => [each.identifier, each.friendlyName])), {
      [given.people[0]]: 'Ann & Co',
      [given.people[1]]: null,
    });
    assert.equal(await sessions(laterSession.sid).remove(), true);
    laterSession = await sessions.create();
  });
  await operation('FetchSession', async () => {
    checkSame(await sessions(session.sid).fetch(), session);
    checkSame(await sessions.get(session.sid).fetch(), session);
  });
  await operation('ListSession', () => checkList(sessions, laterSession, session));
  await operation('UpdateSession', async () => {
    const dateExpiry = new Date(EXPIRY.getTime() + DAY_MS);
    changed = await sessions(session.sid).update({ ttl: 900, dateExpiry, status: 'in-progress' });
    assert.deepEqual([changed.ttl, changed.status, changed.dateExpiry], [900, 'in-progress', dateExpiry]);
    const closed = await sessions(laterSession.sid).update({ status: 'closed' });
    assert.deepEqual([closed.status, closed.closedReason], ['closed', 'api']);
    assert.ok(closed.dateEnded instanceof Date);
  });

  const { participants: people, interactions } = sessions(session.sid);
  let ann, bob;
  await operation('CreateParticipant', async () => {
    ann = await people.create({ identifier: given.people[0], friendlyName: 'Ann' });
    assert.deepEqual([ann.identifier, ann.friendlyName, ann.dateDeleted], [given.people[0], 'Ann', null]);
    assert.deepEqual([ann.proxyIdentifier, ann.proxyIdentifierSid], [number.phoneNumber, number.sid]);
    bob = await people.create({ identifier: given.people[1], proxyIdentifierSid: spare.sid });
    assert.equal(bob.proxyIdentifier, spare.phoneNumber);
  });
  await operation('FetchParticipant', async () => checkSame(await people(ann.sid).fetch(), ann));
  await operation('ListParticipant', () => checkList(people, bob, ann));

  const messages = people(ann.sid).messageInteractions;
  let first, second;
  await operation('CreateMessageInteraction', async () => {
    first = await sent(messages, await messages.create({ body: 'first & ☃' }));
    second = await sent(messages, await messages.create({ body: 'second & ☃' }));
    assert.deepEqual(JSON.parse(first.data), { body: 'first & ☃' });
    assert.deepEqual([first.outboundParticipantSid, first.participantSid], [ann.sid, ann.sid]);
    assert.deepEqual([first.type, first.inboundParticipantSid], ['message', null]);
  });
  await operation('FetchMessageInteraction', async () => {
    const fetched = await messages(first.sid).fetch();
    assert.deepEqual([fetched.sid, fetched.data], [first.sid, first.data]);
    assert.equal(fetched.outboundResourceSid, first.outboundResourceSid);
  });
  await operation('ListMessageInteraction', () => checkList(messages, second, first));

  let interaction;
  await operation('FetchInteraction', async () => {
    interaction = await interactions(first.sid).fetch();
    assert.deepEqual([interaction.sid, interaction.data, interaction.type], [first.sid, first.data, 'message']);
  });
  await operation('ListInteraction', () => checkList(interactions, second, first));
  await operation('DeleteInteraction', async () => {
    assert.equal(await interactions(first.sid).remove(), true);
    await checkGone(interactions(first.sid));
  });

  await operation('DeleteParticipant', async () => {
    assert.equal(await people(bob.sid).remove(), true);
    assert.ok((await people(bob.sid).fetch()).dateDeleted instanceof Date);
  });
  await operation('DeleteSession', async () => {
    assert.equal(await sessions(session.sid).remove(), true);
    await checkGone(sessions(session.sid));
  });
  await operation('DeleteService', async () => {
    assert.equal(await services(service.sid).remove(), true);
    assert.equal(await services(laterService.sid).remove(), true);
    await checkGone(services(service.sid));
  });
}

main();
