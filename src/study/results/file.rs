//! `results.csv`: one row per finished cell, fractions in full precision, so that reading gives the same bits.

use super::{
    CellResult, ClassRecall, MAX_CELLS, MAX_CLASS_BYTES, MAX_CLASSES, MAX_NAME_BYTES, RunNumbers, SplitScores, is_name,
};
use crate::error::{Error, Result};
use crate::table::{self, Form, Rows, optional, shown};
use std::collections::HashSet;
use std::path::Path;

/// How the table is read; a row of seven classes takes 600 to 800 bytes.
const FORM: Form = Form {
    max_bytes: 16 << 20,
    no_columns: "is this the results.csv of a study? restore the header",
    bad_row: "correct the row or delete it; the run itself is not touched",
};
/// The splits, in the order of the columns.
const SPLITS: [&str; 3] = ["test", "public", "private"];

/// Writes `cells` to `path` as a table, one row each; see [`replace`](crate::store::replace) for what a crash leaves.
///
/// Columns: `model`, `seed`; for each of `test`, `public`, `private` the columns `<split>_images`, `_accuracy`,
/// `_macro_f1`, `_roc_auc` and `_recall_<class>`; then `best_epoch`, `epochs`, `parameters`, `synapses`, `seconds`,
/// `version`, `data`, `connectome` and `configuration`. What a cell does not have is empty.
///
/// # Errors
/// `Input` if the cells have different classes; `Io` if the file cannot be written.
///
/// # Panics
/// If two cells have the same model and seed.
pub fn write_results(path: &Path, cells: &[CellResult]) -> Result<()> {
    let mut seen = HashSet::new();
    assert!(cells.iter().all(|c| seen.insert((&c.model, c.run.seed))), "a cell is there twice");
    let classes: Vec<&str> = cells.first().map_or(Vec::new(), |c| c.classes().collect());
    if let Some(other) = cells.iter().find(|c| !c.classes().eq(classes.iter().copied())) {
        let what = format!("`{}`, seed {}, was scored on other classes than the rest", other.model, other.run.seed);
        return Err(Error::input(path.display(), what, "keep results of different data sets in different studies"));
    }
    table::write(path, header(&classes), cells.iter().map(|cell| row(cell, classes.len())))
}

fn header(classes: &[&str]) -> Vec<String> {
    let mut names = vec!["model".to_owned(), "seed".to_owned()];
    for split in SPLITS {
        names.extend(["images", "accuracy", "macro_f1", "roc_auc"].map(|name| format!("{split}_{name}")));
        names.extend(classes.iter().map(|class| format!("{split}_recall_{class}")));
    }
    names.extend(["best_epoch", "epochs", "parameters", "synapses", "seconds", "version"].map(String::from));
    names.extend(["data", "connectome", "configuration"].map(String::from));
    names
}

/// The fields of a cell.
fn row(cell: &CellResult, classes: usize) -> Vec<String> {
    let mut fields = vec![cell.model.clone(), cell.run.seed.to_string()];
    for scores in [Some(&cell.test), cell.public.as_ref(), cell.private.as_ref()] {
        let Some(s) = scores else {
            fields.extend(std::iter::repeat_n(String::new(), 4 + classes));
            continue;
        };
        fields.extend([s.images.to_string(), exact(s.accuracy), exact(s.macro_f1)]);
        fields.push(optional(s.roc_auc.map(exact)));
        fields.extend(s.recall.iter().map(|r| exact(r.recall)));
    }
    let run = &cell.run;
    fields.extend([run.best_epoch, run.epochs, run.parameters, run.synapses].map(|n| n.to_string()));
    fields.extend([exact(run.seconds), run.version.clone()]);
    fields.extend([&run.data, &run.connectome, &run.configuration].map(String::clone));
    fields
}

/// The shortest decimal form that reads back to the same bits.
pub(in crate::study) fn exact(value: f64) -> String {
    format!("{value:?}")
}

