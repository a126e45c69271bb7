"""Which bundle serves: store, swap, shadow, signatures."""
