"""From an audit and its review to a data set with corrected masks, and a record of what was changed and why."""
