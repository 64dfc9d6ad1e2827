"""Diagrams of single models: what goes where, and the shape of each tensor on its way."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

from mmtutor.plotting.style import COLOURS, STYLE

BLUE, ORANGE, GREEN = COLOURS[:3]
# What a box is: data are grey, networks blue, what a paper adds orange, and what is compared is white.
KINDS = {"data": ("0.88", "black"), "network": (BLUE, "white"), "new": (ORANGE, "black"), "loss": ("white", "black")}

Boxes = Mapping[str, tuple[float, float, str, str]]  # name to the centre, the text and the kind
Arrows = Sequence[tuple[str, str]]  # from one name to another; one that begins with ~ is dashed


def captioning_diagram() -> Figure:
    """One step of Show, Attend and Tell (Xu and others, 2015)."""
    boxes = {
        "image": (0.9, 3.0, "image\n(B, 3, H, W)", "data"),
        "encoder": (2.6, 3.0, "encoder", "network"),
        "regions": (4.3, 3.0, "regions a\n(B, L, D)", "data"),
        "attention": (6.2, 3.0, "attention\nα (B, L)", "new"),
        "context": (8.2, 3.0, "context z\nβ Σ α a\n(B, D)", "new"),
        "word": (4.3, 0.6, "last word\nE y (B, E)", "data"),
        "lstm": (8.2, 0.6, "LSTM", "network"),
        "before": (6.2, 1.55, "state before\nh (B, H)", "data"),
        "state": (10.0, 0.6, "state h\n(B, H)", "data"),
        "next": (10.0, 3.0, "p(next word)\n(B, V)", "data"),
    }
    arrows = [
        ("image", "encoder"), ("encoder", "regions"), ("regions", "attention"), ("attention", "context"),
        ("before", "attention"), ("before", "lstm"), ("word", "lstm"), ("context", "lstm"), ("lstm", "state"),
        ("state", "next"), ("context", "next"),
    ]  # fmt: skip
    return _drawn("One step: attend, read, predict the next word", boxes, arrows, (10.9, 3.9))


def embedding_diagram() -> Figure:
    """Joint embedding: two encoders, one space, and the similarities of a batch."""
    boxes = {
        "picture": (1.0, 3.2, "pictures\n(B, 3, H, W)", "data"),
        "sentence": (1.0, 1.0, "sentences\n(B, T)", "data"),
        "f": (3.0, 3.2, "encoder f", "network"),
        "g": (3.0, 1.0, "encoder g", "network"),
        "a": (5.1, 3.2, "a, of length 1\n(B, d)", "new"),
        "b": (5.1, 1.0, "b, of length 1\n(B, d)", "new"),
        "s": (7.5, 2.1, "cosines\ns = a bᵀ\n(B, B)", "new"),
        "loss": (9.7, 2.1, "pairs high,\nthe rest low", "loss"),
    }
    arrows = [("picture", "f"), ("sentence", "g"), ("f", "a"), ("g", "b"), ("a", "s"), ("b", "s"), ("s", "loss")]
    return _drawn("Two encoders that meet in one space", boxes, arrows, (10.8, 4.2))


def answering_diagram() -> Figure:
    """Question answering: where the question meets the picture."""
    boxes = {
        "picture": (1.0, 4.2, "picture\n(B, 3, H, W)", "data"),
        "question": (1.0, 0.9, "question\n(B, T)", "data"),
        "grid": (3.0, 4.2, "image\nencoder", "network"),
        "gru": (3.0, 0.9, "GRU", "network"),
        "a": (5.1, 4.2, "regions a\n(B, L, D)", "data"),
        "q": (5.1, 0.9, "question q\n(B, Q)", "data"),
        "fusion": (7.8, 4.2, "fusion of two vectors\n[mean a; q]", "new"),
        "attention": (7.8, 2.55, "attention\nΣ p(q) v", "new"),
        "film": (7.8, 0.9, "FiLM\nγ(q) ⊙ F + β(q)", "new"),
        "answer": (10.3, 2.55, "p(answer)\n(B, C)", "data"),
    }
    ways = ("fusion", "attention", "film")
    arrows = [("picture", "grid"), ("grid", "a"), ("question", "gru"), ("gru", "q")]
    arrows += [(source, way) for source in "aq" for way in ways] + [(way, "answer") for way in ways]
    return _drawn("Three places at which a question can meet a picture", boxes, arrows, (11.2, 5.1))


def localisation_diagram() -> Figure:
    """Sound localisation: a map of cosines, pooled to one number for each picture and sound."""
    boxes = {
        "picture": (1.0, 3.2, "pictures\n(B, 3, H, W)", "data"),
        "sound": (1.0, 1.0, "log-mel\n(B, 1, F, T)", "data"),
        "f": (3.2, 3.2, "image\nencoder", "network"),
        "g": (3.2, 1.0, "audio\nencoder", "network"),
        "v": (5.2, 3.2, "regions v\n(B, L, d)", "new"),
        "h": (5.2, 1.0, "sound h\n(B, d)", "new"),
        "map": (7.2, 2.1, "maps m = v h\n(B, B, L)", "new"),
        "pool": (9.2, 2.1, "pooled S\n(B, B)", "new"),
        "loss": (11.0, 2.1, "pairs high,\nthe rest low", "loss"),
    }
    arrows = [
        ("picture", "f"), ("sound", "g"), ("f", "v"), ("g", "h"), ("v", "map"), ("h", "map"), ("map", "pool"),
        ("pool", "loss"),
    ]  # fmt: skip
    return _drawn("The map is a by-product of matching", boxes, arrows, (12.1, 4.2))


def workspace_diagram() -> Figure:
    """Two modules that were trained apart: messages about a category, and a workspace beside it."""
    boxes = {
        "picture": (1.0, 3.4, "pictures\n(B, 1, 28, 28)", "data"),
        "sound": (1.0, 1.5, "log-mel\n(B, 1, 32, 32)", "data"),
        "vae": (3.3, 3.4, "picture’s module:\na VAE", "network"),
        "pca": (3.3, 1.5, "voice’s module:\nPPCA", "network"),
        "v1": (5.6, 3.4, "codes v₁\n(B, 10)", "new"),
        "v2": (5.6, 1.5, "codes v₂\n(B, 16)", "new"),
        "m1": (8.3, 3.9, "message\nlog p(v₁ | c)", "new"),
        "m2": (8.3, 2.5, "message\nlog p(v₂ | c)", "new"),
        "c": (10.8, 3.2, "category\np(c | v₁, v₂)", "loss"),
        "s": (8.3, 0.8, "workspace s\n(B, k)", "loss"),
    }
    arrows = [
        ("picture", "vae"), ("sound", "pca"), ("vae", "v1"), ("pca", "v2"), ("v1", "m1"), ("v2", "m2"), ("m1", "c"),
        ("m2", "c"), ("v1", "s"), ("v2", "s"),
    ]  # fmt: skip
    return _drawn("Modules trained apart, joined by messages or by a workspace", boxes, arrows, (12.1, 4.8))


def text_to_image_diagram() -> Figure:
    """Text to image: the generator's picture is judged beside real pairs and wrong ones, each with its sentence."""
    boxes = {
        "noise": (1.0, 3.6, "noise z\n(B, Z)", "data"),
        "sentence": (1.0, 1.9, "sentence s\n(B, T)", "data"),
        "wrong": (5.2, 0.5, "wrong sentence s'\n(B, T)", "data"),
        "G": (3.0, 3.6, "generator", "network"),
        "fake": (5.2, 3.6, "drawn\n(B, 3, H, W)", "new"),
        "real": (5.2, 2.45, "real x\n(B, 3, H, W)", "data"),
        "pairs": (7.6, 1.9, "(x, s)\n(x, s')\n(drawn, s)", "new"),
        "D": (9.6, 1.9, "discriminator", "network"),
        "loss": (11.7, 1.9, "one logit:\na real pair?", "loss"),
    }
    arrows = [
        ("noise", "G"), ("sentence", "G"), ("G", "fake"), ("fake", "pairs"), ("real", "pairs"), ("wrong", "pairs"),
        ("pairs", "D"), ("D", "loss"), ("sentence", "pairs"),
    ]  # fmt: skip
    return _drawn("The discriminator is shown the sentence, too", boxes, arrows, (13.0, 4.3))


