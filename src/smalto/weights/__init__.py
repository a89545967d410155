"""The weights that come with the package, and the record of what each is: ``index.json``."""

from smalto.weights.index import SystemRecord, WeightFile, installed_systems, system_record

__all__ = ["SystemRecord", "WeightFile", "installed_systems", "system_record"]
