"""Vector unit: quantization, RMSNorm, RoPE, softmax, SwiGLU, sampling."""
