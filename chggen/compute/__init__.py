"""Devices and neighbour lists."""
