//! Reports by the real program: pages that are XML, keep foreign names as text, fetch nothing, and hold the numbers that
//! the other commands give.

#![allow(clippy::unwrap_used)] // A test may panic.

mod cli_support;

use bionic_cpu::study::{CellResult, ClassRecall, RunNumbers, SplitScores, write_results};
use cli_support::*;
use roxmltree::{Document, Node, ParsingOptions};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Parses a page and checks what holds for every one.
#[track_caller]
fn checked(page: &str) -> Document<'_> {
    assert!(page.len() <= 5_000_000, "{} bytes", page.len());
    assert!(!page.contains("<script"), "a script");
    let addresses: BTreeSet<&str> = page.match_indices("http").map(|(at, _)| &page[at..at + 27]).collect();
    let known = ["http://www.w3.org/1999/xhtm", "http://www.w3.org/2000/svg\""];
    assert!(addresses.iter().all(|a| known.contains(a)), "{addresses:?}");
    for fetching in ["url(", "@import", "src=", "<link", "<iframe", "<object", "<image"] {
        assert!(!page.contains(fetching), "{fetching}");
    }
    assert!(!page.contains("NaN") && !page.contains("inf\""), "a coordinate that is no number");
    let parsed = Document::parse_with_options(page, ParsingOptions { allow_dtd: true, ..Default::default() }).unwrap();
    let mut ids = BTreeSet::new();
    for node in parsed.descendants() {
        assert!(node.attribute("id").is_none_or(|id| ids.insert(id.to_owned())), "an id twice: {node:?}");
        assert!(node.attributes().all(|a| !a.name().starts_with("on")), "a handler: {node:?}");
    }
    for svg in parsed.descendants().filter(|n| n.has_tag_name("svg")) {
        assert_eq!(svg.attribute("role"), Some("img"));
        for name in ["title", "desc"] {
            let child = svg.children().find(|n| n.has_tag_name(name)).unwrap();
            assert!(child.text().is_some_and(|t| t.len() > 5), "{child:?}");
            assert!(svg.attribute("aria-labelledby").unwrap().split(' ').any(|id| Some(id) == child.attribute("id")));
        }
        inside(svg);
    }
    for a in parsed.descendants().filter_map(|n| n.attribute("href")).filter_map(|a| a.strip_prefix('#')) {
        assert!(ids.contains(a), "a link to nowhere: {a}");
    }
    parsed
}

/// Nothing is drawn outside of the picture, upright texts as far as their widths can be guessed.
#[track_caller]
fn inside(svg: Node) {
    let number = |n: &Node, name: &str| n.attribute(name).map_or(0.0, |v| v.parse::<f64>().unwrap());
    let (width, height) = (number(&svg, "width"), number(&svg, "height"));
    for n in svg.descendants() {
        let far = match n.tag_name().name() {
            "rect" => [
                (number(&n, "x"), number(&n, "y")),
                (number(&n, "x") + number(&n, "width"), number(&n, "y") + number(&n, "height")),
            ],
            "line" => [(number(&n, "x1"), number(&n, "y1")), (number(&n, "x2"), number(&n, "y2"))],
            "text" if n.attribute("transform").is_none() => {
                let size = n.attribute("font-size").map_or(13.0, |v| v.parse().unwrap());
                let long = 0.5 * size * n.text().unwrap().chars().count() as f64;
                let start = match n.attribute("text-anchor") {
                    None => 0.0,
                    Some("middle") => -long / 2.0,
                    _ => -long,
                };
                let x = number(&n, "x") + start;
                [(x, number(&n, "y") - 0.7 * size), (x + long, number(&n, "y"))]
            }
            _ => continue,
        };
        for (x, y) in far {
            let whole = x >= -1.0 && y >= -1.0 && x <= width + 1.0 && y <= height + 1.0;
            assert!(whole, "({x}, {y}) is outside of {width} x {height}: {n:?} {:?}", n.text());
        }
    }
}

/// Titles of the pictures.
fn pictures(page: &Document) -> Vec<String> {
    let svgs = page.descendants().filter(|n| n.has_tag_name("svg"));
    svgs.map(|s| s.children().find(|n| n.has_tag_name("title")).unwrap().text().unwrap().to_owned()).collect()
}

