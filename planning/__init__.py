"""Planning turns tracks, lights, a map and a route into a trajectory and a control.

It speaks only the nouns of ``roadloop`` and knows neither perception nor simulator.
"""
