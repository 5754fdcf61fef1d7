//! `lesion` on the real program with a tiny run: what it prints, what it writes, and what it refuses.

#![allow(clippy::unwrap_used)] // A test may panic.

mod cli_support;

use bionic_cpu::connectome::{Polarity, read_folder};
use bionic_cpu::data::EXPRESSIONS;
use bionic_cpu::eval::EvalSplit;
use bionic_cpu::lesion::{self, Kind, Lesion, Match, REPEATS, Request, Selection, What, read_lesions, read_tuning};
use cli_support::*;
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A copy of the finished run as `folder/run`.
fn copied_run(folder: &Path) -> PathBuf {
    let run = folder.join("run");
    copy_run(finished_run(), &run);
    run
}

/// `lesion run` with these flags.
fn lesion(folder: &Path, flags: &[&str]) -> Outcome {
    bionic(folder, &[&["lesion", "run"], flags].concat())
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("a number expected, found {value}"))
}

fn of<'a>(rows: &'a [Lesion], selector: &str, kind: Kind) -> Vec<&'a Lesion> {
    rows.iter().filter(|r| r.selector == selector && r.kind == kind).collect()
}

#[test]
fn every_type_and_every_lamina_beside_random_cells() {
    let folder = folder();
    let run = copied_run(folder.path());
    let json = lesion(folder.path(), &["--repeats", "3", "--json", "--quiet"]).json();
    let eval = bionic(folder.path(), &["eval", "run", "--json"]).json();
    for key in ["accuracy", "macro_f1", "roc_auc"] {
        assert_eq!(json["intact"][key], eval[key], "{key} of the intact network is that of eval");
    }
    assert_eq!((json["split"].as_str(), json["images"].as_u64()), (Some("test"), Some(128)));
    assert_eq!(json["population"]["excitatory"].as_u64(), Some(1183));

    let connectome = read_folder(&run.join("connectome")).unwrap();
    let types: BTreeSet<&str> = connectome.neurons.iter().map(|n| n.cell_type.as_str()).collect();
    let lesions = json["lesions"].as_array().unwrap();
    assert_eq!(lesions.len(), types.len() + connectome.laminae().len());
    for l in lesions {
        let (lesion, controls) = (&l["lesion"], &l["controls"]);
        assert_eq!(lesion["recall"].as_object().unwrap().keys().collect::<Vec<_>>(), EXPRESSIONS);
        let change = number(&lesion["accuracy"]) - number(&eval["accuracy"]);
        assert!((number(&lesion["accuracy_change"]) - change).abs() < 1e-12, "{l}");
        // L4 has one type of excitatory cells; the inhibitory ones of a lamina go with it.
        let name = l["name"].as_str().unwrap();
        let alone = name.starts_with('L') || ["23P", "4P"].contains(&name);
        let kinds: Vec<_> = controls.as_array().unwrap().iter().map(|c| c["matched"].as_str().unwrap()).collect();
        assert_eq!(kinds, if alone { &["polarity"][..] } else { &["polarity", "lamina"] }, "{name}");
        for c in controls.as_array().unwrap() {
            let p = number(&c["p_more"]);
            assert!(c["repeats"] == 3 && [0.25, 0.5, 0.75, 1.0].contains(&p), "{l}");
        }
    }

    let rows = read_lesions(&run.join("lesions.csv")).unwrap();
    let draws: usize = lesions.iter().map(|l| 3 * l["controls"].as_array().unwrap().len()).sum();
    assert_eq!(rows.len(), 1 + lesions.len() + draws);
    assert_eq!((rows[0].kind, rows[0].accuracy), (Kind::Intact, number(&eval["accuracy"])));
    let type_4p = of(&rows, "cell-type=4P", Kind::Lesion);
    let cells = connectome.neurons.iter().filter(|n| n.cell_type == "4P");
    assert_eq!(type_4p[0].ids().collect::<Vec<_>>(), cells.map(|n| n.id.as_str()).collect::<Vec<_>>());
    let controls = of(&rows, "cell-type=4P", Kind::Control);
    assert_eq!(controls.iter().map(|r| r.repeat).collect::<Vec<_>>(), [1, 2, 3]);
    let within = of(&rows, "cell-type=5P-IT", Kind::Control);
    assert_eq!(within.iter().map(|r| r.matched).collect::<BTreeSet<_>>().len(), 2);
    let lamina = |id: &str| connectome.neurons.iter().find(|n| n.id == id).unwrap().lamina.as_str();
    let in_l5 = |r: &Lesion| r.ids().all(|id| lamina(id) == "L5");
    assert!(within.iter().all(|r| in_l5(r) == (r.matched == Some(Match::Lamina))));
    assert!(controls.iter().all(|r| r.excitatory == type_4p[0].excitatory && r.ids != type_4p[0].ids));
    // Silencing the lamina before the read-out leaves one answer for all images.
    let l6 = of(&rows, "lamina=L6", Kind::Lesion)[0];
    assert_eq!(l6.recall.iter().filter(|r| **r > 0.0).count(), 1, "{l6:?}");

    let (_, tuning) = read_tuning(&run.join("tuning.csv")).unwrap();
    assert_eq!(tuning.len(), 1183, "with graded inhibition only excitatory cells are units");
    let ids: BTreeSet<&str> = tuning.iter().map(|t| t.id.as_str()).collect();
    assert_eq!(ids.len(), 1183);
    for t in &tuning {
        let n = connectome.neurons.iter().find(|n| n.id == t.id).unwrap();
        assert_eq!((&t.cell_type, &t.lamina, t.polarity), (&n.cell_type, &n.lamina, Polarity::Excitatory));
        assert_eq!(t.position_um, n.position_um);
    }

    let matched = lesion(folder.path(), &["--each", "lamina", "--match", "lamina", "--repeats", "2", "--json"]).json();
    let matched = matched["lesions"].as_array().unwrap();
    assert!(
        matched.iter().all(|l| l["controls"].as_array().unwrap().is_empty()),
        "a whole lamina has nothing to be compared with"
    );

    let text = lesion(folder.path(), &["--repeats", "2"]).ok();
    for part in ["intact: accuracy", "4P", "L2/3", "in lamina", "lesions.csv", "tuning.csv", "happy"] {
        assert!(text.contains(part), "`{part}` expected in {text}");
    }
}

