//! What would change, counted and put into groups.
//!
//! Requests are compared by whether they are refused; by whom is what groups are made of. Bounded: [`MOST_GROUPS`] groups
//! of each outcome, beyond which requests are counted without one, and [`MOST_UNREAD`] lines that could not be read are
//! named.

use std::collections::HashMap;

use serde::Serialize;

use super::line::{Line, Objection};
use super::window::Past;
use crate::audit::{Action, Rfc3339, cut};

/// Groups of one outcome.
pub const MOST_GROUPS: usize = 4096;

/// Lines that could not be read and are named.
pub const MOST_UNREAD: usize = 10;

/// Longest path of a group, and target of an example, bytes.
const MAX_PATH: usize = 256;
const MAX_TARGET: usize = 2048;

/// Rules of the Core Rule Set that only compare the score of the others with a threshold, by thousands.
const EVALUATIONS: [u64; 3] = [949, 959, 980];

/// What was found.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Tally {
    /// Lines that were read or not.
    pub lines: u64,
    /// Requests that were judged.
    pub judged: u64,
    /// They were not refused, and would be.
    pub newly_blocked: Groups,
    /// They were refused, and would not be.
    pub no_longer_blocked: Groups,
    /// They were refused, what the log has of them would not be, and it does not say that they were refused for that: it
    /// says nothing of the reason, or it was in a body, a field, a response or a connection.
    pub unknown: Groups,
    /// They were refused, and would be.
    pub still_blocked: u64,
    /// They were not refused and would not be, but a policy that only detects would tell of them, or their client would get
    /// a challenge, which it has perhaps done the work of: cookies are not in a log.
    pub reported: Groups,
    /// They were not refused, and nothing objects to them.
    pub passed: u64,
    /// No resource serves their host and path.
    pub unrouted: u64,
    /// They would be refused before any policy: they are no proper requests.
    pub malformed: u64,
    /// Of those that were judged: the log has only the beginning of their target.
    pub shortened: u64,
    /// Of those that were judged: values in their target are hidden.
    pub redacted: u64,
    /// Lines of requests that were judged by then, in this log or another one before it.
    pub late: u64,
    /// Lines that could not be read.
    pub unread: Unread,
    /// What is not judged now: nothing is known of who was refused for it.
    #[serde(skip)]
    pub unjudged: Vec<UnjudgedPart>,
}

/// A part of a policy that is not judged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnjudgedPart {
    /// As in audit lines: `country`.
    pub reason: &'static str,
    /// A limit's name; none: whatever the detail.
    pub detail: Option<String>,
}

/// Lines that could not be read.
#[derive(Debug, Default, Serialize)]
pub struct Unread {
    /// How many.
    pub count: u64,
    /// The first of them: number and reason.
    pub first: Vec<(u64, String)>,
}

/// Requests of one outcome, by what decided it.
#[derive(Debug, Default, Serialize)]
pub struct Groups {
    /// How many.
    pub count: u64,
    /// Those of them that are in no group, because there were too many groups.
    pub ungrouped: u64,
    /// The groups, most requests first once [`Tally::finish`] was called.
    pub groups: Vec<Group>,
    #[serde(skip)]
    places: HashMap<Key, usize>,
}

/// What the requests of a group have in common.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Key {
    policy: String,
    reason: String,
    rules: Vec<u64>,
    detail: Option<String>,
    path: String,
}

/// A group.
#[derive(Debug, Serialize)]
pub struct Group {
    /// How many requests.
    pub count: u64,
    /// The policy that objects, or objected; empty if the log does not say.
    pub policy: String,
    /// As in audit lines; empty if the log does not say.
    pub reason: String,
    /// The rules that matched, without those that add up.
    pub rules: Vec<u64>,
    /// What exactly, if it was no rule.
    pub detail: Option<String>,
    /// The path.
    pub path: String,
    /// The message of the first rule.
    pub message: Option<String>,
    /// The first request.
    pub example: Example,
}