/// Reads what [`write_results`] wrote, rows in the order of the file. The columns may be in any order and others may be
/// among them; the classes are those of the columns `test_recall_*`.
///
/// # Errors
/// `Input` naming file, line and column for everything that is not such a table, a cell that is there twice included.
pub fn read_results(path: &Path) -> Result<Vec<CellResult>> {
    FORM.read(path, |rows| {
        let classes = classes(path, rows)?;
        let (mut read, mut seen) = (0, HashSet::new());
        rows.collect(|row| {
            read += 1;
            if read > MAX_CELLS {
                return Err(row.fault(&format!("more than {MAX_CELLS} rows"), "split the table into several files"));
            }
            let cell = cell(row, &classes)?;
            if !seen.insert((cell.model.clone(), cell.run.seed)) {
                let what = format!("`{}` with seed {} is there a second time", shown(&cell.model), cell.run.seed);
                return Err(row.fault(&what, "keep one of the two rows"));
            }
            Ok(cell)
        })
    })
}

/// The classes of a table with all columns that it must have.
fn classes(path: &Path, rows: &Rows) -> Result<Vec<String>> {
    let recall = rows.names().iter().filter_map(|name| name.strip_prefix("test_recall_"));
    let classes: Vec<&str> = recall.collect();
    if classes.len() > MAX_CLASSES || classes.iter().any(|c| c.len() > MAX_CLASS_BYTES) {
        let what = format!("{} classes, at most {MAX_CLASSES} of {MAX_CLASS_BYTES} bytes are read", classes.len());
        return Err(Error::input(table::place(path, 1), what, FORM.no_columns));
    }
    let optional = |name: &String| name.starts_with("public_") || name.starts_with("private_");
    rows.require(header(&classes).into_iter().filter(|name| !optional(name)))?;
    Ok(classes.into_iter().map(str::to_owned).collect())
}

fn cell(row: &Rows, classes: &[String]) -> Result<CellResult> {
    let test = split(row, "test", classes)?;
    let test = test.ok_or_else(|| row.fault("no scores of split `test`", FORM.bad_row))?;
    let cell = CellResult {
        model: name(row, "model")?,
        test,
        public: split(row, "public", classes)?,
        private: split(row, "private", classes)?,
        run: RunNumbers {
            seed: row.integer("seed", u64::MAX)?,
            best_epoch: row.count("best_epoch")?,
            epochs: row.count("epochs")?,
            parameters: row.count("parameters")?,
            synapses: row.count("synapses")?,
            seconds: number(row, "seconds", f64::MAX, "a number from 0")?,
            version: name(row, "version")?,
            data: name(row, "data")?,
            connectome: name(row, "connectome")?,
            configuration: name(row, "configuration")?,
        },
    };
    Ok(cell.without_empty_parts())
}

/// Scores of a split; `None` if all of its fields are empty.
fn split(row: &Rows, split: &str, classes: &[String]) -> Result<Option<SplitScores>> {
    let prefix = format!("{split}_");
    let mut columns = row.names().iter().enumerate().filter(|(_, name)| name.starts_with(&prefix));
    if columns.all(|(i, _)| row.field(i).is_empty()) {
        return Ok(None);
    }
    let part = |row: &Rows, column: &str| number(row, column, 1.0, "a number from 0 to 1");
    let recall = classes.iter().map(|class| {
        let recall = part(row, &format!("{split}_recall_{class}"))?;
        Ok(ClassRecall { class: class.clone(), recall })
    });
    Ok(Some(SplitScores {
        images: row.count(&format!("{split}_images"))?,
        accuracy: part(row, &format!("{split}_accuracy"))?,
        macro_f1: part(row, &format!("{split}_macro_f1"))?,
        roc_auc: row.optional(&format!("{split}_roc_auc"), part)?,
        recall: recall.collect::<Result<_>>()?,
    }))
}