#[test]
fn a_selection_is_one_lesion_and_rows_of_others_stay() {
    let folder = folder();
    let run = copied_run(folder.path());
    let rows = || read_lesions(&run.join("lesions.csv")).unwrap();
    let one = lesion(folder.path(), &["--cell-type", "23P", "--repeats", "0", "--json"]).json();
    let l = &one["lesions"][0];
    assert_eq!((l["name"].as_str(), l["controls"].as_array().map(Vec::len)), (Some("23P"), Some(0)));
    assert_eq!(l["lesion"]["excitatory"].as_u64(), Some(349));
    let ids = rows()[1].ids.replace(';', "\n");
    fs::write(folder.path().join("mine"), ids).unwrap();
    let flags = ["--ids", "mine", "--name", "cluster", "--repeats", "2", "--json", "--split", "public"];
    let by_id = lesion(folder.path(), &flags).json();
    assert_eq!(by_id["lesions"][0]["name"].as_str(), Some("cluster"));
    let public = lesion(folder.path(), &["--cell-type", "23P", "--repeats", "0", "--json", "--split", "public"]).json();
    assert_eq!(by_id["lesions"][0]["lesion"]["accuracy"], public["lesions"][0]["lesion"]["accuracy"]);
    lesion(folder.path(), &["--cell-type", "BC", "--lamina", "L4", "--repeats", "1"]).ok();
    let all = rows();
    let count = |kind| all.iter().filter(|r| r.kind == kind).count();
    // Twice intact (test, public); 23P on both; the cluster, all of its lamina, and two draws; BC in L4 and two.
    assert_eq!((count(Kind::Intact), count(Kind::Lesion), count(Kind::Control)), (2, 4, 4));
    let before = of(&all, "cell-type=BC; lamina=L4", Kind::Control);
    fs::remove_file(run.join("lesions.csv")).unwrap();
    lesion(folder.path(), &["--cell-type", "BC", "--lamina", "L4", "--repeats", "1", "--threads", "3"]).ok();
    assert_eq!(of(&rows(), "cell-type=BC; lamina=L4", Kind::Control), before, "the same call gives the same rows");

    let random = lesion(folder.path(), &["--random", "50", "--random", "900", "--polarity", "E", "--json"]).json();
    let draws = random["lesions"].as_array().unwrap();
    assert_eq!(draws.len(), 2);
    assert!(draws.iter().all(|l| l["lesion"].is_null() && l["controls"][0]["repeats"] == REPEATS), "{random}");
    assert!(of(&rows(), "random=50; polarity=E", Kind::Control).iter().all(|r| r.excitatory == 50));
}

