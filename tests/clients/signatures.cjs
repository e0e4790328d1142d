// Prints, for each request in the argument, whether Twilio's own validator takes its signature.
'use strict';

const { validateRequest } = require('twilio');

const requests = JSON.parse(process.argv[2]);
console.log(
  JSON.stringify(
    requests.map(({ token, signature, url, form }) => validateRequest(token, signature, url, form)),
  ),
);
