"""From a packaged bundle to production."""