/// A request of a group.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Example {
    /// The number of its line.
    pub line: u64,
    /// When.
    pub time: Rfc3339,
    /// Its id, if the log has one.
    pub request_id: Option<String>,
    /// The client.
    pub client: std::net::IpAddr,
    /// The method.
    pub method: String,
    /// The host.
    pub host: String,
    /// Path and query.
    pub target: String,
}

impl Tally {
    /// A line that could not be read.
    pub fn unread(&mut self, number: u64, reason: impl Into<String>) {
        self.unread.count += 1;
        if self.unread.first.len() < MOST_UNREAD {
            self.unread.first.push((number, reason.into()));
        }
    }

    /// A request that was judged: what was said of it `before`, and what is said of it `now`. What was said is `complete`
    /// if it was said of the same as now, and no more.
    pub fn judged(&mut self, past: &Past, host: &str, before: &[Objection], now: &[Objection], complete: bool) {
        self.judged += 1;
        self.shortened += u64::from(past.line.shortened);
        self.redacted += u64::from(past.line.redacted);
        let was = if complete { blocks(before) } else { past.line.blocked };
        match (was, blocks(now)) {
            (false, true) => self.newly_blocked.add(past, host, now),
            (true, true) => self.still_blocked += 1,
            (true, false) if complete || self.is_repeatable(&past.line) => {
                self.no_longer_blocked.add(past, host, before)
            }
            (true, false) => self.unknown.add(past, host, before),
            (false, false) if now.is_empty() => self.passed += 1,
            (false, false) => self.reported.add(past, host, now),
        }
    }

    /// Whether the log says what was refused, and has it: neither a body, nor a field, nor a response, nor a connection.
    fn is_repeatable(&self, line: &Line) -> bool {
        let has_body = !matches!(line.method.as_str(), "GET" | "HEAD" | "OPTIONS" | "DELETE");
        let mut objections = line.objections.iter();
        let Some(objection) = objections.find(|objection| objection.action == Action::Block) else {
            return false;
        };
        match objection.reason.as_str() {
            "rule" => !has_body && objection.last_phase <= 2 && !objection.elsewhere,
            // A penalty is for other requests, whose bodies may have been the reason.
            "header" | "body" | "protocol" | "penalty" => false,
            reason => !self
                .unjudged
                .iter()
                .any(|part| part.reason == reason && (part.detail.is_none() || part.detail == objection.detail)),
        }
    }

    /// Orders the groups.
    pub fn finish(&mut self) {
        let all = [
            &mut self.newly_blocked,
            &mut self.no_longer_blocked,
            &mut self.unknown,
            &mut self.reported,
        ];
        for groups in all {
            groups
                .groups
                .sort_by_key(|group| (u64::MAX - group.count, group.example.line));
        }
    }
}

fn blocks(objections: &[Objection]) -> bool {
    objections.iter().any(|objection| objection.action == Action::Block)
}

impl Groups {
    fn add(&mut self, past: &Past, host: &str, objections: &[Objection]) {
        self.count += 1;
        let deciding = objections.iter().find(|objection| objection.action == Action::Block);
        let deciding = deciding.or_else(|| objections.first());
        let key = Key::new(&past.line, deciding);
        if let Some(group) = self.places.get(&key).and_then(|place| self.groups.get_mut(*place)) {
            group.count += 1;
            return;
        }
        if self.groups.len() >= MOST_GROUPS {
            self.ungrouped += 1;
            return;
        }
        self.places.insert(key.clone(), self.groups.len());
        self.groups.push(Group {
            count: 1,
            policy: key.policy,
            reason: key.reason,
            rules: key.rules,
            detail: key.detail,
            path: key.path,
            message: deciding.and_then(|objection| objection.message.clone()),
            example: Example {
                line: past.number,
                time: Rfc3339 {
                    unix_ms: past.line.unix_ms,
                },
                request_id: past.line.request_id.clone(),
                client: past.line.client,
                method: past.line.method.clone(),
                host: host.to_owned(),
                target: cut(past.line.path_and_query(), MAX_TARGET).to_owned(),
            },
        });
    }
}

