// Reads a JSON array of texts a line, and answers each line with how many segments Twilio's calculator makes of each.
'use strict';

const readline = require('node:readline');
const { SegmentedMessage } = require('sms-segments-calculator');

readline.createInterface({ input: process.stdin }).on('line', (line) => {
  const texts = JSON.parse(line);
  console.log(JSON.stringify(texts.map((text) => new SegmentedMessage(text).segmentsCount)));
});
