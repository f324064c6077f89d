"""tutelage: machine teaching in PyTorch.

A teacher weighs, labels, selects or synthesises what a student learns from. A step is always the same three verbs::

    lesson = teacher.teach(batch, student)
    teacher.learn(lesson, student, validation)
    student.study(lesson)
"""

__version__ = "0.1.0"

from .errors import TutelageError as TutelageError
from .frozen import Frozen as Frozen
from .lesson import Batch as Batch
from .lesson import Lesson as Lesson
from .rules import SGD as SGD
from .rules import Adam as Adam
from .rules import AdamW as AdamW
from .student import Student as Student
from .teacher import Teacher as Teacher
from .training import train as train
