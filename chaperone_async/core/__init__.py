"""The decisions. Pure: no clock, no OS, no randomness, no logging; values in, values out."""
