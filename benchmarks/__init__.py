"""How fast the supervisor recovers, starts, answers and idles, beside supervisord and a bare asyncio loop."""
