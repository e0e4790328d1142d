"""HTTP in Twilio's shape: parse, call one flow, render."""
