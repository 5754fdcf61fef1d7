//! The table for people: text for a terminal, Markdown for a README.

use super::layout::Grid;
use super::verdict::{Unit, verdict};
use super::{Difference, Differences, Row, Table};
use crate::statistics::{Description, LEVEL, MIN_PAIRS, POWER, probability};

impl Table {
    /// Scores, differences by measure and recall by class, as aligned text.
    pub fn to_text(&self) -> String {
        if self.rows.is_empty() {
            return "no results yet\n".to_owned();
        }
        let mut text = format!(
            "scores, mean ± sd over seeds; accuracy in %, [95 % interval of the mean]; test: {} images\n",
            thousands(self.test_images())
        );
        text += &self.scores().to_text();
        for shown in &MEASURES {
            let grid = self.differences(shown);
            if grid.rows.len() > 1 {
                text += &format!("\ndifference to {}, paired by seed: {}\n", self.reference, shown.what);
                text += &grid.to_text();
            }
        }
        for shown in &MEASURES {
            let grid = self.main_effects(shown);
            if grid.rows.len() > 1 {
                text += &format!("\n{MAIN_EFFECTS}: {}\n", shown.what);
                text += &grid.to_text();
            }
        }
        text += "\nrecall on test, mean ± sd over seeds, %\n";
        text += &self.recall().to_text();
        text + &self.notes()
    }

    /// Scores, the difference in accuracy on `test` and its tests as one Markdown table.
    pub fn to_markdown(&self) -> String {
        let test = format!("test ({}), %", thousands(self.test_images()));
        let difference = format!("difference to {}, points [95 %]", self.reference);
        let mut grid = Grid::new(&[
            "model",
            "seeds",
            &test,
            "PrivateTest, %",
            "macro F1",
            "ROC-AUC",
            &difference,
            "p (t, Holm)",
            "detectable, points",
            "p (Wilcoxon)",
            "p (permutation)",
            "effect",
            "published, %",
            "published difference",
            "verdict",
        ]);
        for row in &self.rows {
            let d = row.differences.as_ref().map(|d| &d.test_accuracy);
            let mut fields = vec![
                row.model.clone(),
                row.seeds.len().to_string(),
                spread(Some(&row.test.accuracy), PERCENT),
                spread(row.private.as_ref().map(|m| &m.accuracy), PERCENT),
                spread(Some(&row.test.macro_f1), PLAIN),
                spread(row.test.roc_auc.as_ref(), PLAIN),
                d.map_or(String::new(), |d| with_interval(&d.comparison.difference, Unit::Points)),
                d.and_then(|d| d.holm_p).map_or(String::new(), p_value),
                detectable(d, Unit::Points),
            ];
            fields.extend(rank_tests(d));
            fields.extend([published(row), published_difference(row), row.verdict.clone()]);
            grid.rows.push(fields);
        }
        let mut text = grid.without_empty_columns().to_markdown();
        if !self.main_effects.is_empty() {
            let shown = &MEASURES[0];
            text += &format!("\n{MAIN_EFFECTS}: {}\n\n{}", shown.what, self.main_effects(shown).to_markdown());
        }
        text + &self.notes()
    }

    /// Images of `test`, of the first model.
    fn test_images(&self) -> usize {
        self.rows.first().map_or(0, |r| r.test_images)
    }

    fn scores(&self) -> Grid {
        let mut grid = Grid::new(&[
            "model",
            "seeds",
            "test",
            "[95 %]",
            "PublicTest",
            "PrivateTest",
            "macro F1",
            "ROC-AUC",
            "parameters",
            "synapses",
            "published",
        ]);
        for row in &self.rows {
            grid.rows.push(vec![
                row.model.clone(),
                row.seeds.len().to_string(),
                spread(Some(&row.test.accuracy), PERCENT),
                interval(&row.test.accuracy, PERCENT),
                spread(row.public.as_ref().map(|m| &m.accuracy), PERCENT),
                spread(row.private.as_ref().map(|m| &m.accuracy), PERCENT),
                spread(Some(&row.test.macro_f1), PLAIN),
                spread(row.test.roc_auc.as_ref(), PLAIN),
                thousands(row.parameters.round() as usize),
                thousands(row.synapses.round() as usize),
                published(row),
            ]);
        }
        grid.without_empty_columns()
    }