/// All text of the page.
fn words(page: &Document) -> String {
    page.descendants().filter(|n| n.is_text()).map(|n| n.text().unwrap()).collect::<Vec<_>>().join(" ")
}

/// Columns and rows of a CSV file beside the page.
fn table(folder: &Path, name: &str) -> (Vec<String>, Vec<Vec<String>>) {
    let mut reader = csv::Reader::from_path(folder.join("report-csv").join(name)).unwrap();
    let owned = |r: &csv::StringRecord| r.iter().map(str::to_owned).collect::<Vec<_>>();
    let columns = owned(reader.headers().unwrap());
    (columns, reader.records().map(|r| owned(&r.unwrap())).collect())
}

/// A copy of the finished run that a test may change.
fn own_run(folder: &Path) -> PathBuf {
    let run = folder.join("run");
    copy_run(finished_run(), &run);
    run
}

#[test]
fn a_run_has_every_plot_and_its_numbers() {
    let folder = folder();
    let run = own_run(folder.path());
    let json = bionic(folder.path(), &["report", "run", "--json"]).json();
    assert_eq!(json.as_object().unwrap().keys().collect::<Vec<_>>(), ["path", "bytes", "files"]);
    assert_eq!(json["path"], "run/report.html");
    let text = fs::read_to_string(run.join("report.html")).unwrap();
    assert_eq!(json["bytes"], text.len());
    let files: Vec<&str> = json["files"].as_array().unwrap().iter().map(|f| f.as_str().unwrap()).collect();
    assert!(files.len() == 12 && files.iter().all(|f| folder.path().join(f).is_file()), "{files:?}");
    let page = checked(&text);
    let drawn = pictures(&page);
    for title in [
        "Confusion matrix on PublicTest + PrivateTest",
        "Precision, recall and F1 by class on PublicTest + PrivateTest",
        "Reliability on PublicTest + PrivateTest",
        "Loss by epoch",
        "Accuracy by epoch",
        "Learning rate by epoch",
        "Share of Hebbian learning by projection and epoch",
        "Density of connections by lamina and cell type",
        "Weights of 9.column.L4->L2/3 before and after training",
        "Filters of 0.conv.weight",
    ] {
        assert!(drawn.iter().any(|d| d == title), "{title} is not among {drawn:?}");
    }
    let said = words(&page);
    for word in [
        "statistical column",
        "lower bounds",
        "Preset bionic, seed 1",
        "epochs: preset has 48, run has 1",
        "report-csv/",
    ] {
        assert!(said.contains(word), "{word}");
    }

    // The same numbers as the other commands give.
    let scores = bionic(folder.path(), &["eval", "run", "--json"]).json();
    let (columns, rows) = table(&run, "scores.csv");
    assert_eq!(columns, ["split", "n", "accuracy", "macro_f1", "roc_auc"]);
    let number = |text: &str| text.parse::<f64>().unwrap();
    for (row, found) in rows.iter().zip([&scores, &scores["public"], &scores["private"]]) {
        assert_eq!(
            (number(&row[1]), number(&row[2])),
            (found["n"].as_f64().unwrap(), found["accuracy"].as_f64().unwrap())
        );
        assert_eq!(number(&row[3]), found["macro_f1"].as_f64().unwrap());
    }
    let (_, rows) = table(&run, "confusion.csv");
    for (i, row) in rows.iter().enumerate() {
        assert_eq!(number(&row[2]), scores["confusion"][i / 7][i % 7].as_f64().unwrap(), "{row:?}");
    }
    let (_, rows) = table(&run, "reliability.csv");
    assert_eq!(rows.iter().map(|r| number(&r[2])).sum::<f64>(), scores["n"].as_f64().unwrap());
    let right: f64 = rows.iter().map(|r| number(&r[2]) * number(&r[4])).sum();
    assert!((right / scores["n"].as_f64().unwrap() - scores["accuracy"].as_f64().unwrap()).abs() < 1e-9);
    let inspected = bionic(folder.path(), &["connectome", "inspect", "--json"]).json();
    let (_, rows) = table(&run, "connectome_density.csv");
    assert_eq!(rows.iter().map(|r| number(&r[7])).sum::<f64>(), inspected["connections"].as_f64().unwrap());
    let (_, rows) = table(&run, "training_curves.csv");
    let metrics: serde_json::Value =
        serde_json::from_str(fs::read_to_string(run.join("metrics.jsonl")).unwrap().trim()).unwrap();
    assert_eq!((rows.len(), number(&rows[0][4])), (1, metrics["val_accuracy"].as_f64().unwrap()));
    // Initial weights have the spread that their layer gives them: 5 x 5 inputs, He.
    let (_, rows) = table(&run, "weights.csv");
    let first = rows.iter().find(|r| r[0] == "0.conv.weight").unwrap();
    assert!((number(&first[3]) - (2.0f64 / 25.0).sqrt()).abs() < 0.05, "{first:?}");
    assert!(number(&first[6]) < 1.0 && number(&first[6]) > 0.5, "little changed in an epoch: {first:?}");
    let (_, rows) = table(&run, "weight_histograms.csv");
    let sum: f64 = rows.iter().filter(|r| r[0] == "0.conv.weight").map(|r| number(&r[4])).sum();
    assert!((sum - 1.0).abs() < 1e-9);
}

