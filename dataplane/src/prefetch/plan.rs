//! What to ask for next, and how far a list is. Pure: time is an argument.
//!
//! A run walks through the whole list, sitemaps first. What is fresh costs a look-up, so a run for a list of which one
//! URL is new asks the origin for that one. A run that begins while another is under way takes its place: answers that
//! still come are of a ticket that nobody counts, but keep their place among the requests in progress.
//!
//! What failed is asked for again, and nothing else, after a wait that doubles, until it succeeds or a whole run begins.

mod run;

use std::sync::Arc;

use breakwater_snapshot::{ObjectId, PrefetchProgress};

use super::list::{Settings, Url};
use super::sitemap::Found;
use crate::telemetry::PrefetchResult;
use run::{Counts, MOST_SITEMAPS, MOST_URLS, Run};

/// Requests that could not be begun in time are made up for, as long as they are not later than this.
const CATCH_UP_US: u64 = 100_000;

/// How long after a run with failures these are tried again; doubled with each time that some of them fail.
const FIRST_RETRY_MS: u64 = 30_000;
const LONGEST_RETRY_MS: u64 = 600_000;

/// Now, by two clocks: one that never goes back, for pace, and the calendar's, for schedules.
#[derive(Clone, Copy, Debug)]
pub(super) struct Now {
    /// Milliseconds since some beginning.
    pub(super) ms: u64,
    /// Seconds since 1970.
    pub(super) unix: u64,
}

/// Why a run begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cause {
    /// The list is new to this node.
    Start,
    /// The list is another.
    Change,
    /// Everything was purged.
    Purge,
    /// It is time.
    Schedule,
    /// Some of the last run failed.
    Retry,
}

impl Cause {
    const fn label(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Change => "change",
            Self::Purge => "purge",
            Self::Schedule => "schedule",
            Self::Retry => "retry",
        }
    }
}

/// Something to ask for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Item {
    /// With the fields of a variant.
    Page { url: Arc<Url>, variant: usize },
    /// `depth` is how many sitemaps led to it.
    Sitemap { url: Arc<Url>, depth: u8 },
}

impl Item {
    pub(super) fn url(&self) -> &Url {
        match self {
            Self::Page { url, .. } | Self::Sitemap { url, .. } => url,
        }
    }
}

/// The run an item belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ticket(u64);

/// What [`Plan::next`] says.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Look whether this is stored; if not, ask for it, with [`Plan::begun`] before and [`Plan::ended`] behind. Say
    /// [`Plan::done`] in either case.
    Ask(Ticket, Item),
    /// Nothing for so many milliseconds.
    Wait(u64),
    /// Nothing until something is over or the list changes.
    Nothing,
}

/// A run that is over, for the log.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Over {
    pub(super) cause: Cause,
    counts: Counts,
    failures: Vec<String>,
    seconds: u64,
}

impl Over {
    pub(super) fn log(&self, resource: &str) {
        let Counts {
            fetched, fresh, failed, ..
        } = self.counts;
        let (cause, seconds) = (self.cause.label(), self.seconds);
        if self.failures.is_empty() {
            tracing::info!(resource, cause, fetched, fresh, failed, seconds, "prefetched");
        } else {
            let failures = self.failures.join("; ");
            tracing::warn!(
                resource,
                cause,
                fetched,
                fresh,
                failed,
                seconds,
                "prefetched, but for some: {failures}"
            );
        }
    }
}

/// A list, and how far this node is with it.
#[derive(Debug)]
pub(super) struct Plan {
    settings: Arc<Settings>,
    generation: i64,
    run: Option<Run>,
    retry: Option<Retry>,
    /// How long the next retry waits, milliseconds.
    retry_wait: u64,
    tickets: u64,
    /// When the next scheduled run is due, seconds since 1970.
    scheduled: Option<u64>,
    /// When the next request may begin, microseconds.
    free_at_us: u64,
    /// Requests in progress, of earlier runs too.
    in_progress: u32,
    /// Of the last run that was over.
    last: Counts,
    /// The list was walked through, at this time.
    completed: Option<u64>,
    failures: Vec<String>,
}

/// A run that is over, some of which failed.
#[derive(Debug)]
struct Retry {
    run: Run,
    due: Now,
}

impl Plan {
    /// A list that is new; its first run begins after `delay_ms`.
    pub(super) fn new(settings: &Arc<Settings>, generation: i64, now: Now, delay_ms: u64) -> Self {
        let mut plan = Self {
            settings: Arc::clone(settings),
            generation,
            run: None,
            retry: None,
            retry_wait: FIRST_RETRY_MS,
            tickets: 0,
            scheduled: None,
            free_at_us: 0,
            in_progress: 0,
            last: Counts::default(),
            completed: None,
            failures: Vec::new(),
        };
        plan.reckon(now.unix);
        plan.begin(Cause::Start, now, delay_ms);
        plan
    }

    pub(super) const fn settings(&self) -> &Arc<Settings> {
        &self.settings
    }

    /// Takes settings that may be new. True if the list is another, and a run for it begins.
    pub(super) fn take_on(&mut self, settings: &Arc<Settings>, generation: i64, now: Now, delay_ms: u64) -> bool {
        self.generation = generation;
        if Arc::ptr_eq(&self.settings, settings) {
            return false;
        }
        let before = std::mem::replace(&mut self.settings, Arc::clone(settings));
        if before.schedule != settings.schedule {
            self.reckon(now.unix);
        }
        if before.list.unit == settings.list.unit {
            return false;
        }
        self.completed = None;
        self.failures.clear();
        self.begin(Cause::Change, now, delay_ms);
        true
    }

