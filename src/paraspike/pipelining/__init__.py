"""Depth: layers on processors, delayed gradients; systolic cycles, task graph, schedules and their checker."""
