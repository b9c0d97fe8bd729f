//! Storms: the real binaries as processes of their own, killed, paused, cut off and lied to at every step of a run's life,
//! after which every run is final, every row is in its table once, and nothing is left.

mod bucket;
mod clock;
mod database;
mod disk;
mod episodes;
mod faults;
mod functions;
mod moments;
mod processes;
mod proxy;
mod receipts;
mod room;
mod storm;
mod verdict;

use episodes::Often;
use faults::{Fault, Least, Wanted};
use std::sync::Arc;
use std::time::Duration;
use storm::{Form, Storm};

/// How often a worker is killed at least, and how often the stack, at each moment that every run meets and at each that only
/// some do.
fn least(workers: (usize, usize), stack: (usize, usize)) -> [Least; 2] {
    let least = |fault, (at_all, at_rare)| Least { fault, at_all, at_rare };
    [least(Fault::KillWorker, workers), least(Fault::KillStack, stack)]
}

/// `FLOWGATE_STORM=long` makes the long form of it, `FLOWGATE_STORM_SEED` repeats the faults of an earlier one.
fn form() -> (Form, u64) {
    let seed = std::env::var("FLOWGATE_STORM_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = seed.unwrap_or_else(|| rand::random_range(0..1_000_000));
    let long = std::env::var("FLOWGATE_STORM").is_ok_and(|form| form == "long");
    let form = if long {
        Form {
            runs: 2_200,
            workers: 4,
            tables: 20,
            at_once: 24,
            wanted: Wanted {
                kills: 21,
                stack_kills: 21,
                pauses: 20,
                others: 6,
                refuses: 60,
                rare: 2,
                left_out: 0.0,
                one_in: 16,
                least: least((20, 20), (20, 20)),
            },
            patience: Duration::from_secs(300),
            often: Often {
                truncates: 20,
                refusals: 35,
                increments: 12,
                widenings: 48,
                retries: 10,
                timeouts: 12,
                deletions: 16,
            },
        }
    } else {
        Form {
            runs: 90,
            workers: 3,
            tables: 3,
            at_once: 12,
            wanted: Wanted {
                kills: 1,
                stack_kills: 1,
                pauses: 1,
                others: 1,
                refuses: 1,
                rare: 1,
                left_out: 0.5,
                one_in: 3,
                least: least((1, 0), (0, 0)),
            },
            patience: Duration::from_secs(90),
            often: Often {
                truncates: 2,
                refusals: 2,
                increments: 2,
                widenings: 1,
                retries: 1,
                timeouts: 1,
                deletions: 2,
            },
        }
    };
    (form, seed)
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_storm_every_run_is_final_every_row_is_there_once_and_nothing_is_left() {
    let (form, seed) = form();
    println!("FLOWGATE_STORM_SEED={seed}: {form:?}");
    let folder = tempfile::tempdir().unwrap();
    let storm = Arc::new(Storm::prepare(seed, form, folder.path().to_owned()).await);
    storm.rage().await;
    let wrong = verdict::judge(&storm).await;
    println!("{}\n{}", storm.around.faults.table(), verdict::tally(&storm));
    storm.around.close();
    if !wrong.is_empty() {
        let kept = folder.keep();
        panic!(
            "FLOWGATE_STORM_SEED={}: {} things are wrong, logs are in {}\n{}",
            storm.seed,
            wrong.len(),
            kept.display(),
            wrong.join("\n")
        );
    }
}