    /// Begins a run after `delay_ms`, in place of one that is under way.
    pub(super) fn begin(&mut self, cause: Cause, now: Now, delay_ms: u64) {
        self.tickets += 1;
        self.retry = None;
        self.retry_wait = FIRST_RETRY_MS;
        let ticket = Ticket(self.tickets);
        let mut run = Run::new(ticket, cause, now.ms.saturating_add(delay_ms));
        let list = &self.settings.list;
        run.add_sitemaps(&list.sitemaps, 0);
        run.add_pages(&list.urls, list.variants.len());
        self.run = Some(run);
    }

    fn reckon(&mut self, unix: u64) {
        self.scheduled = self
            .settings
            .schedule
            .as_ref()
            .and_then(|schedule| schedule.next_after(unix));
    }

    /// What may be done now. `pressed`: nothing new is asked; `delay_ms`: how long a run that is due now waits.
    pub(super) fn next(&mut self, now: Now, pressed: bool, delay_ms: u64) -> Next {
        if self.scheduled.is_some_and(|due| now.unix >= due) {
            self.reckon(now.unix);
            // One that takes longer than its interval goes on; a retry is part of a whole run.
            if self.run.as_ref().is_none_or(|run| run.cause == Cause::Retry) {
                self.begin(Cause::Schedule, now, delay_ms);
            }
        }
        if let Some(retry) = self.retry.take_if(|retry| now.ms >= retry.due.ms) {
            self.tickets += 1;
            let begins = now.ms.saturating_add(delay_ms);
            self.run = Some(retry.run.again(Ticket(self.tickets), begins));
        }
        let Some(run) = &mut self.run else {
            return match &self.retry {
                Some(retry) => Next::Wait(retry.due.ms - now.ms),
                None => Next::Nothing,
            };
        };
        if now.ms < run.begins {
            return Next::Wait(run.begins - now.ms);
        }
        let now_us = now.ms.saturating_mul(1000);
        if pressed || !run.has_more() || self.in_progress >= self.settings.concurrency {
            return Next::Nothing;
        }
        if now_us < self.free_at_us {
            return Next::Wait((self.free_at_us - now_us).div_ceil(1000));
        }
        match run.take(self.settings.list.variants.len()) {
            Some(item) => Next::Ask(run.ticket, item),
            None => Next::Nothing,
        }
    }

    /// The origin is asked for an item.
    pub(super) fn begun(&mut self, now: Now) {
        self.in_progress += 1;
        let interval = 1_000_000 / u64::from(self.settings.requests_per_second);
        let now_us = now.ms.saturating_mul(1000);
        self.free_at_us = self.free_at_us.max(now_us.saturating_sub(CATCH_UP_US)) + interval;
    }

    /// A request that had begun is over.
    pub(super) fn ended(&mut self) {
        self.in_progress = self.in_progress.saturating_sub(1);
    }

    /// What a sitemap of this run lists. To be said before [`Plan::done`].
    pub(super) fn found(&mut self, ticket: Ticket, found: &Found) {
        let variants = self.settings.list.variants.len();
        let Some(run) = self.run.as_mut().filter(|run| run.ticket == ticket) else {
            return;
        };
        let left_out = match found {
            Found::Pages(urls, left_out) => left_out + run.add_pages(urls, variants),
            Found::Sitemaps(urls, left_out) => left_out + run.add_sitemaps(urls, 1),
        };
        if left_out > 0 {
            let (urls, are) = if left_out == 1 { ("URL", "is") } else { ("URLs", "are") };
            run.note(format!(
                "{left_out} {urls} of sitemaps {are} left out: of other hosts, unusable, or more than {MOST_URLS} pages or {MOST_SITEMAPS} sitemaps in all"
            ));
        }
    }

    /// What became of an item; the run, if it is over.
    pub(super) fn done(
        &mut self,
        ticket: Ticket,
        item: &Item,
        result: PrefetchResult,
        reason: Option<&str>,
        now: Now,
    ) -> Option<Over> {
        let run = self.run.as_mut().filter(|run| run.ticket == ticket)?;
        run.out = run.out.saturating_sub(1);
        match result {
            PrefetchResult::Fetched | PrefetchResult::Revalidated => run.counts.fetched += 1,
            PrefetchResult::Fresh => run.counts.fresh += 1,
            PrefetchResult::Failed => {
                run.counts.failed += 1;
                run.failure(item, reason.unwrap_or("it failed"));
            }
        }
        if self.completed.is_none() {
            self.failures = run.said();
        }
        if run.out > 0 || run.has_more() {
            return None;
        }
        let run = self.run.take()?;
        self.last = run.counts;
        self.completed = Some(now.unix);
        self.failures = run.said();
        let over = Over {
            cause: run.cause,
            counts: run.counts,
            failures: self.failures.clone(),
            seconds: now.ms.saturating_sub(run.begins) / 1000,
        };
        if run.has_failed() {
            let wait = self.retry_wait;
            self.retry_wait = wait.saturating_mul(2).min(LONGEST_RETRY_MS);
            let due = Now {
                ms: now.ms.saturating_add(wait),
                unix: now.unix.saturating_add(wait / 1000),
            };
            self.retry = Some(Retry { run, due });
        }
        Some(over)
    }

    pub(super) fn progress(&self, id: &ObjectId) -> PrefetchProgress {
        let counts = self.run.as_ref().map_or(self.last, |run| run.counts);
        let number = |count| u32::try_from(count).unwrap_or(u32::MAX);
        PrefetchProgress {
            id: id.clone(),
            generation: self.generation,
            running: self.run.is_some(),
            urls: number(counts.urls),
            fetched: number(counts.fetched),
            fresh: number(counts.fresh),
            failed: number(counts.failed),
            completed: self.completed,
            failures: self.failures.clone(),
            retry: self.retry.as_ref().map(|retry| retry.due.unix),
        }
    }
}

#[cfg(test)]
mod tests;
