"""Scripts that try to break what must never break; each runs on its own, for a bounded time."""
