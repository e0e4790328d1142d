"""Scenes played through the real HTTP API, as an official client would play them.

`client` talks to the server, `conversation` is what people with virtual handsets do, `picture` how their handsets look.
It is a client: nothing here knows how the server works.
"""