#[test]
fn the_same_run_gives_the_same_bytes_with_any_number_of_threads() {
    let folder = folder();
    let run = own_run(folder.path());
    let written = |threads: &str| {
        bionic(folder.path(), &["report", "run", "--threads", threads]).ok();
        let mut files: Vec<PathBuf> =
            fs::read_dir(run.join("report-csv")).unwrap().map(|e| e.unwrap().path()).collect();
        files.sort();
        files.push(run.join("report.html"));
        files.iter().map(|f| fs::read(f).unwrap()).collect::<Vec<_>>()
    };
    assert!(written("1") == written("2"), "the report differs");
}

#[test]
fn a_report_goes_where_it_is_told_and_replaces_only_its_own_files() {
    let folder = folder();
    own_run(folder.path());
    let args = ["report", "run", "--out", "a b.html", "--split", "private", "--quiet"];
    bionic(folder.path(), &args).ok();
    let page = fs::read_to_string(folder.path().join("a b.html")).unwrap();
    assert!(checked(&page).descendants().any(|n| n.attribute("href") == Some("a%20b-csv/confusion.csv")));
    assert!(words(&checked(&page)).contains("Scores on PrivateTest"));
    fs::write(folder.path().join("a b-csv/mine.csv"), "x").unwrap();
    refused(folder.path(), &args, 4, &["mine.csv", "--out"]);
    refused(folder.path(), &["report", "run", "--out", "no/such/folder.html"], 4, &["no/such"]);
}

#[test]
fn images_that_are_gone_cost_the_scores_and_nothing_else() {
    let folder = folder();
    let rows: Vec<_> = (0..60)
        .map(|i| (["0", "3", "4"][i % 3], pixels(2304), ["Training", "Training", "PublicTest", "PrivateTest"][i % 4]))
        .collect();
    write_csv(&folder.path().join("faces.csv"), &rows);
    train_tiny(folder.path(), &["--preset", "baseline", "--data", "faces.csv", "--out", "run", "--quiet"]).ok();
    bionic(folder.path(), &["report", "run"]).ok();
    let run = folder.path().join("run");
    let scored = fs::read_to_string(run.join("report.html")).unwrap();
    let scored = pictures(&checked(&scored));
    assert!(!scored.iter().any(|t| t.starts_with("Density")), "the baseline has no column");
    fs::rename(folder.path().join("faces.csv"), folder.path().join("moved.csv")).unwrap();

    let outcome = bionic(folder.path(), &["report", "run"]);
    assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
    assert!(outcome.stderr.contains("no scores in the report") && outcome.stderr.contains("faces.csv"));
    let text = fs::read_to_string(run.join("report.html")).unwrap();
    let page = checked(&text);
    assert!(words(&page).contains("Not scored: ") && !run.join("report-csv/confusion.csv").exists());
    let rest: Vec<String> = scored.into_iter().filter(|t| !t.contains("Test")).collect();
    assert_eq!(pictures(&page), rest);

    refused(folder.path(), &["report", "run", "--data", "gone.csv"], 3, &["gone.csv"]);
    bionic(folder.path(), &["report", "run", "--data", "moved.csv"]).ok();
    assert!(run.join("report-csv/confusion.csv").exists());
}