impl Key {
    fn new(line: &Line, objection: Option<&Objection>) -> Self {
        let path = cut(line.path(), MAX_PATH).to_owned();
        let Some(objection) = objection else {
            return Self {
                path,
                ..Self::default()
            };
        };
        let is_evaluation = |id: &u64| EVALUATIONS.contains(&(id / 1000));
        let mut rules = objection.rules.clone();
        if !rules.iter().all(is_evaluation) {
            rules.retain(|id| !is_evaluation(id));
        }
        rules.sort_unstable();
        rules.dedup();
        // A penalty says how much of it is left.
        let says_more = rules.is_empty() && objection.reason != "penalty";
        Self {
            policy: objection.policy.clone(),
            reason: objection.reason.clone(),
            detail: objection.detail.clone().filter(|_| says_more),
            rules,
            path,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn past(target: &str, blocked: bool, objections: &[Objection]) -> Past {
        let line = Line {
            unix_ms: 0,
            request_id: Some("r".to_owned()),
            client: [192, 0, 2, 1].into(),
            method: "GET".to_owned(),
            host: None,
            target: target.to_owned(),
            shortened: false,
            redacted: false,
            http10: false,
            fields: Vec::new(),
            blocked,
            objections: objections.to_vec(),
        };
        Past { line, number: 1 }
    }

    fn objection(action: Action, reason: &str, rules: &[u64]) -> Objection {
        Objection {
            policy: "p".to_owned(),
            action,
            reason: reason.to_owned(),
            detail: Some("rule 949110".to_owned()),
            rules: rules.to_vec(),
            last_phase: 2,
            elsewhere: false,
            message: Some("m".to_owned()),
        }
    }

    fn tally(past: &[(Past, Vec<Objection>)]) -> Tally {
        let mut tally = Tally::default();
        for (past, now) in past {
            let before = past.line.objections.clone();
            tally.judged(past, "h", &before, now, false);
        }
        tally.finish();
        tally
    }

    #[test]
    fn requests_with_the_same_rules_and_path_are_a_group_and_the_largest_comes_first() {
        let found = |rules: &[u64]| vec![objection(Action::Block, "rule", rules)];
        let tally = tally(&[
            (past("/a", false, &[]), found(&[941_100, 949_110])),
            (past("/b?x=1", false, &[]), found(&[942_100, 949_110])),
            (past("/b?x=2", false, &[]), found(&[949_110, 942_100])),
        ]);
        let groups = &tally.newly_blocked.groups;
        assert_eq!((tally.newly_blocked.count, groups.len()), (3, 2));
        assert_eq!((groups[0].count, groups[0].path.as_str()), (2, "/b"));
        assert_eq!((groups[0].rules.as_slice(), &groups[0].detail), (&[942_100][..], &None));
        assert_eq!(groups[0].example.target, "/b?x=1");
    }

    #[test]
    fn an_absolute_target_is_told_as_its_path_and_query() {
        let found = vec![objection(Action::Block, "rule", &[942_100])];
        let tally = tally(&[
            (past("http://h/admin?x=1", false, &[]), found.clone()),
            (past("/admin?x=2", false, &[]), found),
        ]);
        let groups = &tally.newly_blocked.groups;
        assert_eq!((groups.len(), groups[0].path.as_str()), (1, "/admin"));
        let example = &groups[0].example;
        assert_eq!((example.host.as_str(), example.target.as_str()), ("h", "/admin?x=1"));
    }

    #[test]
    fn each_outcome_is_counted_apart() {
        let block = objection(Action::Block, "address", &[]);
        let detect = objection(Action::Detect, "address", &[]);
        let tally = tally(&[
            (past("/", false, &[]), vec![]),
            (past("/", false, &[]), vec![detect.clone()]),
            (past("/", true, std::slice::from_ref(&block)), vec![detect]),
            (past("/", true, &[]), vec![block]),
        ]);
        assert_eq!((tally.judged, tally.passed, tally.reported.count), (4, 1, 1));
        assert_eq!((tally.no_longer_blocked.count, tally.still_blocked), (1, 1));
        assert_eq!(tally.newly_blocked.count, 0);
    }

    #[test]
    fn what_the_log_does_not_have_may_have_been_refused() {
        let refused = |method: &str, reason: &str, phase: u8| {
            let objection = Objection {
                last_phase: phase,
                ..objection(Action::Block, reason, &[1])
            };
            let mut past = past("/", true, &[objection]);
            past.line.method = method.to_owned();
            (past, Vec::new())
        };
        let tally = tally(&[
            refused("GET", "rule", 2),
            refused("POST", "address", 0),
            refused("POST", "rule", 2),
            refused("GET", "rule", 4),
            refused("GET", "header", 0),
        ]);
        assert_eq!((tally.no_longer_blocked.count, tally.unknown.count), (2, 3));
    }

    #[test]
    fn a_refusal_whose_reason_the_log_does_not_have_is_not_called_lifted() {
        let in_a_cookie = Objection {
            elsewhere: true,
            ..objection(Action::Block, "rule", &[942_100])
        };
        let limit = |name: &str| Objection {
            detail: Some(name.to_owned()),
            ..objection(Action::Block, "limit", &[])
        };
        let country = objection(Action::Block, "country", &[]);
        let penalty = objection(Action::Block, "penalty", &[]);
        let unjudged = |reason, detail: Option<&str>| UnjudgedPart {
            reason,
            detail: detail.map(str::to_owned),
        };
        let mut tally = Tally {
            unjudged: vec![unjudged("country", None), unjudged("limit", Some("sockets"))],
            ..Tally::default()
        };
        let unknown = [
            vec![],
            vec![in_a_cookie],
            vec![limit("sockets")],
            vec![country],
            vec![penalty],
        ];
        for before in unknown {
            tally.judged(&past("/", true, &before), "h", &before, &[], false);
        }
        assert_eq!((tally.no_longer_blocked.count, tally.unknown.count), (0, 5));
        let before = [limit("requests")];
        tally.judged(&past("/", true, &before), "h", &before, &[], false);
        assert_eq!((tally.no_longer_blocked.count, tally.unknown.count), (1, 5));
    }

    #[test]
    fn before_is_taken_from_the_log_unless_it_is_complete() {
        let block = [objection(Action::Block, "rule", &[1])];
        let mut tally = Tally::default();
        tally.judged(&past("/", true, &[]), "h", &[], &block, true);
        tally.judged(&past("/", false, &[]), "h", &block, &[], true);
        assert_eq!((tally.newly_blocked.count, tally.no_longer_blocked.count), (1, 1));
    }

    #[test]
    fn groups_are_bounded_and_what_is_beyond_is_counted() {
        let mut groups = Groups::default();
        for n in 0..MOST_GROUPS + 7 {
            groups.add(&past(&format!("/{n}"), false, &[]), "h", &[]);
        }
        groups.add(&past("/0", false, &[]), "h", &[]);
        assert_eq!((groups.groups.len(), groups.ungrouped), (MOST_GROUPS, 7));
        assert_eq!((groups.count, groups.groups[0].count), (MOST_GROUPS as u64 + 8, 2));
    }

    #[test]
    fn the_first_lines_that_cannot_be_read_are_named() {
        let mut tally = Tally::default();
        for number in 1..=100 {
            tally.unread(number, "why");
        }
        assert_eq!((tally.unread.count, tally.unread.first.len()), (100, MOST_UNREAD));
        assert_eq!(tally.unread.first[0], (1, "why".to_owned()));
    }
}
