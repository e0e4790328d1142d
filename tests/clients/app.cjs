// A program as somebody has it who uses Twilio Proxy: it knows of no other server. Not a test: test_unchanged.py runs
// it, with a proxy number and two people's numbers.
'use strict';

const twilio = require('twilio');

const [number, ...people] = process.argv.slice(2);
const client = twilio(); // credentials from TWILIO_ACCOUNT_SID and TWILIO_AUTH_TOKEN

async function main() {
  const service = await client.proxy.v1.services.create({ uniqueName: `pizza delivery ${number}` });
  await client.proxy.v1.services(service.sid).phoneNumbers.create({ phoneNumber: number });
  const session = await client.proxy.v1.services(service.sid).sessions.create({ uniqueName: 'order 1' });
  const participants = client.proxy.v1.services(service.sid).sessions(session.sid).participants;
  for (const identifier of people) {
    const { sid } = await participants.create({ identifier });
    await participants(sid).messageInteractions.create({ body: `Your courier writes from ${number}.` });
  }
  const seen = await participants.list({ pageSize: 1 });
  console.log(JSON.stringify({ url: session.url, participants: seen.map((each) => each.identifier) }));
}

main();
