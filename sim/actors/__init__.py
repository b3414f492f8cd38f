"""How road users look: low-poly models, colours, lamps."""
