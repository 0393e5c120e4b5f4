"""The HTTP face. Only `listen`, `face`, `access` and `passwords` may be imported before the first workers run: they
need nothing but the standard library; the rest brings aiohttp."""
