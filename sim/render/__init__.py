"""From geometry to pictures and ranges: rasteriser, ray casting, light."""
