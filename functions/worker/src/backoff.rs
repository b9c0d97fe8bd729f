//! How long a run that has failed waits for its next attempt.

use rand::RngExt;
use shared::models::pipeline::Retry;
use std::time::Duration;

/// Seconds until the next attempt: doubled with each failure, of which a random half is left out.
pub(crate) fn delay(retry: &Retry, failures: u32) -> Duration {
    let first = f64::from(retry.initial_delay_seconds.unwrap_or(5));
    let most = f64::from(retry.max_delay_seconds.unwrap_or(300));
    let full = (first * 2_f64.powi(i32::try_from(failures.min(20)).unwrap_or(20))).min(most);
    Duration::from_secs_f64(full * rand::rng().random_range(0.5..=1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn between(first: u32, most: u32) -> Retry {
        Retry { initial_delay_seconds: Some(first), max_delay_seconds: Some(most), ..Retry::default() }
    }

    /// Of many delays the least and the most, in seconds.
    fn ends(retry: &Retry, failures: u32) -> (f64, f64) {
        let all: Vec<f64> = (0..1000).map(|_| delay(retry, failures).as_secs_f64()).collect();
        (all.iter().copied().fold(f64::MAX, f64::min), all.iter().copied().fold(0.0, f64::max))
    }

    /// Whether the delays are spread from a half of `full` to the whole. By chance none comes near to an end once in 10^45
    /// times.
    fn is_spread_below(full: f64, (least, most): (f64, f64)) -> bool {
        (full * 0.5..full * 0.55).contains(&least) && (full * 0.95..=full).contains(&most)
    }

    #[test]
    fn a_delay_is_doubled_with_each_failure_up_to_the_longest() {
        let default = Retry::default();
        for (failures, full) in [(0, 5.0), (1, 10.0), (2, 20.0), (5, 160.0), (6, 300.0), (u32::MAX, 300.0)] {
            let ends = ends(&default, failures);
            assert!(is_spread_below(full, ends), "after {failures} failures {ends:?}");
        }
        for (failures, full) in [(0, 60.0), (1, 120.0), (3, 480.0), (4, 900.0), (19, 900.0)] {
            let ends = ends(&between(60, 900), failures);
            assert!(is_spread_below(full, ends), "after {failures} failures {ends:?}");
        }
    }

    #[test]
    fn the_longest_delay_also_holds_for_the_first() {
        assert!(is_spread_below(3.0, ends(&between(10, 3), 0)));
    }

    #[test]
    fn no_delay_stays_none() {
        for failures in [0, 1, 20] {
            assert_eq!(delay(&between(0, 300), failures), Duration::ZERO);
            assert_eq!(delay(&between(5, 0), failures), Duration::ZERO);
        }
    }

    #[test]
    fn runs_that_fail_together_do_not_come_back_together() {
        let default = Retry::default();
        let mut all: Vec<Duration> = (0..100).map(|_| delay(&default, 3)).collect();
        all.sort();
        all.dedup();
        assert!(all.len() > 90, "only {} of 100 delays differ", all.len());
    }
}