def mfm_diagram() -> Figure:
    """The Multimodal Factorization Model of two modalities (Tsai and others, 2019)."""
    boxes: dict[str, tuple[float, float, str, str]] = {
        "x1": (0.8, 4.0, "x₁", "data"), "x2": (0.8, 1.0, "x₂", "data"),
        "y": (9.2, 2.5, "ŷ\n(B, C)", "data"), "r1": (9.2, 4.0, "x̂₁", "data"), "r2": (9.2, 1.0, "x̂₂", "data"),
        "prior": (3.0, 5.4, "prior N(0, I) of all Z", "loss"),
    }  # fmt: skip
    for name, y, index in (("1", 4.0, "a1"), ("y", 2.5, "y"), ("2", 1.0, "a2")):
        kind = "new" if name == "y" else "network"
        boxes[f"Z{name}"] = (3.0, y, f"$Z_{{{index}}}$\n(B, z)", kind)
        boxes[f"F{name}"] = (5.0, y, f"$F_{{{index}}}$\n(B, f)", kind)
        boxes[f"D{name}"] = (7.1, y, {"1": "decoder 1", "y": "classifier", "2": "decoder 2"}[name], "network")
    arrows = [("x1", "Z1"), ("x2", "Z2"), ("x1", "Zy"), ("x2", "Zy"), ("~Z1", "prior"), ("Fy", "D1"), ("Fy", "D2")]
    arrows += [(f"Z{k}", f"F{k}") for k in "1y2"] + [(f"F{k}", f"D{k}") for k in "1y2"]
    arrows += [("D1", "r1"), ("Dy", "y"), ("D2", "r2")]
    return _drawn("$F_y$ holds what both modalities share, $F_a$ what one has alone", boxes, arrows, (10.0, 6.0))


