//! How long an API is waited for: pauses between tries, and the pace of requests.

use chrono::{DateTime, Utc};
use rand::RngExt;
use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// How often and how long an API is asked for the same page.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// Requests for one page, the first one too.
    pub tries: u32,
    /// The pause after the first one; each further one is twice as long.
    pub pause: Duration,
    /// The longest pause, whatever the API asks for.
    pub longest: Duration,
    /// How long the next byte of an answer may take.
    pub silence: Duration,
    /// How long a whole answer may take.
    pub answer: Duration,
}

impl Patience {
    /// For a run.
    pub const RUN: Self = if cfg!(test) {
        Self {
            tries: 4,
            pause: Duration::from_millis(2),
            longest: Duration::from_millis(1_500),
            silence: Duration::from_millis(400),
            answer: Duration::from_secs(10),
        }
    } else {
        Self {
            tries: 6,
            pause: Duration::from_secs(1),
            longest: Duration::from_secs(60),
            silence: Duration::from_secs(60),
            answer: Duration::from_secs(300),
        }
    };

    /// For a short look, behind which somebody waits.
    pub const LOOK: Self = Self { tries: 1, silence: Duration::from_secs(15), ..Self::RUN };

    /// The pause after try number `tries`, where the API asked for `wanted`. Always a little different, so that many
    /// who were sent away do not come back at once.
    pub fn pause(&self, tries: u32, wanted: Option<Duration>) -> Duration {
        let chance: f64 = rand::rng().random_range(0.0..1.0);
        match wanted {
            // Never earlier than it asked for, unless that is longer than we wait.
            Some(wanted) => wanted.mul_f64(1.0 + 0.1 * chance).min(self.longest),
            None => {
                let doubled = self.pause.saturating_mul(1 << (tries.clamp(1, 20) - 1));
                doubled.min(self.longest).mul_f64(0.5 + 0.5 * chance)
            }
        }
    }
}

/// What a header `Retry-After` asks for: seconds, or a date.
pub fn retry_after(text: &str, now: DateTime<Utc>) -> Option<Duration> {
    let text = text.trim();
    if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) {
        return Some(Duration::from_secs(text.parse().unwrap_or(u64::MAX / 4)));
    }
    let at = DateTime::parse_from_rfc2822(text).ok()?;
    Some((at.with_timezone(&Utc) - now).to_std().unwrap_or(Duration::ZERO))
}

/// The paces of connectors, by their ids: an API does not care which of a run's nodes, or which of this worker's runs, ask it.
static PACES: LazyLock<Mutex<Paces>> = LazyLock::new(Mutex::default);

/// By connector and time between requests.
type Paces = HashMap<(String, Duration), Arc<Pace>>;

/// Keeps requests apart.
#[derive(Debug)]
pub struct Pace {
    apart: Duration,
    next: Mutex<Option<Instant>>,
}

impl Pace {
    /// The pace that all sources of a connector share, with so many requests a second at most.
    pub fn of(connector: &str, rate: Option<f64>) -> Arc<Self> {
        let own = Self::new(rate);
        if own.apart.is_zero() {
            return Arc::new(own);
        }
        let mut paces = PACES.lock().unwrap_or_else(PoisonError::into_inner);
        paces.retain(|_, pace| Arc::strong_count(pace) > 1 || !pace.is_over());
        let key = (connector.to_owned(), own.apart);
        Arc::clone(paces.entry(key).or_insert_with(|| Arc::new(own)))
    }

    /// Whether the next request may go at once.
    fn is_over(&self) -> bool {
        let next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        next.is_none_or(|next| next <= Instant::now())
    }

    /// So many requests a second at most; any number where none is given.
    pub fn new(rate: Option<f64>) -> Self {
        let apart = rate.filter(|r| r.is_finite() && *r > 0.0).map(|r| Duration::from_secs_f64((1.0 / r).min(1e6)));
        Self { apart: apart.unwrap_or(Duration::ZERO), next: Mutex::default() }
    }

    /// Waits until the next request may go.
    pub async fn turn(&self) {
        if self.apart.is_zero() {
            return;
        }
        let turn = {
            let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
            let now = Instant::now();
            let turn = next.map_or(now, |next| next.max(now));
            *next = Some(turn + self.apart);
            turn
        };
        tokio::time::sleep_until(turn).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let now = "2026-11-23T10:00:00Z".parse().unwrap();
        assert_eq!(retry_after(" 7 ", now), Some(Duration::from_secs(7)));
        assert_eq!(retry_after("Mon, 23 Nov 2026 10:00:30 GMT", now), Some(Duration::from_secs(30)));
        assert_eq!(retry_after("Mon, 23 Nov 2026 09:00:00 GMT", now), Some(Duration::ZERO));
        assert_eq!(retry_after("soon", now), None);
        assert!(retry_after("99999999999999999999999", now).is_some());
    }

    #[test]
    fn pauses_grow_differ_and_end() {
        let patience = Patience { pause: Duration::from_secs(1), longest: Duration::from_secs(10), ..Patience::RUN };
        for tries in 1..40 {
            let pause = patience.pause(tries, None);
            let most = Duration::from_secs(1 << (tries - 1).min(4)).min(patience.longest);
            assert!(pause >= most / 2 && pause <= most, "{tries}: {pause:?}");
        }
        let asked = patience.pause(1, Some(Duration::from_secs(5)));
        assert!(asked >= Duration::from_secs(5) && asked <= Duration::from_millis(5_500), "{asked:?}");
        assert_eq!(patience.pause(1, Some(Duration::from_secs(3600))), Duration::from_secs(10));
        let pauses: std::collections::HashSet<_> = (0..20).map(|_| patience.pause(3, None)).collect();
        assert!(pauses.len() > 10);
    }

    #[tokio::test]
    async fn all_sources_of_a_connector_share_its_pace() {
        let begun = Instant::now();
        for _ in 0..5 {
            // Also where one ends before the next begins.
            Pace::of("connector_pace", Some(50.0)).turn().await;
        }
        assert!(begun.elapsed() >= Duration::from_millis(80));
        let (one, other) = (Pace::of("connector_a", Some(1.0)), Pace::of("connector_b", Some(1.0)));
        assert!(!Arc::ptr_eq(&one, &other) && Arc::ptr_eq(&one, &Pace::of("connector_a", Some(1.0))));
        assert!(!Arc::ptr_eq(&Pace::of("connector_a", None), &Pace::of("connector_a", None)));
    }

    #[tokio::test]
    async fn requests_are_kept_apart() {
        let pace = Pace::new(Some(50.0));
        let begun = Instant::now();
        for _ in 0..5 {
            pace.turn().await;
        }
        assert!(begun.elapsed() >= Duration::from_millis(80));
    }
}
