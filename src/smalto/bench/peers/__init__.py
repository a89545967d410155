"""Other people's coders and codecs, for measuring ours beside them. Each is imported only when it is asked for."""
