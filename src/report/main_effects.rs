//! Main effects of the factors of a study.

use super::comparison;
use super::numbers::Numbers;
use super::page::{Cell, Page};
use crate::study::Table;

/// Appends the section, where the models are all combinations of factors; at most `most` rows.
pub(super) fn append(page: &mut Page, table: &Table, most: usize) {
    if table.main_effects.is_empty() {
        return;
    }
    page.section("Main effects");
    let columns = [&["factor", "level", "against", "pairs_of_models"], &comparison::NUMBERS[..], &["verdict"]].concat();
    let mut numbers = Numbers::new("main_effects", &columns);
    let (mut worth, mut tests): (Vec<Vec<Cell>>, Vec<Vec<Cell>>) = (Vec::new(), Vec::new());
    for effect in &table.main_effects {
        let d = Some(&effect.differences.test_accuracy);
        let pairs = effect.pairs_of_models.to_string();
        let names = [&effect.factor, &effect.level, &effect.against, &pairs].map(String::clone);
        numbers.texts([names.to_vec(), comparison::numbers(d).to_vec(), vec![effect.verdict.clone()]].concat());
        let [mean, interval] = comparison::mean(d);
        worth.push([effect.name(), pairs, mean, interval, effect.verdict.clone()].map(Cell::from).to_vec());
        tests.push([effect.name()].into_iter().chain(comparison::tests(d)).map(Cell::from).collect());
    }
    worth.truncate(most);
    tests.truncate(most);
    page.table(
        "Difference in test accuracy of each level to the first one of its factor, percentage points, of means over all \
         combinations of the other factors",
        "lrrrl",
        &[&["level", "pairs of models"], &comparison::MEAN[..], &["verdict"]].concat(),
        &worth,
    );
    page.table(
        "Tests of these differences, paired by seed; Holm's correction is over the main effects",
        "lrrrrrrrr",
        &[&["level"], &comparison::TESTS[..]].concat(),
        &tests,
    );
    page.keep(numbers);
}
