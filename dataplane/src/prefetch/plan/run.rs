//! One run through a list: what is still to be asked for, and what came of the rest.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;

use breakwater_snapshot::PrefetchProgress;

use super::super::list::Url;
use super::{Cause, Item, Ticket};

/// Most URLs of one run.
pub(super) const MOST_URLS: usize = 50_000;

/// Most sitemaps of one run.
pub(super) const MOST_SITEMAPS: usize = 1000;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) urls: usize,
    pub(super) fetched: usize,
    pub(super) fresh: usize,
    pub(super) failed: usize,
}

#[derive(Debug)]
pub(super) struct Run {
    pub(super) ticket: Ticket,
    pub(super) cause: Cause,
    /// Milliseconds.
    pub(super) begins: u64,
    queue: VecDeque<Queued>,
    /// Items that were given out and are not done.
    pub(super) out: usize,
    seen: HashSet<Arc<Url>>,
    sitemaps: usize,
    pub(super) counts: Counts,
    /// What failed, to be tried again.
    failed: Vec<Item>,
    /// Why, of the first few.
    failures: Vec<String>,
    /// What no retry mends: what is left out of sitemaps.
    notes: Vec<String>,
}

/// Something to be asked for.
#[derive(Debug)]
enum Queued {
    /// This, and a page in all further variants.
    All(Item),
    /// This alone.
    One(Item),
}

impl Run {
    pub(super) fn new(ticket: Ticket, cause: Cause, begins: u64) -> Self {
        Self {
            ticket,
            cause,
            begins,
            queue: VecDeque::new(),
            out: 0,
            seen: HashSet::new(),
            sitemaps: 0,
            counts: Counts::default(),
            failed: Vec::new(),
            failures: Vec::new(),
            notes: Vec::new(),
        }
    }

    /// Whether there is something to ask for.
    pub(super) fn has_more(&self) -> bool {
        !self.queue.is_empty()
    }

    /// Whether something is to be tried again.
    pub(super) fn has_failed(&self) -> bool {
        !self.failed.is_empty()
    }

    /// The same run, of which only what failed is still to be done.
    pub(super) fn again(mut self, ticket: Ticket, begins: u64) -> Self {
        self.counts.failed = 0;
        self.failures.clear();
        let failed = std::mem::take(&mut self.failed);
        Self {
            ticket,
            cause: Cause::Retry,
            begins,
            queue: failed.into_iter().map(Queued::One).collect(),
            out: 0,
            ..self
        }
    }

    /// Returns how many there was no room for.
    pub(super) fn add_pages(&mut self, urls: &[Arc<Url>], variants: usize) -> usize {
        let mut left_out = 0;
        for url in urls {
            if self.seen.contains(url) {
                continue;
            }
            if self.seen.len() >= MOST_URLS {
                left_out += 1;
                continue;
            }
            self.seen.insert(Arc::clone(url));
            self.counts.urls += variants;
            self.queue.push_back(Queued::All(Item::Page {
                url: Arc::clone(url),
                variant: 0,
            }));
        }
        left_out
    }

    /// Returns how many there was no room for.
    pub(super) fn add_sitemaps(&mut self, urls: &[Arc<Url>], depth: u8) -> usize {
        let room = MOST_SITEMAPS - self.sitemaps;
        let taken = urls.len().min(room);
        self.sitemaps += taken;
        self.counts.urls += taken;
        // First of all, so that it is soon known how much there is to do.
        for url in urls.iter().take(taken).rev() {
            self.queue.push_front(Queued::One(Item::Sitemap {
                url: Arc::clone(url),
                depth,
            }));
        }
        urls.len() - taken
    }

    /// The next item; a page comes once for each variant.
    pub(super) fn take(&mut self, variants: usize) -> Option<Item> {
        let item = match self.queue.pop_front()? {
            Queued::One(item) => item,
            Queued::All(item) => {
                if let Item::Page { url, variant } = &item
                    && variant + 1 < variants
                {
                    self.queue.push_front(Queued::All(Item::Page {
                        url: Arc::clone(url),
                        variant: variant + 1,
                    }));
                }
                item
            }
        };
        self.out += 1;
        Some(item)
    }

    pub(super) fn failure(&mut self, item: &Item, reason: &str) {
        self.failed.push(item.clone());
        if self.failures.len() < PrefetchProgress::REASONS {
            self.failures.push(shortened(format!("{}: {reason}", item.url())));
        }
    }

    pub(super) fn note(&mut self, text: String) {
        if self.notes.len() < PrefetchProgress::REASONS {
            self.notes.push(shortened(text));
        }
    }

    /// The first few of what is wrong.
    pub(super) fn said(&self) -> Vec<String> {
        let all = self.notes.iter().chain(&self.failures);
        all.take(PrefetchProgress::REASONS).cloned().collect()
    }
}

fn shortened(mut text: String) -> String {
    if text.len() > PrefetchProgress::LONGEST {
        let end = (0..=PrefetchProgress::LONGEST - 3)
            .rev()
            .find(|at| text.is_char_boundary(*at));
        text.truncate(end.unwrap_or(0));
        text.push('…');
    }
    text
}
