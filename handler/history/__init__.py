"""What is remembered of cards, accounts and devices between requests."""
