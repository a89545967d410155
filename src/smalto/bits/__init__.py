"""The integer world: CDF tables, the rANS coder and the .smalto file. No torch here."""