    /// Differences in one measure, beside the published ones if there are any of it.
    fn differences(&self, shown: &Shown) -> Grid {
        let rows = self.rows.iter().filter_map(|row| {
            let published = if shown.is_published { published_difference(row) } else { String::new() };
            Some(Line {
                name: row.model.clone(),
                against: &self.reference,
                difference: row.differences.as_ref().and_then(shown.pick)?,
                published,
            })
        });
        comparisons("model", shown.unit, rows)
    }

    /// Main effects in one measure.
    fn main_effects(&self, shown: &Shown) -> Grid {
        let rows = self.main_effects.iter().filter_map(|effect| {
            Some(Line {
                name: effect.name(),
                against: &effect.against,
                difference: (shown.pick)(&effect.differences)?,
                published: String::new(),
            })
        });
        comparisons("level", shown.unit, rows)
    }

    fn recall(&self) -> Grid {
        let header: Vec<&str> = std::iter::once("model").chain(self.classes.iter().map(String::as_str)).collect();
        let mut grid = Grid::new(&header);
        for row in &self.rows {
            let recall = row.test.recall.iter().map(|d| spread(Some(d), PERCENT));
            grid.rows.push(std::iter::once(row.model.clone()).chain(recall).collect());
        }
        grid
    }

    /// What the columns of the differences mean, and what they cannot show; empty without differences.
    fn notes(&self) -> String {
        let of_models: Vec<&Differences> = self.rows.iter().filter_map(|row| row.differences.as_ref()).collect();
        let of_factors = self.main_effects.iter().map(|effect| &effect.differences);
        let all: Vec<&Difference> = of_models.iter().copied().chain(of_factors).map(|d| &d.test_accuracy).collect();
        let Some(pairs) = all.iter().map(|d| d.comparison.difference.n).max() else { return String::new() };
        let family = of_models.iter().filter(|d| d.test_accuracy.holm_p.is_some()).count();
        let mut text = format!(
            "\nDifferences are paired by seed. p is two-sided; Holm's correction of the t-test is over the {family} models \
             with at least {MIN_PAIRS} pairs.\n{}\nThe effect is Cohen's d_z of the paired differences with Hedges' \
             correction.\n",
            detectable_note()
        );
        if !self.main_effects.is_empty() {
            text += "A main effect is the difference of a level to the first one of its factor, of means over all \
                     combinations of the other factors; Holm's correction of these is their own.\n";
        }
        let least = 0.5f64.powi(pairs as i32 - 1);
        if least >= LEVEL && all.iter().any(|d| d.holm_p.is_some()) {
            text += &format!(
                "With {pairs} pairs the exact Wilcoxon and permutation p are at least {least}: the verdict rests on the \
                 t-test.\n"
            );
        }
        text
    }
}

/// What is said above them.
const MAIN_EFFECTS: &str = "main effects of the factors, paired by seed";

/// A measure whose differences are shown.
struct Shown {
    what: &'static str,
    unit: Unit,
    pick: fn(&Differences) -> Option<&Difference>,
    /// Whether published figures are of this measure.
    is_published: bool,
}

/// In order; the verdict rests on the first.
const MEASURES: [Shown; 3] = [
    Shown {
        what: "accuracy on test, points",
        unit: Unit::Points,
        pick: |d| Some(&d.test_accuracy),
        is_published: true,
    },
    Shown {
        what: "accuracy on PrivateTest, points",
        unit: Unit::Points,
        pick: |d| d.private_accuracy.as_ref(),
        is_published: false,
    },
    Shown { what: "macro F1 on test", unit: Unit::Plain, pick: |d| Some(&d.macro_f1), is_published: false },
];

/// A comparison in words.
struct Line<'a> {
    name: String,
    /// What it is compared with.
    against: &'a str,
    difference: &'a Difference,
    published: String,
}

