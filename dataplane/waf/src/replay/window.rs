//! Lines of one request, put together; requests in their order.
//!
//! A log that holds access lines and audit lines has several of a request, and they come within seconds. Lines of whole
//! seconds are spread over theirs, evenly: limits would otherwise see a second's requests at one moment. Where the lines
//! of a request are farther apart, as in two logs one behind the other, the first decide and the others are passed over:
//! no request is judged twice. Bounded: what waits goes on when there is too much of it.

use std::collections::{HashMap, VecDeque};

use super::line::Line;
use super::seen::Seen;

/// How far lines of one request may be apart, milliseconds.
const APART_MS: u64 = 2_000;

/// Requests, and bytes of them, that wait.
const MOST: usize = 16 * 1024;
const MOST_BYTES: usize = 32 << 20;

/// Objections that are kept of one request.
const MOST_OBJECTIONS: usize = 16;

/// A request that was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Past {
    /// What the log says of it.
    pub line: Line,
    /// The number of its first line, from 1.
    pub number: u64,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Window {
    waiting: VecDeque<Past>,
    /// Of those that wait, by their ids: their places, counted from the first request of all.
    places: HashMap<String, u64>,
    gone: u64,
    /// Those that have gone.
    seen: Seen,
    bytes: usize,
    newest_ms: u64,
    ended: bool,
    /// Requests at the front that share a second, those of them that have gone, and the second.
    run: (u64, u64, u64),
}

impl Window {
    /// Takes the line with this number. False: its request has gone, and the line says nothing any more.
    pub fn push(&mut self, line: Line, number: u64) -> bool {
        self.newest_ms = self.newest_ms.max(line.unix_ms);
        let known = line.request_id.as_ref().and_then(|id| self.places.get(id));
        let known = known.and_then(|place| usize::try_from(place - self.gone).ok());
        let known = known.and_then(|place| self.waiting.get_mut(place));
        // Two access lines are two requests, whose client chose one id for both.
        if let Some(past) = known.filter(|past| past.line.redacted || line.redacted) {
            self.bytes -= past.line.size();
            merge(&mut past.line, line);
            self.bytes += past.line.size();
            return true;
        }
        if let Some(id) = &line.request_id {
            if self.seen.has(id, !line.redacted) {
                return false;
            }
            self.places.insert(id.clone(), self.gone + self.waiting.len() as u64);
        }
        self.bytes += line.size();
        self.waiting.push_back(Past { line, number });
        true
    }

    /// No more lines come.
    pub fn end(&mut self) {
        self.ended = true;
    }

    /// The next request that no further line is awaited of, and when it was, milliseconds since the Unix epoch.
    pub fn pop(&mut self) -> Option<(Past, u64)> {
        let front = self.waiting.front()?.line.unix_ms;
        let full = self.waiting.len() > MOST || self.bytes > MOST_BYTES;
        if !self.ended && !full && front.saturating_add(APART_MS) >= self.newest_ms {
            return None;
        }
        let at_ms = self.spread(front);
        let past = self.waiting.pop_front()?;
        self.gone += 1;
        self.bytes -= past.line.size();
        if let Some(id) = &past.line.request_id {
            self.seen.remember(id, !past.line.redacted);
            if self.places.get(id).is_some_and(|place| *place < self.gone) {
                self.places.remove(id);
            }
        }
        Some((past, at_ms))
    }

    /// When the request at the front was.
    fn spread(&mut self, front_ms: u64) -> u64 {
        if !front_ms.is_multiple_of(1000) {
            return front_ms;
        }
        let (all, gone, second) = &mut self.run;
        if *gone == *all || *second != front_ms {
            let together = self.waiting.iter().take_while(|past| past.line.unix_ms == front_ms);
            self.run = (together.count() as u64, 0, front_ms);
        }
        let (all, gone, _) = &mut self.run;
        let at_ms = front_ms + *gone * 1000 / (*all).max(1);
        *gone += 1;
        at_ms
    }
}

