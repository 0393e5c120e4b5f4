"""What a worker written in Python may import to talk to its supervisor: standard library only, and light."""
