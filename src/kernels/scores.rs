//! Scores of a classifier: accuracy, confusion matrix, precision, recall, F1 and the area under the ROC curve.
//!
//! Golden numbers from scikit-learn 1.9.1, made by `tools/golden_scores.py`.

use serde::{Deserialize, Serialize};

/// How well the probabilities of a classifier fit the labels; serializes to the object of `eval --json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Scores {
    /// Samples.
    pub n: usize,
    /// Part of the samples whose most probable class is their label; 0 without samples.
    pub accuracy: f64,
    /// Mean F1 over all classes (scikit-learn: `f1_score(average="macro", zero_division=0)`).
    pub macro_f1: f64,
    /// Mean over all classes of the area under the ROC curve of this class against the rest (scikit-learn:
    /// `roc_auc_score(multi_class="ovr", average="macro")`); `None` if a class has no sample or all of them.
    pub roc_auc: Option<f64>,
    /// Scores of each class.
    pub per_class: Vec<ClassScore>,
    /// Samples by true class (row) and most probable class (column).
    pub confusion: Vec<Vec<usize>>,
}

/// Scores of one class against the rest.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ClassScore {
    /// Name of the class.
    pub name: String,
    /// Samples of the class.
    pub n: usize,
    /// Hits / samples taken for this class; 0 if there are none.
    pub precision: f64,
    /// Hits / samples of this class; 0 if there are none.
    pub recall: f64,
    /// Harmonic mean `2 P R / (P + R)`; 0 for a class without samples, without predictions or without hits.
    pub f1: f64,
}

/// All scores of `probabilities (n, C)`, row by row, against `labels (n)`; `names (C)` are those of the classes.
///
/// The most probable class wins, see [`winner`].
///
/// # Panics
/// If the shapes do not fit, there is no class or a label is not below `C`.
pub fn score(names: &[&str], probabilities: &[f32], labels: &[u8]) -> Scores {
    let classes = names.len();
    assert!(classes > 0, "there must be a class");
    assert_eq!(probabilities.len(), labels.len() * classes, "probabilities must be (n, C)");
    assert!(labels.iter().all(|&l| usize::from(l) < classes), "labels must be below C");
    let confusion = confusion(probabilities, labels, classes);
    let taken = |class: usize| confusion.iter().map(|row| row[class]).sum::<usize>();
    let per_class: Vec<ClassScore> = names
        .iter()
        .enumerate()
        .map(|(class, name)| {
            let (n, taken, hits) = (confusion[class].iter().sum(), taken(class), confusion[class][class]);
            // 2 P R / (P + R) with P = hits / taken and R = hits / n.
            let f1 = ratio(2 * hits, taken + n);
            ClassScore { name: name.to_string(), n, precision: ratio(hits, taken), recall: ratio(hits, n), f1 }
        })
        .collect();
    Scores {
        n: labels.len(),
        accuracy: ratio((0..classes).map(|class| confusion[class][class]).sum(), labels.len()),
        macro_f1: per_class.iter().map(|c| c.f1).sum::<f64>() / classes as f64,
        roc_auc: roc_auc(probabilities, labels, classes),
        per_class,
        confusion,
    }
}

/// The most probable class of `row (C)`, of equal ones the first. A NaN never wins against the classes before it, and
/// nothing wins against a NaN.
pub fn winner(row: &[f32]) -> usize {
    (1..row.len()).fold(0, |best, class| if row[class] > row[best] { class } else { best })
}

/// Samples by true class (row) and most probable class (column), `(C, C)`, of `probabilities (n, C)` and `labels (n)`.
fn confusion(probabilities: &[f32], labels: &[u8], classes: usize) -> Vec<Vec<usize>> {
    let mut counts = vec![vec![0; classes]; classes];
    for (row, &label) in probabilities.chunks_exact(classes).zip(labels) {
        counts[usize::from(label)][winner(row)] += 1;
    }
    counts
}

/// Mean over the `classes` of the area under the ROC curve of that class against the rest, or `None` if a class has no
/// sample or all of them, or a probability is NaN: `probabilities (n, C)`, `labels (n)`.
fn roc_auc(probabilities: &[f32], labels: &[u8], classes: usize) -> Option<f64> {
    if probabilities.iter().any(|p| p.is_nan()) {
        return None;
    }
    let mut sum = 0.0;
    for class in 0..classes {
        let ranked = probabilities.chunks_exact(classes).zip(labels).map(|(p, &l)| (p[class], usize::from(l) == class));
        sum += area(&mut ranked.collect::<Vec<_>>())?;
    }
    Some(sum / classes as f64)
}

