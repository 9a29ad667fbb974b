"""Methods under one protocol: scores, statistics, tables and figures, beside the numbers the papers report."""