#[test]
fn names_from_a_connectome_stay_text() {
    let folder = folder();
    let mut tables = Tables::new(|_, _| true);
    for line in &mut tables.neurons {
        *line = line.replace("5P-IT", "<script>alert(1)</script>").replace("6P-CT", "\"a & bé\"");
    }
    tables.write(&folder.path().join("wiring"));
    train_tiny(folder.path(), &["--connectome", "wiring", "--out", "<run> & 'co'", "--quiet"]).ok();
    bionic(folder.path(), &["report", "<run> & 'co'"]).ok();
    let text = fs::read_to_string(folder.path().join("<run> & 'co'/report.html")).unwrap();
    let page = checked(&text);
    let said = words(&page);
    for word in ["Run <run> & 'co'", "L5 <script>alert(1)</script> (4)", "L6 a & bé (4)"] {
        assert!(said.contains(word), "{word}: {said}");
    }
}

#[test]
fn a_folder_that_is_no_run() {
    let folder = folder();
    fs::create_dir(folder.path().join("notes")).unwrap();
    fs::write(folder.path().join("notes/notes.txt"), "no run").unwrap();
    for run in ["notes", "gone"] {
        refused(folder.path(), &["report", run], 5, &[run, "bionic-cpu train"]);
    }
    let run = own_run(folder.path());
    fs::write(run.join("metrics.jsonl"), "{\"epoch\":1}\n").unwrap();
    refused(folder.path(), &["report", "run"], 5, &["metrics.jsonl", "line 1"]);
    fs::write(run.join("metrics.jsonl"), "").unwrap();
    refused(folder.path(), &["report", "run"], 5, &["metrics.jsonl", "has 0 of the 1 finished epochs", "restore"]);
    fs::remove_file(run.join("run.json")).unwrap();
    refused(folder.path(), &["report", "run"], 5, &["run.json"]);
}

#[test]
fn a_record_lost_behind_the_best_epoch_is_missed() {
    let folder = folder();
    let still = ["learning.learning_rate=0", "learning.mode=backprop", "data.demo_train=32", "data.demo_test=20"];
    let sets = still.iter().flat_map(|set| ["--set", set]);
    let args: Vec<&str> =
        ["train", "--quiet", "--out", "run", "--epochs", "3", "--preset", "baseline"].into_iter().chain(sets).collect();
    bionic(folder.path(), &args).ok();
    bionic(folder.path(), &["report", "run"]).ok();
    let log = folder.path().join("run/metrics.jsonl");
    let records = fs::read_to_string(&log).unwrap();
    let two: Vec<&str> = records.split_inclusive('\n').take(2).collect();
    fs::write(&log, two.concat()).unwrap();
    refused(folder.path(), &["report", "run"], 5, &["metrics.jsonl", "has 2 of the 3 finished epochs", "restore"]);
}

/// Scores of three classes about `accuracy`.
fn scores(accuracy: f64) -> SplitScores {
    let class = |(i, name): (usize, &str)| ClassRecall { class: name.into(), recall: accuracy - 0.1 * i as f64 };
    SplitScores {
        images: 1000,
        accuracy,
        macro_f1: accuracy - 0.02,
        roc_auc: Some(0.9),
        recall: ["left", "right & <b>", "up"].into_iter().enumerate().map(class).collect(),
    }
}

/// A row of `results.csv`.
fn result(model: &str, seed: u64, accuracy: f64) -> CellResult {
    CellResult {
        model: model.into(),
        test: scores(accuracy),
        public: Some(scores(accuracy + 0.01)),
        private: Some(scores(accuracy - 0.01)),
        run: RunNumbers {
            seed,
            best_epoch: 1,
            epochs: 1,
            parameters: 1_381_223,
            synapses: 15_760,
            seconds: 90.0,
            version: "0.1.0".into(),
            data: "0123456789abcdef".into(),
            connectome: "0123456789abcdef".into(),
            configuration: "0123456789abcdef".into(),
        },
    }
}

/// Noise that differs from seed to seed and from model to model.
fn jitter(model: usize, seed: u64) -> f64 {
    [0.003, -0.002, 0.001, 0.004, -0.005][(model * 2 + seed as usize) % 5]
}

