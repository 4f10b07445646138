"""A real browser for tests: headless Chromium, driven over its debugging pipe."""