#[test]
fn a_call_that_was_cut_short_goes_on_from_its_table() {
    let folder = folder();
    let run = copied_run(folder.path());
    let path = run.join("lesions.csv");
    let request = Request {
        selection: Selection { laminae: vec!["L5".into()], ..Selection::default() },
        what: What::Together(None),
        data: None,
        split: EvalSplit::Private,
        repeats: Some(6),
        matched: Match::ALL.to_vec(),
        seed: 1,
        threads: 1,
        save_every: Duration::ZERO,
    };
    // What lies there while the work goes on, after each scoring but the newest: what a kill would leave.
    let mut left: Vec<usize> = Vec::new();
    let report = lesion::lesion(
        &run,
        &request,
        &mut |_| left.push(if path.exists() { read_lesions(&path).unwrap().len() } else { 0 }),
        &mut |warning| panic!("{warning}"),
    );
    assert_eq!(report.unwrap().taken_up, 0);
    let whole = read_lesions(&path).unwrap();
    assert_eq!(left, [0].into_iter().chain(2..whole.len()).collect::<Vec<_>>());

    let again = || lesion::lesion(&run, &request, &mut |_| {}, &mut |_| {}).unwrap().taken_up;
    let table = |lines: &[String]| fs::write(&path, lines.join("\n") + "\n").unwrap();
    let lines: Vec<String> = fs::read_to_string(&path).unwrap().lines().map(str::to_owned).collect();
    let rows = whole.len() / 2;
    table(&lines[..=rows]);
    assert_eq!(again(), rows - 1);
    assert_eq!(read_lesions(&path).unwrap(), whole, "the rows are those of a call that was not cut short");
    // While other draws of the same lesion are made, those that it has stay.
    let more = Request { seed: 2, repeats: Some(8), ..request.clone() };
    let mut least = usize::MAX;
    let mut count = |_| least = least.min(read_lesions(&path).unwrap().len());
    lesion::lesion(&run, &more, &mut count, &mut |_| {}).unwrap();
    assert!(
        least >= whole.len() && read_lesions(&path).unwrap().len() == whole.len() + 2,
        "{least} of {}",
        whole.len()
    );
    // The scores are read, not made again; unless they are of other images.
    let mut other = lines;
    other[2] = other[2].replacen(&format!(",{},", whole[1].accuracy), ",0.125,", 1);
    table(&other);
    assert_eq!(again(), whole.len() - 1);
    assert_eq!(read_lesions(&path).unwrap()[1].accuracy, 0.125);
    other
        .iter_mut()
        .for_each(|line| *line = line.replacen(&format!(",{},", whole[0].dataset), ",0123456789abcdef,", 1));
    table(&other);
    assert_eq!(again(), 0);
    assert_eq!(read_lesions(&path).unwrap(), whole);
}

#[test]
fn calls_at_the_same_time_keep_each_others_rows() {
    let folder = folder();
    let run = copied_run(folder.path());
    let laminae = ["L4", "L2/3", "L5", "L6"];
    std::thread::scope(|scope| {
        for lamina in laminae {
            let folder = folder.path();
            scope.spawn(move || lesion(folder, &["--lamina", lamina, "--repeats", "2", "--quiet"]).ok());
        }
    });
    let rows = read_lesions(&run.join("lesions.csv")).unwrap();
    for lamina in laminae {
        assert_eq!(of(&rows, &format!("lamina={lamina}"), Kind::Lesion).len(), 1, "{lamina}");
    }
}

#[test]
fn every_neuron_alone() {
    let folder = folder();
    let run = copied_run(folder.path());
    lesion(folder.path(), &["--lamina", "L6", "--polarity", "E", "--each", "neuron", "--split", "private"]).ok();
    let rows = read_lesions(&run.join("lesions.csv")).unwrap();
    assert_eq!(rows.len(), 1 + 383);
    let (_, tuning) = read_tuning(&run.join("tuning.csv")).unwrap();
    let l6: BTreeSet<&str> = tuning.iter().filter(|t| t.lamina == "L6").map(|t| t.id.as_str()).collect();
    assert_eq!(rows[1..].iter().flat_map(Lesion::ids).collect::<BTreeSet<_>>(), l6);
    assert!(rows[1..].iter().all(|r| r.kind == Kind::Lesion && r.excitatory == 1));
    assert!(rows[1..].iter().any(|r| r.lost + r.gained > 0), "nobody matters");
}

