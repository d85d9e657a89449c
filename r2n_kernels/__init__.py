"""Res2Net inference: folded, fused, held to timm's outputs."""