/// A study of a reference, two models like it and one far below, five seeds each, in a new folder.
fn study(dir: &Path) -> Vec<CellResult> {
    fs::create_dir(dir).unwrap();
    let models = [("near-1", 0.601), ("full", 0.6), ("far", 0.45), ("near-2", 0.598)];
    let of = |(m, (name, mean)): (usize, &(&str, f64))| -> Vec<CellResult> {
        (1..=5).map(|seed| result(name, seed, mean + jitter(m, seed))).collect()
    };
    let cells: Vec<CellResult> = models.iter().enumerate().flat_map(of).collect();
    write_results(&dir.join("results.csv"), &cells).unwrap();
    let about = r#"{"title":"What <b> matters","reference":"full","models":["full","near-1","far","near-2"],
        "published":{"full":0.5977,"far":0.36}}"#;
    fs::write(dir.join("study.json"), about).unwrap();
    cells
}

#[test]
fn a_study_has_every_plot_and_its_numbers() {
    let folder = folder();
    let dir = folder.path().join("study");
    let cells = study(&dir);
    for seed in [1, 2] {
        let run = dir.join(format!("near-1-s{seed}"));
        fs::create_dir(&run).unwrap();
        fs::copy(finished_run().join("metrics.jsonl"), run.join("metrics.jsonl")).unwrap();
    }
    fs::write(dir.join("near-1-s2/report.html"), "").unwrap();
    let outcome = bionic(folder.path(), &["report", "study", "--json"]);
    assert_eq!(outcome.stderr, "");
    assert_eq!(outcome.json()["path"], "study/report.html");
    let text = fs::read_to_string(dir.join("report.html")).unwrap();
    let page = checked(&text);
    let expected = [
        "Accuracy of every model and seed",
        "Accuracy of every model and seed: models within 3 points of full",
        "Difference in accuracy to full",
        "Difference in accuracy to full: models within 3 points",
        "Recall by model and class",
        "Learning curve of near-1",
    ];
    assert_eq!(pictures(&page), expected);
    let said = words(&page);
    for word in
        ["What <b> matters", "points below full (p < 0.001 after Holm)", "no difference shown", "18 runs are left out"]
    {
        assert!(said.contains(word), "{word}: {said}");
    }
    let links: Vec<&str> = page.descendants().filter_map(|n| n.attribute("href")).collect();
    assert!(links.contains(&"./near-1-s1/") && links.contains(&"./near-1-s2/report.html"), "{links:?}");

    // The means are those of the differences of the pairs; every dot of the plot is a row.
    let (_, rows) = table(&dir, "model_accuracy.csv");
    assert_eq!(rows.len(), 3 * cells.len());
    let (columns, rows) = table(&dir, "verdicts.csv");
    assert_eq!(&columns[..5], ["model", "pairs", "difference", "low", "high"]);
    let far = rows.iter().find(|r| r[0] == "far").unwrap();
    let mean = (1..=5).map(|s| -0.15 + jitter(2, s) - jitter(1, s)).sum::<f64>() / 5.0;
    assert_eq!(far[1], "5");
    assert!((far[2].parse::<f64>().unwrap() - mean).abs() < 1e-9, "{far:?} {mean}");
    assert!(far[3].parse::<f64>().unwrap() < mean && far[4].parse::<f64>().unwrap() > mean);
    // Two diamonds in each plot that has room for both figures, one of them in the legend.
    let svg = page.descendants().find(|n| n.has_tag_name("svg")).unwrap();
    let dots = svg.children().filter(|n| n.has_tag_name("circle")).count();
    assert_eq!(dots, cells.len() + 1, "a dot for each run, and one in the legend");

    // A curve is not drawn as if a run had stopped where its records end; and what a model is follows from its runs.
    fs::write(dir.join("near-1-s2/metrics.jsonl"), "").unwrap();
    fs::create_dir(dir.join("full-s3")).unwrap();
    let config = fs::read_to_string(finished_run().join("config.toml")).unwrap();
    fs::write(dir.join("full-s3/config.toml"), &config).unwrap();
    let other = config.replace("label_smoothing = 0.1\n", "label_smoothing = 0.25\n");
    fs::write(dir.join("near-1-s1/config.toml"), other).unwrap();
    let outcome = bionic(folder.path(), &["report", "study"]);
    assert!(outcome.stderr.contains("near-1-s2/metrics.jsonl: has 0 of the 1 finished epochs"), "{}", outcome.stderr);
    outcome.ok();
    let text = fs::read_to_string(dir.join("report.html")).unwrap();
    let said = words(&checked(&text));
    for word in ["19 runs are left out", "learning.label_smoothing = 0.25 (0.1)", "its run folders are gone"] {
        assert!(said.contains(word), "{word}: {said}");
    }

    // A plan of fewer models and seeds than the folder has runs is reported as such, like its table.
    let about = r#"{"title":"fewer","reference":"full","models":["full","far"],"seeds":[1,2,3],"published":{}}"#;
    fs::write(dir.join("study.json"), about).unwrap();
    bionic(folder.path(), &["report", "study"]).ok();
    let (_, rows) = table(&dir, "model_accuracy.csv");
    assert_eq!(rows.len(), 3 * 2 * 3);

    // Before the study is through, nobody says what is compared.
    fs::remove_file(dir.join("study.json")).unwrap();
    let outcome = bionic(folder.path(), &["report", "study"]);
    assert!(outcome.stderr.contains("study.json") && outcome.stderr.contains("model full"), "{}", outcome.stderr);
    outcome.ok();
    checked(&fs::read_to_string(dir.join("report.html")).unwrap());
}

