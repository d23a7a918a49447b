"""Log GPU memory through the loggers of Lightning, transformers and accelerate: one module for each."""
