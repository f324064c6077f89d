"""Networks: plain ``nn.Module`` functions of the shape of an example and the number of classes."""

from .build import NAMES as NAMES
from .build import build as build
from .build import check_output as check_output
from .cnn import cifarnet as cifarnet
from .cnn import lenet as lenet
from .cnn import small_cnn as small_cnn
from .condensation import alexcifarnet as alexcifarnet
from .condensation import convnet as convnet
from .mentor_resnet import mentor_resnet as mentor_resnet
from .mlp import mlp as mlp
from .plain import plain as plain
from .resnet import projected_resnet as projected_resnet
from .resnet import resnet as resnet
from .vgg import vgg as vgg
from .weights import load_weights as load_weights
from .weights import save_weights as save_weights
from .wide_resnet import wide_resnet as wide_resnet
