#!/usr/bin/env python3
"""Golden numbers for tests/statistics.rs, from SciPy (pip install scipy; made with 1.17.1).

    python3 tools/study_statistics.py           writes tests/golden/statistics.json
    python3 tools/study_statistics.py --check   computes them again and compares with the file; ends with 1 if one differs

Each case is a pair of samples drawn from a seed, some with ties, zeros or no spread at all. Where SciPy has no exact
answer, the script counts: the sign flips of more than 20 differences (all are multiples of one unit), and Holm's
correction, which SciPy lacks. What our functions leave out is null: tests of one pair, and of differences that are all
the same and not 0 (SciPy: t infinite, p 0).
"""
import json
import math
import sys
from pathlib import Path

import numpy as np
import scipy
from scipy import optimize, special, stats

FILE = Path(__file__).resolve().parent.parent / "tests/golden/statistics.json"
# Largest difference, relative or absolute, between two versions of SciPy.
TOLERANCE = 1e-10
# As in the Rust code.
EXACT_RANKS_UP_TO = 50


def interval(values):
    """Ends of the 95 % interval of the mean."""
    if len(values) < 2:
        return None
    error = stats.sem(values)
    if error == 0:
        return [values[0], values[0]]
    return list(stats.t.interval(0.95, len(values) - 1, np.mean(values), error))


def described(values):
    return {"mean": np.mean(values), "sd": np.std(values, ddof=1) if len(values) > 1 else None,
            "interval": interval(values)}


def wilcoxon(d):
    kept = d[d != 0]
    tied = len(np.unique(np.abs(kept))) < len(kept)
    if len(kept) == 0:
        return {"statistic": 0.0, "p": 1.0, "exact": True}
    if len(kept) > EXACT_RANKS_UP_TO:
        method = "asymptotic"
    elif tied:
        # Beyond this SciPy would have to draw.
        assert len(kept) <= 16, "too many ties to flip them all"
        method = stats.PermutationMethod(n_resamples=np.inf, batch=4096)
    else:
        method = "exact"
    found = stats.wilcoxon(kept, zero_method="wilcox", correction=False, method=method)
    return {"statistic": found.statistic, "p": found.pvalue, "exact": method != "asymptotic"}


def permutation(d, unit):
    if len(d) <= 16:
        found = stats.permutation_test((d,), lambda x, axis: np.mean(x, axis=axis), permutation_type="samples",
                                       vectorized=True, n_resamples=np.inf, batch=4096)
        return found.pvalue
    # Ways to reach each sum of the flipped differences, in units; from -total to total in steps of two.
    steps = [round(abs(x) / unit) for x in d]
    assert np.allclose(np.array(steps) * unit, np.abs(d), rtol=0, atol=unit * 1e-6)
    ways = np.ones(1)
    for k in steps:
        wider = np.zeros(len(ways) + k)
        wider[:len(ways)] += ways / 2
        wider[k:] += ways / 2
        ways = wider
    sums = 2 * np.arange(len(ways)) - sum(steps)
    return float(ways[np.abs(sums) >= abs(round(sum(d) / unit))].sum())


def pair(name, ours, reference, unit):
    ours, reference = np.array(ours), np.array(reference)
    # What is the same but for rounding is the same.
    d = np.round(ours - reference, 12)
    n = len(d)
    case = {"name": name, "ours": ours.tolist(), "reference": reference.tolist(), "difference": described(d),
            "t_test": None, "wilcoxon": None, "permutation_p": None, "effect": None}
    if n < 2:
        return case
    case["wilcoxon"], case["permutation_p"] = wilcoxon(d), permutation(d, unit)
    constant = np.ptp(d) == 0
    if not constant:
        found = stats.ttest_rel(ours, reference)
        case["t_test"] = {"t": found.statistic, "df": found.df, "p": found.pvalue}
        low, high = found.confidence_interval(0.95)
        assert np.allclose([low, high], case["difference"]["interval"], rtol=1e-9), name
    elif d[0] == 0:
        case["t_test"] = {"t": 0.0, "df": n - 1, "p": 1.0}
    if n > 2 and not constant:
        m = n - 1
        correction = math.exp(special.gammaln(m / 2) - special.gammaln((m - 1) / 2)) / math.sqrt(m / 2)
        case["effect"] = correction * np.mean(d) / np.std(d, ddof=1)
    elif n > 2 and d[0] == 0:
        case["effect"] = 0.0
    return case


