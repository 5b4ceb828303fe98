//! The same raw bytes to Breakwater and to its peers, and what each made of them.
//!
//! A case is bytes as they go over the wire ([`corpus`]); behind them goes a request that is beyond doubt. What a proxy
//! made of a case is its [`Outcome`]: what it answered, whether it still answers that second request, and what reached
//! the origin behind it ([`Recorder`], which reads strictly and shows every request it understood).
//!
//! Invariant: two outcomes are compared by what a client and an origin can see; how an origin's copy is framed and what
//! proxies add to every request are left out. Which differences are wanted is the corpus's business.

pub mod corpus;
mod exchange;
mod origin;
pub mod peer;

use std::fmt;

pub use exchange::send;
pub use origin::Recorder;

/// What a proxy made of one case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// The answers to the case's own bytes: status codes, 0 for an answer without a status line.
    pub statuses: Vec<u16>,
    /// The request behind the case was answered, on the same connection.
    pub open: bool,
    /// The requests that reached the origin whole, as [`Recorder`] writes them.
    pub seen: Vec<String>,
}

impl Outcome {
    /// Whether client and origin see the same: class of the first status, connection, requests.
    #[must_use]
    pub fn agrees(&self, other: &Self) -> bool {
        let class = |outcome: &Self| outcome.statuses.first().map(|status| status / 100);
        class(self) == class(other) && self.open == other.open && self.seen == other.seen
    }
}

/// `400 closed`, or `200 open: GET /a shop.test`: what stands in a corpus.
impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.statuses.is_empty() {
            f.write_str("nothing ")?;
        }
        for status in &self.statuses {
            write!(f, "{status} ")?;
        }
        f.write_str(if self.open { "open" } else { "closed" })?;
        if !self.seen.is_empty() {
            write!(f, ": {}", self.seen.join(" + "))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(statuses: &[u16], open: bool, seen: &[&str]) -> Outcome {
        let seen = seen.iter().map(|text| (*text).to_owned()).collect();
        Outcome {
            statuses: statuses.to_vec(),
            open,
            seen,
        }
    }

    #[test]
    fn outcomes_agree_when_class_connection_and_requests_do() {
        let refused = outcome(&[400], false, &[]);
        assert!(refused.agrees(&outcome(&[414], false, &[])));
        assert!(!refused.agrees(&outcome(&[501], false, &[])));
        assert!(!refused.agrees(&outcome(&[400], true, &[])));
        assert!(!refused.agrees(&outcome(&[400], false, &["GET / a.test"])));
        assert!(!refused.agrees(&outcome(&[], false, &[])));
    }

    #[test]
    fn an_outcome_is_written_as_in_a_corpus() {
        assert_eq!(outcome(&[400], false, &[]).to_string(), "400 closed");
        assert_eq!(
            outcome(&[200], true, &["GET / a.test", "GET /b a.test"]).to_string(),
            "200 open: GET / a.test + GET /b a.test"
        );
        assert_eq!(outcome(&[], false, &[]).to_string(), "nothing closed");
    }
}
