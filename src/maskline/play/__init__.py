"""Scenes played through the real HTTP API: people with virtual handsets, and a customer's server beside them.

`client` talks to the server, `conversation` is what the people do, `picture` how their handsets look, `customer` the
customer's server, `scenes` what is played. It is a client: nothing here knows how the server works.
"""