/// Area under the ROC curve of `(score, positive)` pairs, as the rank statistic of Mann and Whitney:
/// `(R - P (P + 1) / 2) / (P (n - P))`, with R the sum of the ranks of the P positives, ties sharing their mean rank.
///
/// `None` without positives or without negatives. Sorts `pairs`.
fn area(pairs: &mut [(f32, bool)]) -> Option<f64> {
    let positives = pairs.iter().filter(|(_, positive)| *positive).count() as u64;
    let negatives = pairs.len() as u64 - positives;
    if positives == 0 || negatives == 0 {
        return None;
    }
    pairs.sort_unstable_by(|a, b| a.0.total_cmp(&b.0));
    // Twice the sum of the ranks: ranks of ties are halves, and integers add up without error.
    let (mut twice_ranks, mut below) = (0u128, 0u64);
    for ties in pairs.chunk_by(|a, b| a.0 == b.0) {
        let hits = ties.iter().filter(|(_, positive)| *positive).count() as u64;
        let n = ties.len() as u64;
        twice_ranks += u128::from(hits) * u128::from(2 * below + n + 1);
        below += n;
    }
    let above = twice_ranks - u128::from(positives) * u128::from(positives + 1);
    Some(above as f64 / (2 * u128::from(positives) * u128::from(negatives)) as f64)
}