#[test]
fn names_in_the_results_of_a_study_stay_text_and_lead_nowhere() {
    let folder = folder();
    let dir = folder.path().join("study");
    fs::create_dir_all(folder.path().join("out-s1")).unwrap();
    fs::copy(finished_run().join("metrics.jsonl"), folder.path().join("out-s1/metrics.jsonl")).unwrap();
    fs::create_dir(&dir).unwrap();
    let names = ["<script>alert(1)</script>", "../out", "javascript:alert(1)", "\" onload=\"x"];
    let cells: Vec<CellResult> = names.iter().map(|name| result(name, 1, 0.5)).collect();
    write_results(&dir.join("results.csv"), &cells).unwrap();
    bionic(folder.path(), &["report", "study"]).ok();
    let text = fs::read_to_string(dir.join("report.html")).unwrap();
    let page = checked(&text);
    let said = words(&page);
    for name in names {
        assert!(said.contains(&format!("{name}-s1 (folder is gone)")), "{name}: {said}");
    }
    assert!(!pictures(&page).iter().any(|t| t.starts_with("Learning")), "a file outside of the study was read");
}

#[test]
fn a_large_study_makes_no_large_page() {
    let folder = folder();
    let dir = folder.path().join("study");
    fs::create_dir(&dir).unwrap();
    let cells: Vec<CellResult> = (0..3000).map(|i| result(&format!("model-{}", i / 5), i % 5, 0.5)).collect();
    write_results(&dir.join("results.csv"), &cells).unwrap();
    bionic(folder.path(), &["report", "study"]).ok();
    let text = fs::read_to_string(dir.join("report.html")).unwrap();
    assert!(words(&checked(&text)).contains("The first 60 of 600 models"));
    assert_eq!(table(&dir, "model_accuracy.csv").1.len(), 9000, "the numbers are whole");
}

#[test]
fn a_study_that_cannot_be_used() {
    let folder = folder();
    let dir = folder.path().join("study");
    study(&dir);
    refused(folder.path(), &["report", "study", "--data", "demo"], 2, &["--data", "study"]);
    let good = fs::read_to_string(dir.join("results.csv")).unwrap();
    fs::write(dir.join("results.csv"), good.replacen("near-1,1,", "near-1,one,", 1)).unwrap();
    refused(folder.path(), &["report", "study"], 3, &["results.csv", "line 2", "seed"]);
    // A study of which nothing is finished is one.
    fs::write(dir.join("results.csv"), good.lines().next().unwrap()).unwrap();
    bionic(folder.path(), &["report", "study"]).ok();
    let text = fs::read_to_string(dir.join("report.html")).unwrap();
    assert!(words(&checked(&text)).contains("No run is finished yet"));
}

