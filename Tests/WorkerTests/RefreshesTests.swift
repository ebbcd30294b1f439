/// Refreshes, from being asked for to their end.