/// Comparisons and their tests; `what` is compared.
fn comparisons<'a>(what: &str, unit: Unit, lines: impl Iterator<Item = Line<'a>>) -> Grid {
    let mut grid = Grid::new(&[
        what,
        "pairs",
        "mean [95 %]",
        "sd",
        "p (t)",
        "p (Holm)",
        "detectable",
        "p (Wilcoxon)",
        "p (permutation)",
        "effect",
        "published",
        "verdict",
    ]);
    for Line { name, against, difference: d, published } in lines {
        let found = &d.comparison.difference;
        let mut fields = vec![
            name,
            found.n.to_string(),
            with_interval(found, unit),
            found.sd.map_or(String::new(), |sd| number(sd, scale(unit))),
            d.comparison.t_test.map_or(String::new(), |t| p_value(t.p)),
            d.holm_p.map_or(String::new(), p_value),
            detectable(Some(d), unit),
        ];
        fields.extend(rank_tests(Some(d)));
        fields.extend([published, verdict(Some(d), against, unit)]);
        grid.rows.push(fields);
    }
    grid.without_empty_columns()
}

/// Factor and digits after the point.
type Scale = (f64, usize);
const PERCENT: Scale = (100.0, 2);
const PLAIN: Scale = (1.0, 4);

fn scale(unit: Unit) -> Scale {
    match unit {
        Unit::Points => PERCENT,
        Unit::Plain => PLAIN,
    }
}

fn number(value: f64, (factor, digits): Scale) -> String {
    format!("{:.digits$}", factor * value)
}

/// `61.10 ± 0.59`; the mean alone for a single number, nothing for none.
fn spread(d: Option<&Description>, scale: Scale) -> String {
    let Some(d) = d else { return String::new() };
    let sd = d.sd.map_or(String::new(), |sd| format!(" ± {}", number(sd, scale)));
    number(d.mean, scale) + &sd
}

/// `[60.37, 61.83]`.
fn interval(d: &Description, scale: Scale) -> String {
    d.interval.map_or(String::new(), |[low, high]| format!("[{}, {}]", number(low, scale), number(high, scale)))
}

/// `-1.01 [-1.60, -0.42]`, signed.
fn with_interval(d: &Description, unit: Unit) -> String {
    let (factor, digits) = scale(unit);
    let signed = |v: f64| format!("{:+.digits$}", factor * v);
    let ends = d.interval.map_or(String::new(), |[low, high]| format!(" [{}, {}]", signed(low), signed(high)));
    signed(d.mean) + &ends
}

/// What `detectable` means.
pub fn detectable_note() -> String {
    format!(
        "detectable: the true difference that {} % of studies with as many seeds would show after Holm's correction, were it \
         the only one, going by the standard deviation of the differences, which a few seeds tell roughly.",
        100.0 * POWER
    )
}

/// What the comparison can tell; empty where it is not tested.
fn detectable(d: Option<&Difference>, unit: Unit) -> String {
    d.and_then(|d| d.detectable).map_or(String::new(), |size| number(size, scale(unit)))
}

fn p_value(p: f64) -> String {
    probability(p, 4)
}

/// p of the two exact tests, and the effect size.
fn rank_tests(d: Option<&Difference>) -> [String; 3] {
    let c = d.map(|d| &d.comparison);
    [
        c.and_then(|c| c.wilcoxon).map_or(String::new(), |w| p_value(w.p)),
        c.and_then(|c| c.permutation_p).map_or(String::new(), p_value),
        c.and_then(|c| c.effect).map_or(String::new(), |e| format!("{e:+.2}")),
    ]
}

fn published(row: &Row) -> String {
    row.published.map_or(String::new(), |p| number(p, PERCENT))
}

fn published_difference(row: &Row) -> String {
    row.published_difference.map_or(String::new(), |d| format!("{:+.2}", 100.0 * d))
}

/// `n` with commas between groups of three digits: `7,178`.
pub fn thousands(n: usize) -> String {
    let digits = n.to_string();
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_are_set_apart() {
        for (n, text) in [(0, "0"), (999, "999"), (7178, "7,178"), (15_760, "15,760"), (1_381_223, "1,381,223")] {
            assert_eq!(thousands(n), text);
        }
    }
}
