#!/usr/bin/env python3
"""Golden numbers for src/kernels/scores.rs and calibration.rs, from scikit-learn 1.9.1 and NumPy (pip install scikit-learn).

The samples come from a linear congruential generator (seed 12,345) that the Rust test repeats; probabilities are
multiples of 1/64, so that there are ties and both sides have the same floats.
"""
import numpy as np
import sklearn
from sklearn.metrics import (accuracy_score, confusion_matrix, f1_score, precision_recall_fscore_support,
                             roc_auc_score)

state = 12_345


def draw(n):
    global state
    state = (state * 1_664_525 + 1_013_904_223) % 2**32
    return (state >> 16) % n


probabilities, labels = [], []
for _ in range(200):
    label = draw(7)
    counts = [1] * 7
    for _ in range(57):
        counts[label if draw(16) == 0 else draw(7)] += 1
    probabilities.append([c / 64 for c in counts])
    labels.append(label)
p, y = np.array(probabilities), np.array(labels)
best = p.argmax(axis=1)
classes = list(range(7))
precision, recall, f1, n = precision_recall_fscore_support(y, best, labels=classes, zero_division=0)
print("scikit-learn", sklearn.__version__)
print("accuracy", repr(accuracy_score(y, best)))
print("macro_f1", repr(f1_score(y, best, labels=classes, average="macro", zero_division=0)))
print("roc_auc", repr(roc_auc_score(y, p, multi_class="ovr", average="macro")))
for row in zip(n, precision, recall, f1):
    print("class (%d, %r, %r, %r)" % (row[0], *map(float, row[1:])))
print("confusion", confusion_matrix(y, best, labels=classes).tolist())
# Two classes: the first three against the others.
two, truth = np.stack([p[:, :3].sum(axis=1), p[:, 3:].sum(axis=1)], axis=1), (y >= 3).astype(int)
confidence, hit = two.max(axis=1), two.argmax(axis=1) == truth
print("two classes: accuracy", repr(float(hit.mean())), "mean confidence", repr(float(confidence.mean())))
for bins in (15, 16):
    of = np.digitize(confidence, np.arange(bins + 1) / bins, right=True)
    gaps = [abs(hit[of == b].mean() - confidence[of == b].mean()) * (of == b).mean() for b in np.unique(of)]
    print("calibration error,", bins, "bins", repr(float(sum(gaps))))
