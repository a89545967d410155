"""The weights that come with the package, and the record of what each is: ``index.json``."""

from smalto.weights.index import (
    Card,
    FeatureCodecRecord,
    SystemRecord,
    WeightFile,
    feature_codec_record,
    installed_feature_codecs,
    installed_systems,
    system_record,
)

__all__ = [
    "Card",
    "FeatureCodecRecord",
    "SystemRecord",
    "WeightFile",
    "feature_codec_record",
    "installed_feature_codecs",
    "installed_systems",
    "system_record",
]