/// `part / whole`, 0 if there is no whole.
fn ratio(part: usize, whole: usize) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    const NAMES: [&str; 7] = ["a", "b", "c", "d", "e", "f", "g"];

    /// The samples of `tools/golden_scores.py`: multiples of 1/64, so that there are ties and no rounding.
    pub(in crate::kernels) fn golden_samples() -> (Vec<f32>, Vec<u8>) {
        let mut state = 12_345u32;
        let mut next = |n: u32| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 16) % n
        };
        let (mut probabilities, mut labels) = (Vec::new(), Vec::new());
        for _ in 0..200 {
            let label = next(7);
            let mut counts = [1u32; 7];
            for _ in 0..57 {
                let class = if next(16) == 0 { label } else { next(7) };
                counts[class as usize] += 1;
            }
            probabilities.extend(counts.map(|c| c as f32 / 64.0));
            labels.push(label as u8);
        }
        (probabilities, labels)
    }

    fn close(a: f64, b: f64) -> bool {
        (a - b).abs() < 1e-12
    }

    #[test]
    fn equals_scikit_learn() {
        let (probabilities, labels) = golden_samples();
        let s = score(&NAMES, &probabilities, &labels);
        assert!(close(s.accuracy, 0.545), "{}", s.accuracy);
        assert!(close(s.macro_f1, 0.5443247387970831), "{}", s.macro_f1);
        let area = s.roc_auc.expect("every class has samples");
        assert!(close(area, 0.8392828046211491), "{area}");
        let expected = [
            (31, 0.5135135135135135, 0.6129032258064516, 0.5588235294117647),
            (40, 0.5106382978723404, 0.6, 0.5517241379310345),
            (29, 0.4117647058823529, 0.4827586206896552, 0.4444444444444444),
            (28, 0.5517241379310345, 0.5714285714285714, 0.5614035087719298),
            (28, 0.8095238095238095, 0.6071428571428571, 0.6938775510204082),
            (18, 0.5714285714285714, 0.4444444444444444, 0.5),
            (26, 0.6111111111111112, 0.4230769230769231, 0.5),
        ];
        for (c, (n, precision, recall, f1)) in s.per_class.iter().zip(expected) {
            assert_eq!(c.n, n);
            assert!(close(c.precision, precision) && close(c.recall, recall) && close(c.f1, f1), "{c:?}");
        }
        assert_eq!(
            s.confusion,
            [
                [19, 5, 4, 1, 0, 0, 2],
                [2, 24, 6, 5, 1, 1, 1],
                [6, 3, 14, 0, 2, 2, 2],
                [3, 4, 2, 16, 1, 2, 0],
                [1, 5, 1, 2, 17, 1, 1],
                [1, 3, 2, 3, 0, 8, 1],
                [5, 3, 5, 2, 0, 0, 11]
            ]
        );
    }

    #[test]
    fn four_samples_worked_by_hand() {
        // Truth a a b b; taken for a b b b.
        let p = [0.9, 0.1, 0.4, 0.6, 0.3, 0.7, 0.2, 0.8];
        let s = score(&["a", "b"], &p, &[0, 0, 1, 1]);
        assert_eq!(s.confusion, [[1, 1], [0, 2]]);
        assert_eq!((s.n, s.accuracy), (4, 0.75));
        let per_class: Vec<_> = s.per_class.iter().map(|c| (c.n, c.precision, c.recall, c.f1)).collect();
        assert_eq!(per_class, [(2, 1.0, 0.5, 2.0 / 3.0), (2, 2.0 / 3.0, 1.0, 0.8)]);
        assert!(close(s.macro_f1, (2.0 / 3.0 + 0.8) / 2.0));
        // Both truths of `a` have more of `a` than both of `b`.
        assert_eq!(s.roc_auc, Some(1.0));
    }

    #[test]
    fn ties_share_their_rank() {
        let area = |pairs: &[(f32, bool)]| area(&mut pairs.to_vec());
        assert_eq!(area(&[(0.5, true), (0.5, false)]), Some(0.5));
        assert_eq!(area(&[(0.5, true), (0.5, false), (0.1, false), (0.9, true)]), Some(0.875));
        assert_eq!(area(&[(0.2, true), (0.8, false)]), Some(0.0));
        assert_eq!(area(&[(-0.0, true), (0.0, false)]), Some(0.5));
        assert_eq!(area(&[(0.5, true)]), None);
        assert_eq!(area(&[]), None);
    }

    #[test]
    fn a_class_without_samples_or_predictions_scores_zero() {
        let s = score(&NAMES[..3], &[0.8, 0.1, 0.1, 0.6, 0.3, 0.1], &[0, 1]);
        assert_eq!(s.per_class[1].f1, 0.0);
        assert_eq!((s.per_class[2].n, s.per_class[2].precision, s.per_class[2].f1), (0, 0.0, 0.0));
        assert!(close(s.macro_f1, (2.0 / 3.0) / 3.0));
        assert_eq!(s.roc_auc, None, "class c has no sample");
        let none = score(&NAMES, &[], &[]);
        assert_eq!((none.n, none.accuracy, none.macro_f1, none.roc_auc), (0, 0.0, 0.0, None));
    }

    #[test]
    fn the_first_of_the_most_probable_classes_wins() {
        let nan = f32::NAN;
        assert_eq!(
            [&[0.2, 0.5, 0.3][..], &[0.4, 0.2, 0.4], &[0.2, 0.4, 0.4], &[0.0, -0.0], &[1.0]].map(winner),
            [1, 0, 1, 0, 0]
        );
        assert_eq!(
            [[0.1, nan, 0.2], [0.3, nan, 0.2], [nan, 0.9, 0.1], [nan, nan, nan]].map(|row| winner(&row)),
            [2, 0, 0, 0]
        );
    }

    #[test]
    fn of_equal_probabilities_the_first_class_wins() {
        assert_eq!(confusion(&[0.25, 0.25, 0.25, 0.25], &[3], 4)[3], [1, 0, 0, 0]);
        assert_eq!(confusion(&[0.2, 0.4, 0.4], &[0], 3)[0], [0, 1, 0]);
        assert_eq!(roc_auc(&[f32::NAN, 0.4, 0.6, 0.4], &[0, 1], 2), None);
    }

    #[test]
    fn serializes_to_the_object_of_the_command_line() {
        let json = serde_json::to_value(score(&["a", "b"], &[0.9, 0.1], &[0])).expect("serializes");
        let keys: Vec<_> = json.as_object().expect("an object").keys().map(String::as_str).collect();
        assert_eq!(keys, ["n", "accuracy", "macro_f1", "roc_auc", "per_class", "confusion"]);
        assert!(json["roc_auc"].is_null());
        assert_eq!(json["per_class"][0]["name"], "a");
    }

    #[test]
    #[should_panic(expected = "probabilities must be (n, C)")]
    fn shapes_must_fit() {
        score(&NAMES, &[0.5; 6], &[0]);
    }
}
