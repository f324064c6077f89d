"""Experiments of the web app explain_teach: their images, teaching sequences and the answers of people, on disk.

Source: Mac Aodha, Su, Chen, Perona and Yue, "Teaching categories to human learners with visual explanations",
CVPR 2018, and its public code and data.
"""

from .experiment import Experiment as Experiment
from .formats import Session as Session
from .formats import Settings as Settings
from .formats import Strategy as Strategy
from .formats import TeachingImage as TeachingImage
from .joining import image_shifts as image_shifts
from .joining import item_names as item_names
