//! The statistics of a study against SciPy: `tools/study_statistics.py` wrote `tests/golden/statistics.json`.

#![allow(clippy::unwrap_used)] // A test may panic.

use bionic_cpu::statistics::{
    EXACT_FLIPS_UP_TO, RANDOM_FLIPS, compare, describe, detectable, holm, normal_two_sided, t_quantile, t_two_sided,
};
use serde_json::{Value, json};
use std::path::Path;

/// Largest error, relative to the number that SciPy gives.
const TOLERANCE: f64 = 1e-9;
/// Errors below this are rounding of numbers of about 1.
const ROUNDING: f64 = 1e-14;

fn golden() -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/statistics.json");
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn rows<'a>(golden: &'a Value, name: &str) -> &'a [Value] {
    let rows = golden[name].as_array().unwrap();
    assert!(!rows.is_empty(), "no {name}");
    rows
}

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect()
}

/// Where `ours` differs from `golden`, number by number; what `golden` does not have is not looked at.
fn faults(place: &str, ours: &Value, golden: &Value) -> Vec<String> {
    match (ours, golden) {
        (Value::Object(ours), Value::Object(golden)) => golden
            .iter()
            .flat_map(|(key, value)| {
                faults(&format!("{place}, {key}"), ours.get(key).unwrap_or(&json!("absent")), value)
            })
            .collect(),
        (Value::Array(ours), Value::Array(golden)) if ours.len() == golden.len() => {
            ours.iter().zip(golden).flat_map(|(ours, golden)| faults(place, ours, golden)).collect()
        }
        (Value::Number(ours), Value::Number(golden)) => {
            let (ours, golden) = (ours.as_f64().unwrap(), golden.as_f64().unwrap());
            let near = (ours - golden).abs() <= ROUNDING + TOLERANCE * golden.abs();
            if near { Vec::new() } else { vec![format!("{place}: {ours:e}, SciPy has {golden:e}")] }
        }
        _ if ours == golden => Vec::new(),
        _ => vec![format!("{place}: {ours}, SciPy has {golden}")],
    }
}

#[track_caller]
fn expect_none(faults: Vec<String>) {
    assert!(faults.is_empty(), "{} faults:\n{}", faults.len(), faults.join("\n"));
}

#[test]
fn samples_are_described_as_by_scipy() {
    let golden = golden();
    let found = rows(&golden, "samples").iter().flat_map(|case| {
        let values = numbers(&case["values"]);
        let mut case = case.clone();
        case.as_object_mut().unwrap().remove("values");
        faults(&format!("{} numbers", values.len()), &json!(describe(&values)), &case)
    });
    expect_none(found.collect());
}

#[test]
fn pairs_are_compared_as_by_scipy() {
    let golden = golden();
    let (mut found, mut drawn) = (Vec::new(), 0);
    for case in rows(&golden, "pairs") {
        let (ours, reference) = (numbers(&case["ours"]), numbers(&case["reference"]));
        let name = case["name"].as_str().unwrap();
        let comparison = compare(&ours, &reference).unwrap();
        let mut case = case.clone();
        let figures = case.as_object_mut().unwrap();
        for input in ["name", "ours", "reference"] {
            figures.remove(input);
        }
        if ours.len() > EXACT_FLIPS_UP_TO {
            // Drawn flips, against all of them.
            let exact = figures.remove("permutation_p").unwrap().as_f64().unwrap();
            let p = comparison.permutation_p.unwrap();
            let error = (exact * (1.0 - exact) / RANDOM_FLIPS as f64).sqrt();
            if (p - exact).abs() > 5.0 * error + 1.0 / RANDOM_FLIPS as f64 {
                found.push(format!("{name}: drawn flips give {p}, all of them {exact}"));
            }
            drawn += 1;
        }
        found.extend(faults(name, &json!(comparison), &case));
    }
    assert!(drawn > 2, "{drawn} cases with drawn flips");
    expect_none(found);
}

#[test]
fn distributions_are_those_of_scipy() {
    let golden = golden();
    let mut found = Vec::new();
    for (name, f) in [
        ("student", (|row| t_two_sided(row[0], row[1])) as fn(&[f64]) -> f64),
        ("quantiles", |row| t_quantile(row[0], row[1])),
        ("normal", |row| normal_two_sided(row[0])),
        ("detectable", |row| detectable(row[0] as usize, row[1]).unwrap()),
    ] {
        for row in rows(&golden, name).iter().map(numbers) {
            found.extend(faults(&format!("{name} {row:?}"), &json!(f(&row)), &json!(row[row.len() - 1])));
        }
    }
    expect_none(found);
}

#[test]
fn families_are_adjusted_by_the_definition() {
    let golden = golden();
    let found = rows(&golden, "holm").iter().flat_map(|case| {
        let p = numbers(&case["p"]);
        faults(&format!("{p:?}"), &json!(holm(&p)), &case["adjusted"])
    });
    expect_none(found.collect());
}

/// The comparison is worth nothing if it does not see a wrong digit.
#[test]
fn a_wrong_number_is_seen() {
    let golden = json!({"p": 0.02, "interval": [0.1, 0.2], "t": null});
    assert!(faults("", &golden, &golden).is_empty());
    for other in [
        json!({"p": 0.020_000_000_1, "interval": [0.1, 0.2], "t": null}),
        json!({"p": 0.02, "interval": [0.1, 0.200_000_001], "t": null}),
        json!({"p": 0.02, "interval": [0.1], "t": null}),
        json!({"p": 0.02, "interval": [0.1, 0.2], "t": 1.0}),
        json!({"interval": [0.1, 0.2], "t": null}),
    ] {
        assert_eq!(faults("", &other, &golden).len(), 1, "{other}");
    }
}