def mfn_diagram() -> Figure:
    """One step of the Memory Fusion Network of two modalities (Zadeh and others, 2018)."""
    boxes = {
        "x1": (0.8, 3.6, "x₁ at t\n(B, d₁)", "data"), "x2": (0.8, 1.2, "x₂ at t\n(B, d₂)", "data"),
        "l1": (2.6, 3.6, "LSTM 1", "network"), "l2": (2.6, 1.2, "LSTM 2", "network"),
        "cells": (4.8, 2.4, "cells at t − 1 and t\n(B, 2 Σ h)", "data"),
        "attention": (7.3, 2.4, "attention ĉ\n(B, 2 Σ h)", "new"),
        "propose": (9.3, 3.6, "proposal û\n(B, m)", "network"),
        "gates": (9.3, 1.2, "gates γ₁, γ₂\n(B, m)", "network"),
        "before": (9.3, 2.4, "u before (B, m)", "data"),
        "memory": (11.4, 2.4, "memory\nγ₁ u + γ₂ û\n(B, m)", "new"),
    }  # fmt: skip
    arrows = [
        ("x1", "l1"), ("x2", "l2"), ("l1", "cells"), ("l2", "cells"), ("cells", "attention"), ("attention", "propose"),
        ("attention", "gates"), ("before", "gates"), ("before", "memory"), ("propose", "memory"), ("gates", "memory"),
    ]  # fmt: skip
    return _drawn("A memory watches what changes in all modalities at each step", boxes, arrows, (12.5, 4.4))


def students_diagram() -> Figure:
    """A teacher by iterative inference, and students that see one modality each (Oshima and others, 2024)."""
    boxes = {
        "all": (0.9, 3.2, "x₁, x₂", "data"),
        "start": (2.8, 3.2, "encoder\nof all", "network"),
        "lam": (4.8, 3.2, "λ = (μ, log σ)\n(B, 2 d)", "data"),
        "elbo": (4.8, 5.0, "ELBO and\nits gradient", "loss"),
        "refiner": (7.0, 4.1, "refiner\nT times", "new"),
        "teacher": (9.2, 3.2, "teacher\nq(z; λ at T)", "new"),
        "x1": (0.9, 1.7, "x₁ alone", "data"), "x2": (0.9, 0.5, "x₂ alone", "data"),
        "s1": (4.8, 1.7, "student q₁(z | x₁)", "network"), "s2": (4.8, 0.5, "student q₂(z | x₂)", "network"),
        "kl": (9.2, 1.1, "KL(teacher ‖ student)", "loss"),
    }  # fmt: skip
    arrows = [
        ("all", "start"), ("start", "lam"), ("lam", "elbo"), ("elbo", "refiner"), ("refiner", "lam"),
        ("lam", "teacher"), ("x1", "s1"), ("x2", "s2"), ("~s1", "kl"), ("~s2", "kl"), ("~teacher", "kl"),
    ]  # fmt: skip
    return _drawn("The teacher looks T times at everything, a student once at one modality", boxes, arrows, (10.8, 5.8))


def _drawn(title: str, boxes: Boxes, arrows: Arrows, size: tuple[float, float]) -> Figure:
    """Boxes at their places, and arrows from edge to edge."""
    with plt.rc_context(STYLE):
        figure, axis = plt.subplots(figsize=(0.78 * size[0], 0.78 * size[1]))
        axis.set(xlim=(0, size[0]), ylim=(0, size[1]), title=title)
        axis.axis("off")
        patches = {name: _box(axis, *box) for name, box in boxes.items()}
        for start, end in arrows:
            look: dict[str, Any] = {
                "arrowstyle": "->",
                "color": "0.3",
                "linestyle": "--" if start.startswith("~") else "-",
            }
            a, b = start.removeprefix("~"), end
            look |= {"patchA": patches[a], "patchB": patches[b], "shrinkA": 1, "shrinkB": 1}
            axis.annotate("", boxes[b][:2], boxes[a][:2], arrowprops=look)
    return figure


def _box(axis: Any, x: float, y: float, text: str, kind: str) -> FancyBboxPatch:
    face, ink = KINDS[kind]
    width = 0.3 + 0.115 * max(map(len, text.split("\n")))
    height = 0.25 + 0.27 * len(text.split("\n"))
    corner, line = (x - width / 2, y - height / 2), "--" if kind == "loss" else "-"
    box = FancyBboxPatch(corner, width, height, "round,pad=0.03", facecolor=face, edgecolor="0.3", linestyle=line)
    axis.add_patch(box)
    axis.text(x, y, text, ha="center", va="center", color=ink, size=9)
    return box
