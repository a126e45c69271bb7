"""Which version serves: store, hot swap, shadow, signatures."""
