"""What the product does: short transactions joined by the outbox, with network calls only between them."""
