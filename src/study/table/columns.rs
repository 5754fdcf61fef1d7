//! `table.csv`, one row per model, and `main_effects.csv`, one row per level: every figure in full precision.

use super::{Difference, Differences, MainEffect, Measures, Row, Table};
use crate::error::Result;
use crate::statistics::Description;
use crate::study::results::exact;
use crate::table;
use std::path::Path;

impl Table {
    /// Writes the table to `path`; see [`replace`](crate::store::replace) for what a crash leaves. Fractions, not points;
    /// what there is not is empty.
    ///
    /// Columns: `model`, `seeds`, `test_images`; `parameters`, `synapses`, `epochs`, `seconds` (means); for each split and measure
    /// `<split>_<measure>_n`, `_mean`, `_sd`, `_low`, `_high` (95 % interval); for each of `test_accuracy`,
    /// `private_accuracy` and `macro_f1` the columns `difference_<measure>_n`, `_mean`, `_sd`, `_low`, `_high`, `_t`, `_p`,
    /// `_holm_p`, `_detectable`, `_wilcoxon_p`, `_permutation_p` and `_effect`; `published`, `published_difference`,
    /// `verdict`.
    ///
    /// # Errors
    /// `Io` if the file cannot be written.
    pub fn write_csv(&self, path: &Path) -> Result<()> {
        let header = self.fields(None).into_iter().map(|(name, _)| name);
        let values = |row| self.fields(Some(row)).into_iter().map(|(_, value)| value);
        table::write(path, header, self.rows.iter().map(values))
    }

    /// Writes the main effects to `path`, likewise; nothing where there are none and never were.
    ///
    /// Columns: `factor`, `level`, `against` (the first level), `pairs_of_models`; `difference_<measure>_...` as in
    /// [`Table::write_csv`]; `verdict`.
    ///
    /// # Errors
    /// `Io` if the file cannot be written.
    pub fn write_main_effects(&self, path: &Path) -> Result<()> {
        if self.main_effects.is_empty() && !path.exists() {
            return Ok(());
        }
        let fields = |effect: Option<&MainEffect>| {
            let mut fields = vec![
                ("factor".to_owned(), effect.map(|e| e.factor.clone())),
                ("level".to_owned(), effect.map(|e| e.level.clone())),
                ("against".to_owned(), effect.map(|e| e.against.clone())),
                ("pairs_of_models".to_owned(), effect.map(|e| e.pairs_of_models.to_string())),
            ];
            fields.extend(differences(effect.map(|e| &e.differences)));
            fields.push(("verdict".to_owned(), effect.map(|e| e.verdict.clone())));
            fields
        };
        let header = fields(None).into_iter().map(|(name, _)| name);
        let values = |effect| fields(Some(effect)).into_iter().map(|(_, value)| value.unwrap_or_default());
        table::write(path, header, self.main_effects.iter().map(values))
    }

    /// Names of the columns and their values in `row`; without a row the values are empty.
    fn fields(&self, row: Option<&Row>) -> Vec<(String, String)> {
        let mut fields = Vec::new();
        let mut put = |name: String, value: Option<String>| fields.push((name, value.unwrap_or_default()));
        put("model".into(), row.map(|r| r.model.clone()));
        put("seeds".into(), row.map(|r| r.seeds.len().to_string()));
        put("test_images".into(), row.map(|r| r.test_images.to_string()));
        put("parameters".into(), row.map(|r| exact(r.parameters)));
        put("synapses".into(), row.map(|r| exact(r.synapses)));
        put("epochs".into(), row.map(|r| exact(r.epochs)));
        put("seconds".into(), row.map(|r| exact(r.seconds)));
        let splits: [(&str, Option<&Measures>); 3] = [
            ("test", row.map(|r| &r.test)),
            ("public", row.and_then(|r| r.public.as_ref())),
            ("private", row.and_then(|r| r.private.as_ref())),
        ];
        for (split, measures) in splits {
            let mut sample = |measure: &str, d: Option<&Description>| {
                for (name, value) in description(d) {
                    put(format!("{split}_{measure}_{name}"), value);
                }
            };
            sample("accuracy", measures.map(|m| &m.accuracy));
            sample("macro_f1", measures.map(|m| &m.macro_f1));
            sample("roc_auc", measures.and_then(|m| m.roc_auc.as_ref()));
            for (i, class) in self.classes.iter().enumerate() {
                sample(&format!("recall_{class}"), measures.map(|m| &m.recall[i]));
            }
        }
        differences(row.and_then(|r| r.differences.as_ref())).into_iter().for_each(|(name, value)| put(name, value));
        put("published".into(), row.and_then(|r| r.published).map(exact));
        put("published_difference".into(), row.and_then(|r| r.published_difference).map(exact));
        put("verdict".into(), row.map(|r| r.verdict.clone()));
        fields
    }
}

/// Columns of the three measures.
fn differences(all: Option<&Differences>) -> Vec<(String, Option<String>)> {
    let measures = [
        ("test_accuracy", all.map(|d| &d.test_accuracy)),
        ("private_accuracy", all.and_then(|d| d.private_accuracy.as_ref())),
        ("macro_f1", all.map(|d| &d.macro_f1)),
    ];
    let of_measure = |(measure, d): (&str, Option<&Difference>)| {
        let figures = description(d.map(|d| &d.comparison.difference)).into_iter().chain(tests(d));
        figures.map(|(name, value)| (format!("difference_{measure}_{name}"), value)).collect::<Vec<_>>()
    };
    measures.into_iter().flat_map(of_measure).collect()
}

fn description(d: Option<&Description>) -> [(&'static str, Option<String>); 5] {
    let end = |i: usize| d.and_then(|d| d.interval).map(|ends| exact(ends[i]));
    [
        ("n", d.map(|d| d.n.to_string())),
        ("mean", d.map(|d| exact(d.mean))),
        ("sd", d.and_then(|d| d.sd).map(exact)),
        ("low", end(0)),
        ("high", end(1)),
    ]
}

fn tests(d: Option<&Difference>) -> [(&'static str, Option<String>); 7] {
    let comparison = d.map(|d| &d.comparison);
    let t = comparison.and_then(|c| c.t_test);
    [
        ("t", t.map(|t| exact(t.t))),
        ("p", t.map(|t| exact(t.p))),
        ("holm_p", d.and_then(|d| d.holm_p).map(exact)),
        ("detectable", d.and_then(|d| d.detectable).map(exact)),
        ("wilcoxon_p", comparison.and_then(|c| c.wilcoxon).map(|w| exact(w.p))),
        ("permutation_p", comparison.and_then(|c| c.permutation_p).map(exact)),
        ("effect", comparison.and_then(|c| c.effect).map(exact)),
    ]
}
