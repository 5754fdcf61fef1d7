//! How training went: loss, accuracy, learning rate and the share of Hebbian learning, epoch by epoch.

use super::axes::{Area, range};
use super::heat::Colours;
use super::lines::{Line, Words, epoch_ticks, over_epochs};
use super::numbers::Numbers;
use super::page::Page;
use super::svg::{Anchor, NOTE, PLAIN, Svg, TEXT};
use super::text::{fixed, percent, shorten, width_px};
use crate::train::EpochRecord;
use std::collections::BTreeSet;

/// Most columns and rows of the picture of shares.
const COLUMNS: usize = 96;
const ROWS: usize = 60;

/// Appends the section about training; `best` is the epoch whose weights are kept.
pub(super) fn append(page: &mut Page, epochs: &[EpochRecord], best: usize) {
    page.section("Training");
    let column = |of: fn(&EpochRecord) -> f64| epochs.iter().map(of).collect::<Vec<f64>>();
    let pair = |train: Vec<f64>, public: Vec<f64>| {
        [Line { name: "Training", values: train, style: 1 }, Line { name: "PublicTest", values: public, style: 0 }]
    };
    let loss = over_epochs(
        &Words {
            title: "Loss by epoch",
            description: &said("loss", epochs, |e| e.train_loss, |e| e.val_loss, 3),
            y: "cross-entropy (nats)",
        },
        &pair(column(|e| e.train_loss), column(|e| e.val_loss)),
        Some(best),
        false,
    );
    let accuracy = over_epochs(
        &Words {
            title: "Accuracy by epoch",
            description: &said(
                "accuracy in percent",
                epochs,
                |e| 100.0 * e.train_accuracy,
                |e| 100.0 * e.val_accuracy,
                1,
            ),
            y: "accuracy (%)",
        },
        &pair(column(|e| 100.0 * e.train_accuracy), column(|e| 100.0 * e.val_accuracy)),
        Some(best),
        false,
    );
    let rate = over_epochs(
        &Words {
            title: "Learning rate by epoch",
            description: "Learning rate of the last step of each epoch.",
            y: "learning rate",
        },
        &[Line { name: "last step of the epoch", values: column(|e| e.learning_rate), style: 2 }],
        Some(best),
        true,
    );
    let speed = over_epochs(
        &Words {
            title: "Speed by epoch",
            description: "Training images per second in each epoch, scoring left out.",
            y: "images per second",
        },
        &[Line { name: "training, scoring left out", values: column(|e| e.images_per_second), style: 3 }],
        None,
        true,
    );
    let mut numbers = Numbers::new(
        "training_curves",
        &[
            "epoch",
            "train_loss",
            "train_accuracy",
            "val_loss",
            "val_accuracy",
            "learning_rate",
            "images_per_second",
            "seconds",
        ],
    );
    for e in epochs {
        numbers.row(&[
            &e.epoch,
            &e.train_loss,
            &e.train_accuracy,
            &e.val_loss,
            &e.val_accuracy,
            &e.learning_rate,
            &e.images_per_second,
            &e.seconds,
        ]);
    }
    page.figure(
        &[loss, accuracy, rate, speed],
        "Training is scored on the augmented images as they are trained on, its loss with label smoothing; PublicTest is \
         scored without either, so the two losses differ in level. The best epoch is that of the highest PublicTest \
         accuracy; its weights are kept.",
        numbers,
    );
    shares(page, epochs);
}

/// What the two lines of a plot do, in words.
fn said(
    what: &str,
    epochs: &[EpochRecord],
    train: fn(&EpochRecord) -> f64,
    public: fn(&EpochRecord) -> f64,
    decimals: usize,
) -> String {
    let (Some(first), Some(last)) = (epochs.first(), epochs.last()) else { return format!("No {what} yet.") };
    let way =
        |of: fn(&EpochRecord) -> f64| format!("from {} to {}", fixed(of(first), decimals), fixed(of(last), decimals));
    format!("From epoch 1 to {}, {what} goes {} on Training and {} on PublicTest.", last.epoch, way(train), way(public))
}

