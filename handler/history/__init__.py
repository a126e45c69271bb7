"""The stores that remember cards, accounts and devices between requests."""
