"""Every error smalto raises on purpose.

::

    SmaltoError                      exit code 1
    ├── UsageError                   exit code 2: the call is wrong (also a ValueError)
    ├── ImageError                   exit code 3: a picture cannot be read or is out of limits
    ├── WeightsError                 weights are missing, or are not what their digest says
    ├── MissingSpace                 a file names a space, codec or task that is not installed
    ├── MissingExtra                 an optional dependency is needed; names the command that installs it
    ├── TrainingError                a training run cannot start, resume or go on
    ├── ProfileError                 exit code 3: a feature profile cannot be read or does not hold together
    ├── FeatureFileError             exit code 3: a file of features is damaged or holds something else
    └── PacketError                  exit code 3: the bytes are not a healthy .smalto file
        ├── NotAPacket               magic does not match
        ├── UnsupportedVersion       a later format version, or an unknown critical section
        ├── DamagedPacket            a checksum, length or bound does not hold
        ├── LimitExceeded            healthy, but larger than the reader's limits
        └── DecodeMismatch           checksums hold, the entropy decoder's final state does not
"""


class SmaltoError(Exception):
    """Base of every deliberate error. The message is one line: what is wrong, where, and what to do."""

    exit_code = 1


class UsageError(SmaltoError, ValueError):
    """The caller asked for something that cannot be: an unknown name, a value out of range."""

    exit_code = 2


class ImageError(SmaltoError, ValueError):
    """A picture cannot be read, or its kind or size is refused."""

    exit_code = 3


class WeightsError(SmaltoError):
    """Weights are missing, or their digest is not the one that is recorded."""


class MissingSpace(SmaltoError):
    """A file names a space, codec or task that this installation does not have."""


class MissingExtra(SmaltoError, ImportError):
    """An optional dependency is needed and is not installed."""


class TrainingError(SmaltoError):
    """A training run cannot start, resume or go on."""


class ProfileError(SmaltoError, ValueError):
    """A feature profile cannot be read, or what it holds is not a profile."""

    exit_code = 3


class FeatureFileError(SmaltoError, ValueError):
    """A file of features is damaged, or holds something that is not features."""

    exit_code = 3


class PacketError(SmaltoError, ValueError):
    """The bytes are not a healthy .smalto file."""

    exit_code = 3


class NotAPacket(PacketError):
    """The bytes do not start with the magic of a .smalto file."""


class UnsupportedVersion(PacketError):
    """The file was written by a later version of the format, or has an unknown critical section."""


class DamagedPacket(PacketError):
    """A checksum, a length or a bound does not hold."""


class LimitExceeded(PacketError):
    """The file is healthy as far as it was read, but larger than the reader's limits."""


class DecodeMismatch(PacketError):
    """Checksums hold, yet the entropy decoder does not end in its initial state."""