#[test]
fn lesions_and_tuning_of_a_run_are_shown() {
    let folder = folder();
    let run = own_run(folder.path());
    let lesion = ["lesion", "run", "--each", "lamina,polarity", "--repeats", "2", "--quiet"];
    bionic(folder.path(), &lesion).ok();
    bionic(folder.path(), &["report", "run"]).ok();
    let text = fs::read_to_string(run.join("report.html")).unwrap();
    let page = checked(&text);
    let drawn = pictures(&page);
    for title in [
        "Change of accuracy by lesion",
        "Change of recall by lesion and class",
        "Selectivity for classes by lamina and cell type",
        "Lifetime sparseness by lamina and cell type",
        "Preferred class by lamina and cell type",
    ] {
        assert!(drawn.iter().any(|d| d == title), "{title} is not among {drawn:?}");
    }
    // The same change as in the table that the lesions were written to.
    let mut reader = csv::Reader::from_path(run.join("lesions.csv")).unwrap();
    let header = reader.headers().unwrap().clone();
    let cell = |row: &csv::StringRecord, name: &str| row[header.iter().position(|h| h == name).unwrap()].to_owned();
    let rows: Vec<csv::StringRecord> = reader.records().map(|r| r.unwrap()).collect();
    let named: Vec<_> = rows.iter().filter(|r| cell(r, "kind") == "lesion").collect();
    let (columns, shown) = table(&run, "lesion_accuracy.csv");
    assert!(columns[4] == "accuracy_change" && named.len() == shown.len() && named.len() >= 6, "{columns:?}");
    for (row, shown) in named.iter().zip(&shown) {
        assert_eq!((cell(row, "name"), cell(row, "accuracy_change")), (shown[0].clone(), shown[4].clone()));
    }
    let (_, rows) = table(&run, "preferred_class.csv");
    let neurons = csv::Reader::from_path(run.join("tuning.csv")).unwrap().records().count();
    assert_eq!(rows.iter().map(|r| r[3].parse::<usize>().unwrap()).sum::<usize>(), neurons);

    // Lesions of weights that are no longer the run's say nothing about it.
    let table = fs::read_to_string(run.join("lesions.csv")).unwrap();
    let weights =
        cell(&csv::Reader::from_path(run.join("lesions.csv")).unwrap().records().next().unwrap().unwrap(), "weights");
    let tuning = fs::read_to_string(run.join("tuning.csv")).unwrap();
    for (name, table) in [("lesions.csv", &table), ("tuning.csv", &tuning)] {
        fs::write(run.join(name), table.replace(&weights, "0123456789abcdef")).unwrap();
    }
    let outcome = bionic(folder.path(), &["report", "run"]);
    for name in ["lesions.csv", "tuning.csv"] {
        let told = outcome.stderr.lines().any(|line| line.contains(name) && line.contains("of other weights"));
        assert!(told, "{name}: {}", outcome.stderr);
    }
    let text = fs::read_to_string(run.join("report.html")).unwrap();
    assert!(!pictures(&checked(&text)).iter().any(|t| t.contains("by lesion") || t.contains("Selectivity")));
    assert_eq!(bionic(folder.path(), &["report", "run", "--quiet"]).stderr, "", "quiet is quiet");
    fs::write(run.join("lesions.csv"), "name\nx\n").unwrap();
    refused(folder.path(), &["report", "run"], 3, &["lesions.csv"]);
}

