//! Formats of studies.

use super::{Format, put};
use bionic_cpu::error::Result;
use bionic_cpu::study::{About, Table, read_about, read_results};
use std::path::Path;

/// One row per format.
pub const FORMATS: &[Format] = &[
    Format { name: "results", read, code: 3, bombs, mend: |_| {} },
    Format {
        name: "study",
        read: |path| read_about(path).and_then(|a| tabulate(&a)),
        code: 5,
        bombs: about_bombs,
        mend: |_| {},
    },
];

/// Largest file.
const MIB: usize = 1 << 20;

fn read(path: &Path) -> Result<()> {
    read_results(path).map(drop)
}

/// The table of a study that has no results yet.
fn tabulate(about: &About) -> Result<()> {
    Table::new(&[], &about.reference, &about.published, &about.design).map(drop)
}

/// A header for these classes.
fn header(classes: &[String]) -> String {
    let recall: String = classes.iter().map(|c| format!(",test_recall_{c}")).collect();
    let scores = "test_images,test_accuracy,test_macro_f1,test_roc_auc";
    format!(
        "model,seed,{scores}{recall},best_epoch,epochs,parameters,synapses,seconds,version,data,connectome,configuration\n"
    )
}

/// As many rows behind `head` as fit into 1 MiB.
fn rows(head: String, row: impl Fn(usize) -> String) -> Vec<u8> {
    let mut text = head;
    for row in (0..).map(row) {
        if text.len() + row.len() > MIB {
            break;
        }
        text += &row;
    }
    text.into_bytes()
}

fn bombs(folder: &Path) {
    let class = |i: usize, length: usize| "x".repeat(length - i.to_string().len()) + &i.to_string();
    let classes = |n: usize, length: usize| -> Vec<String> { (0..n).map(|i| class(i, length)).collect() };
    let none = header(&[]);
    put(folder, "bad-seeds.csv", rows(none.clone(), |i| format!("full,{i},1,0,0,,0,0,0,0,0,a,a,a,a\n")));
    let long = "v".repeat(40);
    put(folder, "good-models.csv", rows(none.clone(), |i| format!("{i},1,1,0,0,,0,0,0,0,0,{long},a,a,a\n")));
    let recall = "0,".repeat(64);
    put(
        folder,
        "good-classes.csv",
        rows(header(&classes(64, 32)), |i| format!("m,{i},1,0,0,,{recall}0,0,0,0,0,a,a,a,a\n")),
    );
    put(
        folder,
        "bad-classes.csv",
        rows(header(&classes(65, 2)), |i| format!("m,{i},1,0,0,,{recall}0,0,0,0,0,0,a,a,a,a\n")),
    );
    put(
        folder,
        "bad-long-class.csv",
        rows(header(&classes(1, MIB / 2)), |i| format!("m,{i},1,0,0,,0,0,0,0,0,0,a,a,a,a\n")),
    );
    put(folder, "bad-long-model.csv", format!("{none}{},1,1,0,0,,0,0,0,0,0,a,a,a,a\n", "m".repeat(MIB / 2)));
    put(folder, "bad-same-cell.csv", rows(none.clone(), |_| "full,1,1,0,0,,0,0,0,0,0,a,a,a,a\n".to_owned()));
    put(folder, "bad-open-quote.csv", rows(format!("{none}\""), |_| "x,y\n".to_owned()));
    put(folder, "bad-columns.csv", vec![b','; MIB]);
    put(folder, "bad-named-columns.csv", rows(String::new(), |i| format!("{i},")));
    put(folder, "bad-blank.csv", vec![b'\n'; MIB]);
    put(
        folder,
        "any-late-row.csv",
        [none.as_bytes(), &vec![b'\n'; MIB - 500], b"m,1,1,0,0,,0,0,0,0,0,a,a,a,a\n"].concat(),
    );
    #[cfg(unix)]
    assert!(std::process::Command::new("mkfifo").arg(folder.join("bad-pipe")).status().unwrap().success());
}

fn about_bombs(folder: &Path) {
    let head = "{\"title\":\"a\",\"reference\":\"a\",\"models\":[],\"published\":{}";
    let design = |factors: &str, models: &str| {
        format!("{head},\"design\":{{\"factors\":[{factors}],\"models\":{{{models}}}}}}}")
    };
    let list = |n: usize, of: &dyn Fn(usize) -> String| (0..n).map(of).collect::<Vec<_>>().join(",");
    let of_levels = |levels: &str| design(&format!("{{\"name\":\"f\",\"levels\":[{levels}]}}"), "");
    let axis = |name: usize| format!("{{\"name\":\"{name}\",\"levels\":[\"a\",\"b\"]}}");
    put(folder, "good-levels.json", of_levels(&list(100_000, &|i| format!("\"{i}\""))));
    put(folder, "bad-same-levels.json", of_levels(&list(200_000, &|_| "\"\"".into())));
    put(folder, "bad-factors.json", design(&list(20_000, &axis), ""));
    put(folder, "bad-models.json", design(&axis(0), &list(50_000, &|i| format!("\"{i}\":[0]"))));
    // As many as there may be, all in one place of their own.
    let place = |i: usize| format!("\"{i}\":[{}]", list(13, &|bit| (i >> bit & 1).to_string()));
    put(folder, "good-many.json", design(&list(13, &axis), &list(1 << 13, &place)));
    let one_away = |i: usize| format!("\"{i}\":[{}]", list(200, &|f| usize::from(f == i).to_string()));
    put(folder, "good-wide.json", design(&list(200, &axis), &list(200, &one_away)));
    put(folder, "bad-nested.json", "[".repeat(MIB));
    let title = "a".repeat(MIB / 2);
    put(
        folder,
        "bad-title.json",
        format!("{{\"title\":\"{title}\",\"reference\":\"a\",\"models\":[],\"published\":{{}}}}"),
    );
}
