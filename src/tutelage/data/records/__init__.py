"""Files of records: readers with random access, and writers whose files appear whole or not at all."""

from .cifar import CifarBinaryReader as CifarBinaryReader
from .crc import crc32c as crc32c
from .example import Feature as Feature
from .example import encode_example as encode_example
from .example import parse_example as parse_example
from .fixed_length import FixedLengthReader as FixedLengthReader
from .fixed_length import FixedLengthWriter as FixedLengthWriter
from .stream import iter_tfrecord as iter_tfrecord
from .table import CsvReader as CsvReader
from .text import TextLineReader as TextLineReader
from .tfrecord import TFRecordReader as TFRecordReader
from .tfrecord import TFRecordWriter as TFRecordWriter