#[test]
fn lesions_of_a_study_are_averaged_over_the_runs_of_each_model() {
    let folder = folder();
    let run = own_run(folder.path());
    bionic(folder.path(), &["lesion", "run", "--each", "lamina", "--repeats", "2", "--quiet"]).ok();
    let mut reader = csv::Reader::from_path(run.join("lesions.csv")).unwrap();
    let header = reader.headers().unwrap().clone();
    let rows: Vec<csv::StringRecord> = reader.records().map(|r| r.unwrap()).collect();
    let at = |name: &str| header.iter().position(|h| h == name).unwrap();
    let number = |row: &csv::StringRecord, name: &str| row[at(name)].parse::<f64>().unwrap();
    let intact = rows.iter().find(|r| &r[at("kind")] == "intact").unwrap();

    // The same lesions in two runs of `full`, in the second one everything costs 0.01 more; in one of `less` only the first.
    let dir = folder.path().join("study");
    let place = |run: &str, more: f64, keep: &dyn Fn(&csv::StringRecord) -> bool| {
        fs::create_dir_all(dir.join(run)).unwrap();
        let mut writer = csv::Writer::from_path(dir.join(run).join("lesions.csv")).unwrap();
        writer.write_record(&header).unwrap();
        for row in rows.iter().filter(|r| keep(r)) {
            let costs = if &row[at("kind")] == "intact" { 0.0 } else { more };
            let change = |(i, cell): (usize, &str)| match i {
                i if i == at("accuracy_change") => (cell.parse::<f64>().unwrap() - costs).to_string(),
                _ => cell.to_owned(),
            };
            writer.write_record(row.iter().enumerate().map(change)).unwrap();
        }
        writer.flush().unwrap();
    };
    let first = rows.iter().find(|r| &r[at("kind")] == "lesion").unwrap();
    let of_first =
        |r: &csv::StringRecord| r[at("selector")] == first[at("selector")] || r[at("kind")] == intact[at("kind")];
    place("full-s1", 0.0, &|_| true);
    place("full-s2", 0.01, &|_| true);
    place("less-s1", 0.0, &of_first);
    place("other-s1", 0.0, &|_| true);
    let scored = |model: &str, seed, accuracy| {
        let mut cell = result(model, seed, 0.5);
        (cell.test.accuracy, cell.test.images) = (accuracy, number(intact, "images") as usize);
        cell
    };
    let accuracy = number(intact, "accuracy");
    // That of `other` was scored with other weights; the third of `full` has no lesions.
    let cells = [("full", 1, 0.0), ("full", 2, 0.0), ("full", 3, 0.0), ("less", 1, 0.0), ("other", 1, 0.1)];
    write_results(&dir.join("results.csv"), &cells.map(|(model, seed, off)| scored(model, seed, accuracy - off)))
        .unwrap();
    let outcome = bionic(folder.path(), &["report", "study"]);
    let told =
        |part: &str| outcome.stderr.lines().any(|line| line.contains(part) && line.contains("scored as in the study"));
    assert!(told("other-s1") && !told("less-s1"), "{}", outcome.stderr);
    let text = fs::read_to_string(dir.join("report.html")).unwrap();
    let page = checked(&text);
    assert!(pictures(&page).iter().any(|t| t == "Change of accuracy by lesion and model"));
    assert!(words(&page).contains("full (2)") && words(&page).contains("less (1)"), "{}", words(&page));

    let lesions: Vec<_> = rows.iter().filter(|r| &r[at("kind")] == "lesion").collect();
    let (columns, shown) = table(&dir, "model_lesions.csv");
    assert_eq!(columns[..3], ["model", "name", "runs"]);
    assert_eq!(shown.len(), lesions.len() + 1, "{shown:?}");
    let near = |text: &str, value: f64| (text.parse::<f64>().unwrap() - value).abs() < 1e-9;
    for (row, shown) in lesions.iter().zip(&shown) {
        assert_eq!(shown[..3], ["full", &row[at("name")], "2"]);
        assert!(near(&shown[5], number(row, "accuracy_change") - 0.005), "{shown:?}");
        assert!(near(&shown[6], 0.01 / 2.0f64.sqrt()), "{shown:?}");
    }
    let of_less = &shown[lesions.len()];
    assert_eq!((of_less[0].as_str(), of_less[2].as_str(), of_less[6].as_str()), ("less", "1", ""));
    assert!(near(&of_less[5], number(first, "accuracy_change")), "{of_less:?}");
    // Of other images first: the set of the study is found behind it.
    let table_of = |run: &str| dir.join(run).join("lesions.csv");
    let text = fs::read_to_string(table_of("full-s2")).unwrap();
    let (head, body) = text.split_once('\n').unwrap();
    let elsewhere = body.replace(&intact[at("data")], "elsewhere.csv");
    fs::write(table_of("full-s2"), [head, "\n", &elsewhere, body].concat()).unwrap();
    bionic(folder.path(), &["report", "study"]).ok();
    assert_eq!(table(&dir, "model_lesions.csv").1, shown);
    // What one run of a model lacks is left out with a word.
    place("full-s3", 0.0, &of_first);
    let outcome = bionic(folder.path(), &["report", "study"]);
    assert!(outcome.stderr.contains("model full: lesions left out"), "{}", outcome.stderr);
    assert_eq!(table(&dir, "model_lesions.csv").1.len(), 2);
    fs::remove_file(table_of("full-s3")).unwrap();
    // A table that cannot be read is told of; the others are shown.
    fs::write(dir.join("less-s1/lesions.csv"), "name\nx\n").unwrap();
    let outcome = bionic(folder.path(), &["report", "study"]);
    assert!(outcome.stderr.contains("no lesions: study/less-s1/lesions.csv"), "{}", outcome.stderr);
    assert_eq!(table(&dir, "model_lesions.csv").1.len(), lesions.len());
}