#[test]
fn interneurons_are_silenced_and_have_tuning() {
    let folder = folder();
    train_tiny(folder.path(), &["--quiet", "--preset", "bionic-ei", "--out", "run"]).ok();
    let json = lesion(folder.path(), &["--each", "polarity", "--repeats", "0", "--json"]).json();
    let inhibitory = &json["lesions"][1];
    assert_eq!(inhibitory["name"].as_str(), Some("inhibitory"));
    assert!(inhibitory["lesion"]["inhibitory"].as_u64().unwrap() > 100, "{inhibitory}");
    let changed = number(&inhibitory["lesion"]["lost"]) + number(&inhibitory["lesion"]["gained"]);
    assert!(changed > 0.0, "{inhibitory}");
    let (_, tuning) = read_tuning(&folder.path().join("run/tuning.csv")).unwrap();
    assert!(tuning.iter().any(|t| t.polarity == Polarity::Inhibitory && t.mean > 0.0));
}

#[test]
fn what_cannot_be_silenced_is_refused_and_nothing_is_written() {
    let folder = folder();
    let run = copied_run(folder.path());
    let refuse = |flags: &[&str], code: i32, words: &[&str]| {
        refused(folder.path(), &[&["lesion", "run"], flags].concat(), code, words);
    };
    refuse(&["--cell-type", "4p"], 2, &["cell type \"4p\"", "did you mean `4P`?", "23P, 4P"]);
    refuse(&["--lamina", "L7"], 2, &["lamina \"L7\"", "L1, L2/3, L4, L5, L6"]);
    refuse(&["--ids", "0,no"], 2, &["neuron \"no\"", "neurons.csv"]);
    refuse(&["--cell-type", "4P", "--lamina", "L6"], 2, &["no neuron meets all", "cell-type=4P; lamina=L6"]);
    refuse(&["--random", "99999"], 2, &["99999 random", "the network has"]);
    fs::write(run.join("lesions.csv"), "name,selector\nx,y\n").unwrap();
    refuse(&["--cell-type", "4P"], 3, &["lesions.csv", "no column `"]);
    train_tiny(folder.path(), &["--quiet", "--preset", "baseline", "--out", "flat"]).ok();
    refused(folder.path(), &["lesion", "flat"], 2, &["no column", "baseline"]);
    refused(folder.path(), &["lesion", "gone"], 5, &["gone"]);
    for flags in [["--each", "lobe"], ["--polarity", "X"], ["--match", "size"]] {
        assert_eq!(lesion(folder.path(), &flags).code, Some(2), "{flags:?}");
    }
}

