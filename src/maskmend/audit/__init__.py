"""Which masks are wrong, where, and how sure that is: checks, judges, findings, suggestions, a report."""