/// Share of the local rules in the change of each projection, as stripes over epochs.
fn shares(page: &mut Page, epochs: &[EpochRecord]) {
    let names: Vec<&String> =
        epochs.iter().flat_map(|e| e.hebbian_share.keys()).collect::<BTreeSet<_>>().into_iter().collect();
    if names.is_empty() {
        return;
    }
    let mut numbers = Numbers::new("hebbian_share", &["epoch", "projection", "share"]);
    for e in epochs {
        for (name, share) in &e.hebbian_share {
            numbers.row(&[&e.epoch, name, share]);
        }
    }
    let all = epochs.iter().flat_map(|e| e.hebbian_share.values().copied());
    let (least, most) = range(all).unwrap_or((0.0, 0.0));
    let shown = &names[..names.len().min(ROWS)];
    let room = shown.iter().map(|n| width_px(n, TEXT)).fold(60.0, f64::max).min(260.0);
    let (row, top) = (22.0, 40.0);
    let height = row * shown.len() as f64;
    let description = format!(
        "{} projections over {} epochs; shares from {} to {} percent.",
        names.len(),
        epochs.len(),
        percent(least, 2),
        percent(most, 2)
    );
    let title = "Share of Hebbian learning by projection and epoch";
    let mut svg = Svg::new(940.0, top + height + 44.0, title, &description);
    let area = Area { left: room + 14.0, top, right: 940.0 - 170.0, bottom: top + height };
    // All shares may be near the cap: colours then tell apart what there is.
    let low = if least > 0.5 * most && least < most { least } else { 0.0 };
    let colours = Colours { low, high: most, root: false };
    let columns = epochs.len().clamp(1, COLUMNS);
    let width = (area.right - area.left) / columns as f64;
    svg.text(area.right + 8.0, top - 10.0, Anchor::Start, NOTE, "last epoch");
    for (r, name) in shown.iter().enumerate() {
        let y = top + row * r as f64;
        svg.text(room + 6.0, y + 15.0, Anchor::End, PLAIN, &shorten(name, TEXT, room));
        for c in 0..columns {
            // The mean over the epochs that share a column.
            let members = &epochs[c * epochs.len() / columns..(c + 1) * epochs.len() / columns];
            let values: Vec<f64> = members.iter().filter_map(|e| e.hebbian_share.get(*name).copied()).collect();
            let mean = values.iter().sum::<f64>() / values.len().max(1) as f64;
            // A little wider, so that no background shines through.
            let fill = format!("fill=\"{}\"", colours.of(mean).hex());
            svg.rect(area.left + width * c as f64, y + 1.0, width + 0.6, row - 2.0, &fill);
        }
        if let Some(last) = epochs.last().and_then(|e| e.hebbian_share.get(*name)) {
            svg.text(area.right + 8.0, y + 15.0, Anchor::Start, NOTE, &format!("{} %", percent(*last, 2)));
        }
    }
    // A column is an epoch: its tick stands under its middle.
    let n = epochs.len() as f64;
    area.x_axis(&mut svg, area.across((0.5, n + 0.5)), &epoch_ticks(n.max(2.0)), "epoch");
    let in_percent = Colours { low: 100.0 * low, high: 100.0 * most, root: false };
    in_percent.bar(&mut svg, 940.0 - 62.0, top, height.max(60.0), &["share (%)"]);
    let more =
        if names.len() > ROWS { format!(" The first {ROWS} of {} projections.", names.len()) } else { String::new() };
    page.figure(
        &[svg],
        &format!(
            "Part of the local step (rule and homeostatic scaling) in the change of each projection's weights, \
             |local| / (|local| + |optimizer|), mean over the steps of an epoch.{more}"
        ),
        numbers,
    );
}
