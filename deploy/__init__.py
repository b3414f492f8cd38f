"""Deploy composes perception and planning into the driver that is evaluated and shipped.

It may use perception and planning, and never the simulator or training.
"""
