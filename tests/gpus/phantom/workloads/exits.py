"""Ends right after a backward pass, with the interpreter's lock held, so that autograd's thread cannot end before."""

import sys

import torch

x = torch.randn(3, device="cuda", requires_grad=True)
sys.setswitchinterval(100)
x.sum().backward()