fn name(row: &Rows, column: &str) -> Result<String> {
    let text = row.text(column);
    if !is_name(text, MAX_NAME_BYTES) {
        return Err(row.wrong(column, &format!("a name of 1 to {MAX_NAME_BYTES} bytes")));
    }
    Ok(text.to_owned())
}

/// A number from 0 to `most`; `expected` says so in words.
fn number(row: &Rows, column: &str, most: f64, expected: &str) -> Result<f64> {
    let found = row.number(column).ok().filter(|v| (0.0..=most).contains(v));
    found.ok_or_else(|| row.wrong(column, expected))
}

#[cfg(test)]
mod tests {
    use super::super::tests::random_cell;
    use super::*;
    use crate::rng::Rng;
    use csv::StringRecord;
    use std::fs;

    fn cells() -> Vec<CellResult> {
        let mut rng = Rng::stream(5, "cells", &[]);
        let mut cells: Vec<CellResult> =
            (0..6).map(|i| random_cell(["full", "a, \"b\""][i % 2], u64::MAX - i as u64 / 2, &mut rng)).collect();
        // Numbers whose decimal form is long.
        cells[0].test.accuracy = 0.1 + 0.2;
        cells[0].run.seconds = 1e-300 / 3.0;
        cells[1].test.roc_auc = None;
        (cells[2].public, cells[2].private) = (None, None);
        cells[3].public.as_mut().unwrap().roc_auc = None;
        cells
    }

    fn written(cells: &[CellResult]) -> (tempfile::TempDir, std::path::PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("results.csv");
        write_results(&path, cells).unwrap();
        (folder, path)
    }