def pairs():
    rng = np.random.default_rng(12_345)
    # Accuracies in steps of 0.0001, differences of mean `shift` and deviation 0.008.
    for n, shift in [(1, 0.01), (2, 0.01), (3, 0.0), (3, -0.02), (5, 0.0), (5, -0.01), (5, -0.05), (8, 0.01), (12, -0.004),
                     (16, 0.006), (20, 0.002), (25, 0.004), (40, 0.002), (50, 0.003), (60, -0.002), (100, 0.001)]:
        reference = np.round(0.6 + 0.006 * rng.standard_normal(n), 4)
        steps = np.round((shift + 0.008 * rng.standard_normal(n)) * 1e4).astype(int)
        if n <= EXACT_RANKS_UP_TO and len({0, *abs(steps)}) <= n:
            # A tie or a zero, where SciPy's exact distribution is asked for: other steps.
            steps = rng.permutation(np.arange(1, n + 1) * 3) * rng.choice([-1, 1], n, p=[0.4, 0.6])
        yield pair(f"{n} pairs, shift {shift}", np.round(reference + steps * 1e-4, 4), reference, 1e-4)
    # Multiples of 1/128, so that there are ties and zeros.
    for n, most, shift in [(2, 1, 0), (5, 2, 1), (6, 3, 0), (9, 3, 1), (14, 4, 1), (16, 9, 2), (60, 5, 1), (80, 3, 0)]:
        reference = rng.integers(60, 90, n) / 128
        ours = reference + (rng.integers(-most, most + 1, n) + shift) / 128
        yield pair(f"{n} pairs with ties and zeros", ours, reference, 1 / 128)
    # Images of 7,178: differences of counts, with ties that rounding hides.
    for n in [5, 10]:
        hits = rng.integers(2000, 6000, n)
        yield pair(f"{n} pairs of counts", (hits + rng.integers(-3, 6, n) * 10) / 7178, hits / 7178, 1 / 7178)
    for n in [2, 3, 5, 16]:
        reference = rng.integers(60, 90, n) / 128
        yield pair(f"{n} pairs, all equal", reference, reference, 1 / 128)
        yield pair(f"{n} pairs, all 3/128 apart", reference + 3 / 128, reference, 1 / 128)


def holm(p):
    """Holm's step-down correction, straight from its definition."""
    order = sorted(range(len(p)), key=lambda i: p[i])
    adjusted = [0.0] * len(p)
    for rank, i in enumerate(order):
        adjusted[i] = max(min(1.0, (len(p) - k) * p[order[k]]) for k in range(rank + 1))
    return adjusted


def detectable(n, level):
    """Mean of n paired differences, in their deviations, that a t-test finds in four of five studies."""
    limit = stats.t.isf(level / 2, n - 1)
    # The square of noncentral t.
    power = lambda shift: stats.ncf.sf(limit**2, 1, n - 1, shift**2)
    return optimize.brentq(lambda shift: power(shift) - 0.8, 0, 3 * limit, xtol=1e-13, rtol=1e-13) / math.sqrt(n)


def golden():
    rng = np.random.default_rng(54_321)
    samples = [np.round(0.6 + 0.01 * rng.standard_normal(n), 5) for n in [1, 2, 3, 5, 10, 30]] + [np.full(4, 0.1)]
    families = [np.round(rng.random(m) ** 3, 6).tolist() for m in [1, 2, 5, 13]] + [[0.01, 0.01, 0.02, 0.5, 0.5], [0.0, 1.0]]
    degrees = [1, 2, 3, 4, 5, 7, 9, 14, 19, 29, 49, 99]
    values = {
        "made_with": f"scipy {scipy.__version__}",
        "samples": [{"values": s.tolist(), **described(s)} for s in samples],
        "pairs": list(pairs()),
        "student": [[t, df, 2 * stats.t.sf(t, df)] for df in degrees for t in [0.01, 0.5, 1.0, 2.0, 3.5, 10.0]],
        "quantiles": [[p, df, stats.t.isf(p / 2, df)] for df in degrees for p in [0.05, 0.05 / 13]],
        "normal": [[z, 2 * stats.norm.sf(z)] for z in [0.0, 0.1, 0.5, 1.0, 1.96, 3.0, 5.0, 8.0]],
        "detectable": [[n, level, detectable(n, level)] for n in [3, 4, 5, 8, 10, 20, 50] for level in [0.05, 0.05 / 13]],
        "holm": [{"p": p, "adjusted": holm(p)} for p in families],
    }
    # NumPy's numbers as plain ones.
    return json.loads(json.dumps(values, default=lambda v: v.item(), allow_nan=False))


def differences(path, found, kept):
    """Where `found` and `kept` differ by more than the tolerance."""
    if isinstance(found, dict) and isinstance(kept, dict) and list(found) == list(kept):
        return [d for key in found if key != "made_with" for d in differences(f"{path}.{key}", found[key], kept[key])]
    if isinstance(found, list) and isinstance(kept, list) and len(found) == len(kept):
        return [d for i in range(len(found)) for d in differences(f"{path}[{i}]", found[i], kept[i])]
    numbers = all(isinstance(v, (int, float)) and not isinstance(v, bool) for v in (found, kept))
    same = abs(found - kept) <= TOLERANCE * max(1e-3, abs(kept)) if numbers else found == kept
    return [] if same else [f"{path}: {found!r} now, {kept!r} in the file"]


def main():
    if sys.argv[1:] not in ([], ["--check"]):
        sys.exit("tools/study_statistics.py [--check]")
    now = golden()
    counts = ", ".join(f"{len(v)} {k}" for k, v in now.items() if isinstance(v, list))
    if not sys.argv[1:]:
        rows = [f'"{k}": ' + (json.dumps(v) if isinstance(v, str) else
                              "[\n" + ",\n".join(json.dumps(row) for row in v) + "\n]") for k, v in now.items()]
        FILE.write_text("{\n" + ",\n".join(rows) + "\n}\n")
        print(f"{FILE.name}: {counts}")
        return
    faults = differences("", now, json.loads(FILE.read_text()))
    print("\n".join(faults) or f"{FILE.name}: {counts}, as {now['made_with']} computes them")
    sys.exit(1 if faults else 0)


if __name__ == "__main__":
    main()
