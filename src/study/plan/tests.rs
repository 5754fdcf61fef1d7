use super::*;
use crate::config::NoiseKind;
use std::collections::BTreeSet;

fn parse(text: &str) -> Plan {
    Plan::parse("plan.toml", text).unwrap()
}

fn names(plan: &Plan) -> Vec<&str> {
    plan.models.iter().map(|m| m.name.as_str()).collect()
}

#[test]
fn the_paper_has_fourteen_models_that_all_differ() {
    let plan = Plan::load("paper").unwrap();
    assert_eq!((plan.models.len(), plan.seeds.len(), plan.reference.as_str()), (14, 5, "full"));
    let cells = plan.cells(&Overrides::default()).unwrap();
    assert_eq!(cells.len(), 70);
    assert!(cells[..14].iter().all(|c| c.seed == 1), "seed by seed");
    let different: BTreeSet<String> = cells.iter().map(|c| crate::config::to_toml(&c.config).unwrap()).collect();
    assert_eq!(different.len(), 70);
    // Each ablation differs from the whole network by what it removes alone.
    let full = crate::config::to_toml(&cells[0].config).unwrap();
    for cell in cells[2..14].iter() {
        let differing = crate::config::differences(&full, &crate::config::to_toml(&cell.config).unwrap());
        let expected = if cell.model == "no-schedule" { 2 } else { 1 };
        assert_eq!(differing.len(), expected, "{}: {differing:?}", cell.model);
    }
    assert_eq!(cells[1].config.preset, "baseline");
    let published = |name: &str| plan.models.iter().find(|m| m.name == name).unwrap().published;
    assert!((published("no-augmentation").unwrap() - (0.5977 - 0.2282)).abs() < 1e-9);
    assert_eq!(published("no-noise"), None);
}

#[test]
fn each_seed_has_a_null_wiring_of_its_own() {
    let plan = Plan::load("wiring").unwrap();
    let nulls: BTreeSet<String> = plan
        .cells(&Overrides::default())
        .unwrap()
        .iter()
        .filter(|c| c.config.connectome.null != "none")
        .map(|c| {
            assert_eq!(c.config.connectome.null_seed, c.seed);
            c.config.connectome.null.clone()
        })
        .collect();
    let known: BTreeSet<String> = crate::connectome::NULL_WIRINGS.iter().map(|n| n.name.to_string()).collect();
    assert_eq!(nulls, known, "study/plans/wiring.toml has every null wiring");
    let fixed = Overrides { sets: vec!["connectome.null_seed=9".into()], ..Overrides::default() };
    assert!(plan.cells(&fixed).unwrap().iter().all(|c| c.config.connectome.null_seed == 9));
}

#[test]
fn what_makes_a_model_outranks_everything() {
    let plan = parse(
        "seeds = [7]\n[base]\nepochs = 3\nlearning.label_smoothing = 0.2\n[[model]]\nname = \"a\"\n[[model]]\nname = \"b\"\n\
         set = { learning.label_smoothing = 0.0 }\n",
    );
    let overrides = Overrides { sets: vec!["learning.label_smoothing=0.3".into()], ..Overrides::default() };
    let cells = plan.cells(&overrides).unwrap();
    let found: Vec<_> =
        cells.iter().map(|c| (c.folder(), c.config.learning.label_smoothing, c.config.epochs)).collect();
    assert_eq!(found, [("a-s7".to_string(), 0.3, 3), ("b-s7".to_string(), 0.0, 3)]);
    assert_eq!(plan.reference, "a", "the first, where none is named");
}

const FACTORS: &str = r#"
[[factor]]
name = "masks"
levels = [{ name = "masks" }, { name = "no-masks", set = { column.masks = false } }]
[[factor]]
name = "intra"
levels = [{ name = "intra" }, { name = "no-intra", set = { column.intra = false } }]
[[factor]]
name = "noise"
levels = [{ name = "synapse" }, { name = "unit", set = { column.noise = "unit" } }, { name = "silent", set = { column.noise = "none" } }]
"#;

#[test]
fn factors_combine_in_full_and_in_part() {
    let full = parse(FACTORS);
    assert_eq!(full.models.len(), 2 * 2 * 3);
    assert_eq!(full.models[0].name, "full");
    let config = &full.cells(&Overrides::default()).unwrap()[11].config;
    assert_eq!(full.models[11].name, "no-masks+no-intra+silent");
    assert_eq!((config.column.masks, config.column.intra, config.column.noise), (false, false, NoiseKind::None));

    let one = parse(&format!("{FACTORS}\n[design]\norder = 1"));
    assert_eq!(names(&one), ["full", "unit", "silent", "no-intra", "no-masks"]);
    let two = parse(&format!("{FACTORS}\n[design]\norder = 2"));
    assert_eq!(two.models.len(), 1 + 4 + (1 + 2 + 2));
    assert!(two.models.iter().all(|m| m.name.split('+').count() <= 2));
}

