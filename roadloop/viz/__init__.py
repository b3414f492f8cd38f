"""Pictures: maps, frames and videos of drives, the HTML report."""
