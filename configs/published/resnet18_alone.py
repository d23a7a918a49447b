"""Put torchvision's ResNet-18 on the GPU, and nothing else."""

from torchvision import models

models.resnet18().cuda()
