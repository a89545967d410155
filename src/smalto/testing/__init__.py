"""The conformance suite: what any encoder, codec or head must keep so that a System can run it. Public.

Run it on your own parts, in a test of your own::

    from smalto.testing import check_codec, check_encoder, check_head

    def test_my_encoder():
        check_encoder(MyEncoder(), stride=16)

Every function returns None when the part keeps the rules and raises ``ConformanceError`` naming the first broken one.

========================  ==========================================================================
``check_encoder``         pictures or mosaics to one plane, or to the planes of the shared space
``check_head``            one plane to a picture
``check_picture_head``    planes of the shared space to a picture
``check_planes_head``     planes of the shared space to cleaner ones
``check_label_head``      planes of the shared space to class scores
``check_stereo_head``     planes of two views to disparities
``check_codec``           one plane, or the planes of the shared space, to bytes and back
``check_transform``       the learned pair of networks around a codec
========================  ==========================================================================
"""

from __future__ import annotations

from smalto.testing.codecs import ArchivingCodec, CodingCodec, TrainingCodec, check_codec, check_transform
from smalto.testing.encoders import check_encoder
from smalto.testing.heads import check_head, check_picture_head
from smalto.testing.plane_heads import check_label_head, check_planes_head, check_stereo_head
from smalto.testing.rules import ConformanceError, check_reach

__all__ = [
    "ArchivingCodec",
    "CodingCodec",
    "ConformanceError",
    "TrainingCodec",
    "check_codec",
    "check_encoder",
    "check_head",
    "check_label_head",
    "check_picture_head",
    "check_planes_head",
    "check_reach",
    "check_stereo_head",
    "check_transform",
]
