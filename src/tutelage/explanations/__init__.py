"""Explanations: where an image shows its class, as maps, as images, and as scores."""

from .activation import class_activation as class_activation
from .images import blurred as blurred
from .images import explained as explained
from .images import explanation_path as explanation_path
from .images import mask as mask
from .images import placed as placed
from .images import save_explanations as save_explanations
from .images import save_png as save_png
from .occluding import occlusion as occlusion
from .scores import entropy_scores as entropy_scores