#[test]
fn pairs_of_models_differ_in_one_factor_alone() {
    let pairs = |plan: &Plan, factor, level| {
        let design = plan.about().design;
        let pairs =
            design.pairs(factor).into_iter().find(|(of, _)| *of == level).map_or(Vec::new(), |(_, pairs)| pairs);
        pairs.into_iter().map(|pair| pair.map(str::to_owned)).collect::<Vec<_>>()
    };
    let full = parse(FACTORS);
    assert_eq!(full.about().design.factors[2].levels, ["synapse", "unit", "silent"]);
    for (factor, level, others) in [(0, 1, 2 * 3), (1, 1, 2 * 3), (2, 1, 2 * 2), (2, 2, 2 * 2)] {
        assert_eq!(pairs(&full, factor, level).len(), others);
    }
    let silent = pairs(&full, 2, 2);
    let expected = [["no-masks+silent", "no-masks"], ["silent", "full"]].map(|pair| pair.map(str::to_owned));
    assert!(expected.iter().all(|pair| silent.contains(pair)), "{silent:?}");
    // Where some combinations are left out there are none, for they would be other ones for each factor.
    for order in [1, 2] {
        let part = parse(&format!("{FACTORS}\n[design]\norder = {order}"));
        assert!(pairs(&part, 2, 1).is_empty() && pairs(&part, 0, 1).is_empty());
    }
    assert_eq!(parse("[[model]]\nname = \"a\"").about().design, Design::default());
}

#[test]
fn the_form_that_help_shows_is_a_plan() {
    let plan = parse(PLAN_FORM);
    assert_eq!(names(&plan), ["full", "silent", "uninhibited", "random-wiring"]);
    assert_eq!((plan.hours, plan.at_once, plan.title.as_str()), (Some(8.0), 2, "inhibition and noise"));
    let cells = plan.cells(&Overrides::default()).unwrap();
    assert_eq!((cells.len(), cells[3].config.epochs, cells[3].config.column.noise), (20, 24, NoiseKind::Synapse));
}

#[test]
fn what_is_wrong_in_a_plan_is_named() {
    let model = "[[model]]\nname = \"a\"\n";
    for (text, expected) in [
        ("", "has no model"),
        ("[[model]]\nname = \"a/b\"", "a/b"),
        ("[[model]]\nname = \"..\"", ".."),
        (&format!("{model}{model}"), "two models"),
        (&format!("reference = \"aa\"\n{model}"), "did you mean `a`"),
        (&format!("seeds = 0\n{model}"), "seeds"),
        (&format!("seeds = [1, 1]\n{model}"), "seeds"),
        (&format!("seeds = 9999999999\n{model}"), "more than"),
        (&format!("sets = 0\n{model}"), "sets"),
        (&format!("{model}set = {{ seed = 3 }}"), "seed"),
        (&format!("{model}[design]\norder = 1"), "order"),
        (&format!("{model}[budget]\nhours = 0"), "hours"),
        ("[[factor]]\nname = \"f\"\nlevels = [{ name = \"x\" }]", "two levels"),
        ("[[factor]]\nname = \"f\"\nlevels = [{ name = \"x\" }, { name = \"x\" }]", "two levels called"),
        ("[[factor]]\nname = \"a\\tb\"\nlevels = [{ name = \"x\" }, { name = \"y\" }]", "control characters"),
        ("[[factor]]\nname = \"f\"\nlevels = [{ name = \"\" }, { name = \"y\" }]", "empty"),
        (
            "[[factor]]\nname = \"f\"\nlevels = [{ name = \"x\" }, { name = \"y\" }]\n[[factor]]\n\
             name = \"f\"\nlevels = [{ name = \"x\" }, { name = \"z\" }]",
            "two factors are called",
        ),
        (
            "[[factor]]\nname = \"f\"\nlevels = [{ name = \"x\", set = { epochs = 1 } }, { name = \"y\" }]\n[[factor]]\n\
             name = \"g\"\nlevels = [{ name = \"x\", set = { epochs = 2 } }, { name = \"z\" }]",
            "`epochs`",
        ),
        (&format!("{model}published_percent = 500"), "published_percent of model a"),
        ("[", "line 1, column 2"),
    ] {
        let error = Plan::parse("plan.toml", text).unwrap_err();
        assert_eq!(error.exit_code(), 2, "{text}");
        assert!(error.to_string().starts_with("plan.toml: "), "{error}");
        assert!(error.to_string().contains(expected), "{text}: {error}");
    }
    let misspelt = parse(&format!("{model}set = {{ column.mask = false }}")).cells(&Overrides::default()).unwrap_err();
    assert!(misspelt.to_string().contains("model a") && misspelt.to_string().contains("column.masks"), "{misspelt}");
    let unknown = Plan::load("papr").unwrap_err();
    assert!(unknown.to_string().contains("did you mean `paper`"), "{unknown}");
}