/// Adds to a request what another of its lines says.
fn merge(past: &mut Line, line: Line) {
    past.blocked |= line.blocked;
    let room = MOST_OBJECTIONS.saturating_sub(past.objections.len());
    past.objections.extend(line.objections.into_iter().take(room));
    if past.redacted && !line.redacted {
        past.target = line.target;
        (past.shortened, past.redacted, past.http10) = (line.shortened, false, line.http10);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::Action;
    use crate::replay::Objection;

    fn line(id: &str, unix_ms: u64) -> Line {
        Line {
            unix_ms,
            request_id: Some(id.to_owned()),
            client: [192, 0, 2, 1].into(),
            method: "GET".to_owned(),
            host: Some("a".to_owned()),
            target: "/".to_owned(),
            shortened: false,
            redacted: false,
            http10: false,
            fields: Vec::new(),
            blocked: false,
            objections: Vec::new(),
        }
    }

    fn all(window: &mut Window) -> Vec<(String, u64)> {
        let popped = std::iter::from_fn(|| window.pop());
        popped
            .map(|(past, at_ms)| (past.line.request_id.unwrap_or_default(), at_ms))
            .collect()
    }

    #[test]
    fn lines_of_one_request_are_one_request_with_the_target_as_it_was_sent() {
        let mut window = Window::default();
        let audit = Line {
            target: "/?a=***".to_owned(),
            redacted: true,
            blocked: true,
            objections: vec![Objection {
                policy: "p".to_owned(),
                action: Action::Block,
                reason: "rule".to_owned(),
                detail: None,
                rules: vec![1],
                last_phase: 2,
                elsewhere: false,
                message: None,
            }],
            ..line("r", 500)
        };
        window.push(audit, 1);
        window.push(line("other", 800), 2);
        let access = Line {
            target: "/?a=b".to_owned(),
            ..line("r", 1000)
        };
        window.push(access, 3);
        window.end();
        let (past, _) = window.pop().unwrap();
        assert_eq!((past.line.target.as_str(), past.number), ("/?a=b", 1));
        assert!(past.line.blocked && past.line.objections.len() == 1 && !past.line.redacted);
        assert_eq!(all(&mut window), [("other".to_owned(), 800)]);
        assert_eq!((window.bytes, window.places.len()), (0, 0));
    }

    #[test]
    fn a_request_waits_for_further_lines_of_it_and_no_longer() {
        let mut window = Window::default();
        window.push(line("a", 1500), 1);
        window.push(line("b", 3500), 2);
        assert!(window.pop().is_none());
        window.push(line("c", 3501), 3);
        assert_eq!(all(&mut window), [("a".to_owned(), 1500)]);
    }

    #[test]
    fn a_line_of_a_request_that_has_gone_is_passed_over() {
        let mut window = Window::default();
        let audit = |id: &str, unix_ms| Line {
            redacted: true,
            blocked: true,
            ..line(id, unix_ms)
        };
        for (number, line) in (1..).zip([line("a", 1000), audit("b", 1500), line("c", 9000)]) {
            assert!(window.push(line, number));
        }
        assert_eq!(all(&mut window), [("a".to_owned(), 1000), ("b".to_owned(), 1500)]);
        assert!(!window.push(audit("a", 1000), 4) && !window.push(line("b", 1000), 5));
        window.end();
        assert_eq!(all(&mut window), [("c".to_owned(), 9000)]);
    }

    #[test]
    fn requests_whose_client_chose_one_id_for_all_are_all_judged() {
        let mut window = Window::default();
        for (number, unix_ms) in [(1, 1500), (2, 1600), (3, 9500)] {
            assert!(window.push(line("same", unix_ms), number));
            while window.pop().is_some() {}
        }
        assert!(window.push(line("same", 9600), 4));
        window.end();
        let times: Vec<_> = all(&mut window).into_iter().map(|(_, at_ms)| at_ms).collect();
        assert_eq!((times, window.places.len()), (vec![9500, 9600], 0));
    }

    #[test]
    fn requests_of_one_second_are_spread_over_it() {
        let mut window = Window::default();
        for (number, id) in (1..).zip(["a", "b", "c", "d"]) {
            window.push(line(id, 5000), number);
        }
        window.push(line("e", 6000), 5);
        window.end();
        let times: Vec<_> = all(&mut window).into_iter().map(|(_, at_ms)| at_ms).collect();
        assert_eq!(times, [5000, 5250, 5500, 5750, 6000]);
    }

    #[test]
    fn no_more_than_so_many_requests_wait() {
        let mut window = Window::default();
        for number in 0..2 * MOST as u64 {
            window.push(line(&number.to_string(), 5000), number);
            while window.pop().is_some() {}
            assert!(window.waiting.len() <= MOST && window.places.len() <= MOST);
        }
        assert_eq!(window.waiting.len(), MOST);
    }

    #[test]
    fn no_more_than_so_many_bytes_wait() {
        let mut window = Window::default();
        for number in 0..MOST as u64 {
            let long = Line {
                target: "/".repeat(8000),
                ..line(&number.to_string(), 5000)
            };
            window.push(long, number);
            while window.pop().is_some() {}
            assert!(window.bytes <= MOST_BYTES);
        }
        assert!(window.waiting.len() < MOST / 2);
    }
}
