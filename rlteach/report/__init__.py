"""From rows of results to judgement: statistics, tables, figures, and one HTML page."""
