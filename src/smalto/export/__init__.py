"""Adapters that put what smalto codes into other people's formats: Zarr and numcodecs."""
