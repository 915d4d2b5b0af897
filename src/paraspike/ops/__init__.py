"""Operators: each folder holds the definition (reference.py) and its fast forms (cpu.py, cuda.py)."""
