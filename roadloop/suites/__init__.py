"""Suite runs after they were driven: results on disk, measures, summaries, comparisons."""