    #[test]
    fn a_table_is_read_back_to_the_bit() {
        for cells in [cells(), Vec::new(), cells()[..1].to_vec()] {
            let (folder, path) = written(&cells);
            let back = read_results(&path).unwrap();
            assert_eq!(back, cells);
            for (a, b) in back.iter().zip(&cells) {
                assert_eq!(a.test.accuracy.to_bits(), b.test.accuracy.to_bits());
                assert_eq!(a.run.seconds.to_bits(), b.run.seconds.to_bits());
            }
            assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "something is left beside");
        }
    }

    #[test]
    fn the_names_of_the_columns_are_those_promised() {
        let mut cell = cells().remove(0);
        for scores in [Some(&mut cell.test), cell.public.as_mut(), cell.private.as_mut()].into_iter().flatten() {
            scores.recall.truncate(1);
        }
        let (_folder, path) = written(&[cell]);
        let header = "model,seed,test_images,test_accuracy,test_macro_f1,test_roc_auc,test_recall_left,public_images,\
                      public_accuracy,public_macro_f1,public_roc_auc,public_recall_left,private_images,private_accuracy,\
                      private_macro_f1,private_roc_auc,private_recall_left,best_epoch,epochs,parameters,synapses,seconds,\
                      version,data,connectome,configuration";
        assert_eq!(fs::read_to_string(path).unwrap().lines().next().unwrap(), header);
    }

    #[test]
    fn columns_may_be_in_any_order_and_splits_may_be_absent() {
        let (_folder, path) = written(&cells());
        let mut reader = csv::Reader::from_path(&path).unwrap();
        let names = reader.headers().unwrap().clone();
        let kept: Vec<usize> = (0..names.len()).rev().filter(|&i| !names[i].starts_with("public")).collect();
        let rows: Vec<StringRecord> = reader.records().map(|r| r.unwrap()).collect();
        let mut table = csv::Writer::from_path(&path).unwrap();
        for row in std::iter::once(&names).chain(&rows) {
            let fields = kept.iter().map(|&i| &row[i]);
            table.write_record(fields.chain([if row == &names { "note" } else { "x" }])).unwrap();
        }
        drop(table);
        let mut expected = cells();
        for cell in &mut expected {
            cell.public = None;
            // The classes are in the order of the columns.
            for scores in [Some(&mut cell.test), cell.private.as_mut()].into_iter().flatten() {
                scores.recall.reverse();
            }
        }
        assert_eq!(read_results(&path).unwrap(), expected);
    }

    #[test]
    fn damage_is_named_with_line_column_and_remedy() {
        let (_folder, path) = written(&cells());
        let good = fs::read_to_string(&path).unwrap();
        let field = |row: usize, name: &str, value: &str| {
            let mut lines: Vec<Vec<String>> = csv::ReaderBuilder::new()
                .has_headers(false)
                .from_reader(good.as_bytes())
                .records()
                .map(|r| r.unwrap().iter().map(str::to_owned).collect())
                .collect();
            let column = lines[0].iter().position(|n| n == name).unwrap();
            lines[row][column] = value.to_owned();
            let mut table = csv::Writer::from_writer(Vec::new());
            lines.iter().for_each(|line| table.write_record(line).unwrap());
            String::from_utf8(table.into_inner().unwrap()).unwrap()
        };
        let first: Vec<&str> = good.lines().collect();
        for (text, place, what) in [
            (
                field(1, "test_accuracy", "1.5"),
                "line 2",
                "column `test_accuracy` is `1.5`, expected a number from 0 to 1",
            ),
            (field(2, "test_accuracy", ""), "line 3", "column `test_accuracy` is ``"),
            (field(2, "private_macro_f1", "nan"), "line 3", "column `private_macro_f1` is `nan`"),
            (field(1, "test_roc_auc", "x\x1b"), "line 2", "column `test_roc_auc` is `x?`"),
            (field(1, "public_recall_left", "-0.1"), "line 2", "column `public_recall_left`"),
            (field(1, "seed", "-1"), "line 2", "column `seed` is `-1`, expected an integer"),
            (field(1, "epochs", "1e3"), "line 2", "column `epochs`"),
            (field(1, "parameters", "99999999999999999"), "line 2", "column `parameters`"),
            (field(1, "seconds", "inf"), "line 2", "column `seconds` is `inf`, expected a number from 0"),
            (field(1, "model", ""), "line 2", "column `model` is ``, expected a name"),
            (field(1, "version", "a\nb"), "line 2", "column `version`"),
            (
                field(3, "seed", &(u64::MAX).to_string()),
                "line 4",
                "`full` with seed 18446744073709551615 is there a second",
            ),
            (field(0, "seconds", "hours"), "line 1", "no column `seconds`"),
            (field(0, "epochs", "seed"), "line 1", "column `seed` occurs twice"),
            (format!("{}\n{},1\n", first[0], first[1]), "line 2", "fields, the header has"),
            (format!("{}\n{}", first[0], &first[1][..20]), "line 2", "fields, the header has"),
            (String::new(), "line 1", "no column `model`"),
        ] {
            fs::write(&path, &text).unwrap();
            let error = read_results(&path).unwrap_err();
            let told = error.to_string();
            assert_eq!(error.exit_code(), 3, "{told}");
            assert!(told.contains(&format!("results.csv {place}: ")) && told.contains(what), "{what}: {told}");
            assert!(told.contains("remedy: "), "{told}");
        }
        fs::write(&path, [good.as_bytes(), b"\xff"].concat()).unwrap();
        assert!(read_results(&path).unwrap_err().to_string().contains("remedy: "));
        assert_eq!(read_results(&path.with_file_name("gone.csv")).unwrap_err().exit_code(), 3);
    }

    #[test]
    fn cells_of_other_classes_are_refused_and_the_file_stays() {
        let (_folder, path) = written(&cells());
        let mut other = cells();
        other[4].test.recall[1].class = "down".into();
        let error = write_results(&path, &other).unwrap_err();
        assert!(error.exit_code() == 3 && error.to_string().contains("other classes"), "{error}");
        assert_eq!(read_results(&path).unwrap(), cells());
    }

    #[test]
    #[should_panic(expected = "twice")]
    fn a_cell_is_written_once() {
        let cells = cells();
        let _ = write_results(Path::new("nowhere"), &[cells[0].clone(), cells[0].clone()]);
    }
}
