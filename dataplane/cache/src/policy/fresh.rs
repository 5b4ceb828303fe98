//! Whether a stored response may answer a request now (RFC 9111 section 4.2, RFC 5861).

use breakwater_wire::cache_control::{CacheControl, MaxStale};

use crate::object::Freshness;
use crate::time::Timestamp;

/// How long a response may stand in for an origin that cannot be reached, where neither it nor the site says:
/// one day.
pub const DEFAULT_UNREACHABLE_MS: u64 = 24 * 3600 * 1000;

/// What a stored response is to a request. Milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It answers.
    Fresh {
        /// Its age, for `Age`.
        age: u64,
        /// How long it stays fresh; negative when the request accepts it stale (`max-stale`).
        ttl: i64,
    },
    /// It has to be validated before it answers, except as said.
    Stale {
        /// Its age.
        age: u64,
        /// How long ago its freshness ended, as a negative number.
        ttl: i64,
        /// Whether it answers while it is revalidated in the background.
        while_revalidate: bool,
        /// Whether it answers when the origin fails.
        on_error: OnError,
    },
    /// It has to be validated: it, or the request, says so.
    MustRevalidate {
        /// Its age.
        age: u64,
        /// Whether it answers when the origin fails: then the request said so, not the response.
        on_error: OnError,
    },
}

/// Which failures of the origin a stale response stands in for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnError {
    /// None: answer 502 or 504.
    Never,
    /// No response at all: refused, dropped, timed out.
    Unreachable,
    /// Also answers of 500, 502, 503 and 504.
    AnyError,
}

impl OnError {
    /// Whether a stale response stands in for this answer of the origin; `None` is no answer.
    pub const fn covers(self, status: Option<u16>) -> bool {
        match (self, status) {
            (Self::Never, _) => false,
            (Self::Unreachable | Self::AnyError, None) | (Self::AnyError, Some(500 | 502..=504)) => true,
            _ => false,
        }
    }
}

/// What a response of this `freshness` is to a request with these directives at `now`; `soft_purged`: a purge
/// made it stale.
pub fn evaluate(freshness: &Freshness, request: &CacheControl, soft_purged: bool, now: Timestamp) -> Verdict {
    let age = freshness.age(now);
    let ttl = difference(freshness.lifetime, age);
    let stale_for = age.saturating_sub(freshness.lifetime);
    let on_error = on_error(freshness, stale_for);
    if freshness.no_cache {
        return Verdict::MustRevalidate {
            age,
            on_error: OnError::Never,
        };
    }
    let ms = |seconds: u64| seconds.saturating_mul(1000);
    let wants_newer = request.no_cache.is_some() || request.max_age.is_some_and(|max| max == 0 || age > ms(max));
    if wants_newer {
        return Verdict::MustRevalidate { age, on_error };
    }
    let fresh = ttl > 0 && !soft_purged;
    if fresh {
        let remains = ttl.unsigned_abs();
        if request.min_fresh.is_some_and(|min| remains < ms(min)) {
            return Verdict::MustRevalidate { age, on_error };
        }
        return Verdict::Fresh { age, ttl };
    }
    let accepts = match request.max_stale {
        Some(MaxStale::Any) => true,
        Some(MaxStale::Seconds(max)) => stale_for <= ms(max),
        None => false,
    };
    if accepts && !freshness.must_revalidate && !soft_purged {
        return Verdict::Fresh { age, ttl };
    }
    // A request that sets its own bounds is answered within them, not from a stale response.
    let strict = request.min_fresh.is_some() || request.max_age.is_some();
    let while_revalidate = !strict
        && !freshness.must_revalidate
        && freshness.while_revalidate > 0
        && stale_for <= freshness.while_revalidate;
    Verdict::Stale {
        age,
        ttl: ttl.min(0),
        while_revalidate,
        on_error,
    }
}

fn on_error(freshness: &Freshness, stale_for: u64) -> OnError {
    match freshness.if_error {
        _ if freshness.must_revalidate || freshness.no_cache => OnError::Never,
        Some(window) if stale_for <= window => OnError::AnyError,
        None if stale_for <= DEFAULT_UNREACHABLE_MS => OnError::Unreachable,
        _ => OnError::Never,
    }
}

fn difference(a: u64, b: u64) -> i64 {
    if a >= b {
        i64::try_from(a - b).unwrap_or(i64::MAX)
    } else {
        i64::try_from(b - a).map_or(i64::MIN, |difference| -difference)
    }
}

#[cfg(test)]
mod tests {
    use breakwater_wire::cache_control::Scope;

    use super::*;

    const FRESHNESS: Freshness = Freshness {
        asked: Timestamp::from_secs(1000),
        received: Timestamp::from_secs(1000),
        initial_age: 0,
        lifetime: 10_000,
        no_cache: false,
        must_revalidate: false,
        while_revalidate: 0,
        if_error: None,
    };

    fn at(freshness: Freshness, request: &CacheControl, seconds: u64) -> Verdict {
        evaluate(&freshness, request, false, Timestamp::from_secs(1000 + seconds))
    }

