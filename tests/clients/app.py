"""A program as somebody has it who uses Twilio Proxy: it knows of no other server.

Not a test: test_unchanged.py runs it, with a proxy number and two people's numbers.
"""

import json
import sys

from twilio.rest import Client

number, *people = sys.argv[1:]
client = Client()  # credentials from TWILIO_ACCOUNT_SID and TWILIO_AUTH_TOKEN

service = client.proxy.v1.services.create(unique_name=f"pizza delivery {number}")
client.proxy.v1.services(service.sid).phone_numbers.create(phone_number=number)
session = client.proxy.v1.services(service.sid).sessions.create(unique_name="order 1")
participants = client.proxy.v1.services(service.sid).sessions(session.sid).participants
for person in people:
    participant = participants.create(identifier=person)
    participants(participant.sid).message_interactions.create(body=f"Your courier writes from {number}.")

seen = [participant.identifier for participant in participants.list(page_size=1)]
sys.stdout.write(json.dumps({"url": session.url, "participants": seen}) + "\n")
