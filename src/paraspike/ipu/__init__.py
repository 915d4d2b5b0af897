"""The IPU: its tiles, the sparse program that runs on them, and what that costs."""
