"""The synthetic transactions and refunds that the repository ships."""