/// The table over runs is made of the rows of each run: means of the same cells, and the rank among the means of the draws.
#[test]
fn several_runs_are_averaged_draw_by_draw() {
    let folder = folder();
    copied_run(folder.path());
    for seed in ["2", "3"] {
        train_tiny(folder.path(), &["--quiet", "--seed", seed, "--out", &format!("run-{seed}")]).ok();
    }
    let names = ["run", "run-2", "run-3"];
    let flags = ["--each", "cell-type", "--lamina", "L5", "--repeats", "4"];
    let call = [&["lesion"], &names[..], &flags[..]].concat();
    let json = bionic(folder.path(), &[&call[..], &["--json"]].concat()).json();
    let tables: Vec<_> =
        names.iter().map(|n| read_lesions(&folder.path().join(n).join("lesions.csv")).unwrap()).collect();
    for (name, report) in names.into_iter().zip(json["reports"].as_array().unwrap()) {
        fs::remove_file(folder.path().join(name).join("lesions.csv")).unwrap();
        let alone = bionic(folder.path(), &[&["lesion", name], &flags[..], &["--json"]].concat()).json();
        assert_eq!(alone["taken_up"], 0);
        assert_eq!((&alone["intact"], &alone["lesions"]), (&report["intact"], &report["lesions"]), "{name}");
    }
    let across = &json["across"];
    assert_eq!((&across["runs"], &across["left_out"]), (&Value::from(3), &Value::Array(Vec::new())));
    let near = |found: &Value, expected: f64| assert!((number(found) - expected).abs() < 1e-9, "{found} {expected}");
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
    let lesions = across["lesions"].as_array().unwrap();
    assert!(lesions.len() > 3);
    for l in lesions {
        let selector = l["selector"].as_str().unwrap();
        let changes: Vec<f64> = tables.iter().map(|rows| of(rows, selector, Kind::Lesion)[0].accuracy_change).collect();
        near(&l["lesion"]["accuracy_change"], mean(&changes));
        let sd = (changes.iter().map(|c| (c - mean(&changes)).powi(2)).sum::<f64>() / 2.0).sqrt();
        near(&l["accuracy_change_over_runs"]["sd"], sd);
        let lost = tables.iter().map(|rows| of(rows, selector, Kind::Lesion)[0].lost).sum::<usize>();
        assert_eq!(l["lesion"]["lost"], lost, "{l}");
        for c in l["controls"].as_array().unwrap() {
            let drawn = |rows: &[Lesion]| -> Vec<Lesion> {
                let matched = |r: &&&Lesion| r.matched.map(|m| m.to_string()).as_deref() == c["matched"].as_str();
                of(rows, selector, Kind::Control).iter().filter(matched).map(|r| (*r).clone()).collect()
            };
            let by_run: Vec<Vec<Lesion>> = tables.iter().map(|rows| drawn(rows)).collect();
            let of_draw = |d: usize| mean(&by_run.iter().map(|rows| rows[d].accuracy_change).collect::<Vec<_>>());
            assert!((0..4).all(|d| by_run.iter().all(|rows| rows[d].ids == by_run[0][d].ids)), "the same cells");
            let means: Vec<f64> = (0..4).map(of_draw).collect();
            near(&c["accuracy_change_mean"], mean(&means));
            let worse = means.iter().filter(|m| **m <= mean(&changes) + 1e-12).count();
            near(&c["p_more"], (worse as f64 + 1.0) / 5.0);
        }
    }
    let text = bionic(folder.path(), &call).ok();
    for part in ["run-2: epoch", "mean of 3 runs", "± sd over the runs", "5P-IT", "in lamina"] {
        assert!(text.contains(part), "`{part}` expected in {text}");
    }
    let random = [&["lesion"], &names[..], &["--random", "20", "--repeats", "2", "--json"]].concat();
    let drawn = bionic(folder.path(), &random).json();
    assert_eq!(drawn["across"]["lesions"][0]["accuracy_change_over_runs"]["n"], 3);
    // A network without inhibition has no inhibitory cells: what the runs do not have in common is left out, and where it is
    // the draws, the lesion is without p.
    train_tiny(folder.path(), &["--quiet", "--seed", "4", "--set", "column.inhibition=none", "--out", "other"]).ok();
    let parts = ["lesion", "run", "other", "--lamina", "L5", "--each", "polarity,lamina", "--repeats", "9", "--json"];
    let mixed = bionic(folder.path(), &parts).json();
    let left: Vec<&str> = mixed["across"]["left_out"].as_array().unwrap().iter().map(|s| s.as_str().unwrap()).collect();
    assert_eq!(left, ["lamina=L5", "lamina=L5; polarity=I"]);
    let kept = mixed["across"]["lesions"].as_array().unwrap();
    assert_eq!(kept.len(), 1);
    assert_eq!(kept[0]["controls"].as_array().map(Vec::len), Some(1), "{kept:?}");
}

#[test]
fn runs_that_are_no_repetitions_are_refused_or_told() {
    let folder = folder();
    let run = copied_run(folder.path());
    copy_run(&run, &folder.path().join("copy"));
    let flat = ["--quiet", "--preset", "baseline", "--out", "flat"];
    train_tiny(folder.path(), &flat).ok();
    let smooth = ["--quiet", "--seed", "2", "--set", "learning.label_smoothing=0", "--out", "other"];
    train_tiny(folder.path(), &smooth).ok();
    train_tiny(folder.path(), &["--quiet", "--set", "learning.learning_rate=0.002", "--out", "again"]).ok();
    refused(folder.path(), &["lesion", "run", "copy"], 2, &["run and copy hold the same weights", "once"]);
    refused(folder.path(), &["lesion", "run", "nowhere"], 5, &["nowhere"]);
    refused(folder.path(), &["lesion", "run", "flat"], 2, &["flat: the run has no column"]);
    fs::write(folder.path().join("other/lesions.csv"), "no table").unwrap();
    refused(folder.path(), &["lesion", "run", "other"], 3, &["other/lesions.csv"]);
    fs::remove_file(folder.path().join("other/lesions.csv")).unwrap();
    assert!(!run.join("lesions.csv").exists(), "nothing is scored before all runs are seen");

    let told = bionic(folder.path(), &["lesion", "run", "other", "--lamina", "L5", "--repeats", "1"]);
    let words = "other was trained otherwise than run: learning.label_smoothing was 0.1, is 0.0";
    assert!(told.stderr.contains(words) && !told.stderr.contains("seed"), "{}", told.stderr);
    assert!(told.ok().contains("mean of 2 runs"));
    let told = bionic(folder.path(), &["lesion", "run", "again", "--lamina", "L5", "--repeats", "1"]);
    assert!(told.stderr.contains("again has the seed of run: they are not independent"), "{}", told.stderr);
}