    fn plain(freshness: Freshness, seconds: u64) -> Verdict {
        at(freshness, &CacheControl::default(), seconds)
    }

    fn stale(verdict: Verdict) -> Option<(bool, OnError)> {
        match verdict {
            Verdict::Stale {
                while_revalidate,
                on_error,
                ..
            } => Some((while_revalidate, on_error)),
            _ => None,
        }
    }

    #[test]
    fn a_response_is_fresh_until_its_age_reaches_its_lifetime() {
        assert_eq!(plain(FRESHNESS, 9), Verdict::Fresh { age: 9000, ttl: 1000 });
        assert_eq!(stale(plain(FRESHNESS, 10)), Some((false, OnError::Unreachable)));
        let aged = Freshness {
            initial_age: 8000,
            ..FRESHNESS
        };
        assert_eq!(plain(aged, 1), Verdict::Fresh { age: 9000, ttl: 1000 });
        assert!(stale(plain(aged, 2)).is_some());
        let eternal = Freshness {
            lifetime: u64::MAX,
            ..FRESHNESS
        };
        assert!(matches!(plain(eternal, 1 << 40), Verdict::Fresh { .. }));
        let ancient = Freshness {
            initial_age: u64::MAX,
            ..FRESHNESS
        };
        assert!(stale(plain(ancient, 1)).is_some());
    }

    #[test]
    fn stale_while_revalidate_has_an_exact_end() {
        let freshness = Freshness {
            while_revalidate: 5000,
            ..FRESHNESS
        };
        assert_eq!(stale(plain(freshness, 15)), Some((true, OnError::Unreachable)));
        let after = evaluate(
            &freshness,
            &CacheControl::default(),
            false,
            Timestamp::from_millis(1_015_001),
        );
        assert_eq!(stale(after), Some((false, OnError::Unreachable)));
    }

    #[test]
    fn stale_if_error_has_an_end_and_covers_error_answers() {
        let freshness = Freshness {
            if_error: Some(5000),
            ..FRESHNESS
        };
        assert_eq!(stale(plain(freshness, 15)), Some((false, OnError::AnyError)));
        assert_eq!(stale(plain(freshness, 16)), Some((false, OnError::Never)));
        assert!(OnError::AnyError.covers(Some(503)) && OnError::AnyError.covers(None));
        assert!(!OnError::AnyError.covers(Some(404)) && !OnError::AnyError.covers(Some(501)));
        assert!(OnError::Unreachable.covers(None) && !OnError::Unreachable.covers(Some(503)));
        assert!(!OnError::Never.covers(None));
    }

    #[test]
    fn must_revalidate_and_no_cache_are_never_served_stale() {
        let freshness = Freshness {
            must_revalidate: true,
            while_revalidate: 5000,
            if_error: Some(5000),
            ..FRESHNESS
        };
        assert_eq!(stale(plain(freshness, 11)), Some((false, OnError::Never)));
        let any = CacheControl {
            max_stale: Some(MaxStale::Any),
            ..CacheControl::default()
        };
        assert!(stale(at(freshness, &any, 11)).is_some());
        let no_cache = Freshness {
            no_cache: true,
            ..FRESHNESS
        };
        assert_eq!(
            plain(no_cache, 1),
            Verdict::MustRevalidate {
                age: 1000,
                on_error: OnError::Never
            }
        );
    }

    #[test]
    fn a_request_may_ask_for_newer_or_accept_older() {
        let ask = CacheControl::default();
        let newer = |request, seconds| matches!(at(FRESHNESS, &request, seconds), Verdict::MustRevalidate { .. });
        assert!(newer(
            CacheControl {
                no_cache: Some(Scope::Whole),
                ..ask.clone()
            },
            1
        ));
        let at_most = |max| CacheControl {
            max_age: Some(max),
            ..CacheControl::default()
        };
        assert!(newer(at_most(3), 4));
        assert!(!newer(at_most(3), 3));
        assert!(newer(at_most(0), 0));
        assert!(newer(
            CacheControl {
                min_fresh: Some(5),
                ..ask.clone()
            },
            6
        ));
        assert!(!newer(
            CacheControl {
                min_fresh: Some(5),
                ..ask.clone()
            },
            5
        ));
        let older = CacheControl {
            max_stale: Some(MaxStale::Seconds(2)),
            ..ask
        };
        assert_eq!(
            at(FRESHNESS, &older, 12),
            Verdict::Fresh {
                age: 12_000,
                ttl: -2000
            }
        );
        assert!(stale(at(FRESHNESS, &older, 13)).is_some());
    }

    #[test]
    fn a_soft_purge_makes_stale_at_once() {
        let freshness = Freshness {
            while_revalidate: 5000,
            ..FRESHNESS
        };
        let verdict = evaluate(&freshness, &CacheControl::default(), true, Timestamp::from_secs(1001));
        assert_eq!(stale(verdict), Some((true, OnError::Unreachable)));
    }
}
