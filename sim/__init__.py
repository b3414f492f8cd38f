"""The simulator turns a control into the next world and the next observation.

It speaks only the nouns of ``roadloop`` and asks of what drives nothing but ``Driver``.
"""
