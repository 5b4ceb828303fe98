use breakwater_snapshot::Kind;
use breakwater_snapshot::unit::{self, PrefetchList};

use super::*;

fn settings(urls: &[&str], schedule: Option<&str>, rate: (u32, u32)) -> Arc<Settings> {
    let unit = unit::Prefetch {
        list: PrefetchList {
            urls: urls.iter().map(|url| format!("//a.test{url}")).collect(),
            sitemaps: Vec::new(),
            variants: vec![Vec::new()],
        },
        schedule: schedule.map(|text| text.parse().unwrap()),
        requests_per_second: rate.0,
        concurrency: rate.1,
    };
    Arc::new(Settings::new(&unit).unwrap())
}

const fn at(ms: u64) -> Now {
    Now { ms, unix: ms / 1000 }
}

fn page(url: &str) -> Arc<Url> {
    Arc::new(Url::parse(url).unwrap())
}

/// What may be asked for now, if anything.
fn ask(plan: &mut Plan, now: Now) -> Option<(Ticket, Item)> {
    match plan.next(now, false, 0) {
        Next::Ask(ticket, item) => Some((ticket, item)),
        Next::Wait(_) | Next::Nothing => None,
    }
}

/// Walks through everything at once, every answer the same; the targets that were asked for.
fn walk(plan: &mut Plan, now: Now, result: PrefetchResult) -> Vec<String> {
    let mut asked = Vec::new();
    while let Some((ticket, item)) = ask(plan, now) {
        asked.push(item.url().target.to_string());
        let _ = plan.done(ticket, &item, result, Some("no"), now);
    }
    asked
}

fn progress(plan: &Plan) -> PrefetchProgress {
    plan.progress(&ObjectId::new(Kind::EdgeCache, "default", "a"))
}

#[test]
fn requests_begin_at_the_rate_and_no_more_than_allowed_are_in_progress() {
    let mut plan = Plan::new(&settings(&["/1", "/2", "/3", "/4"], None, (10, 2)), 1, at(0), 0);
    let start = at(10_000);
    let (ticket, first) = ask(&mut plan, start).unwrap();
    plan.begun(start);
    // The catch-up lets one more begin at once, not two.
    let mut begun = 1;
    while ask(&mut plan, start).is_some() {
        plan.begun(start);
        begun += 1;
    }
    assert_eq!(begun, 2);
    assert_eq!(plan.next(at(60_000), false, 0), Next::Nothing, "two are in progress");
    plan.ended();
    let _ = plan.done(ticket, &first, PrefetchResult::Fetched, None, start);
    assert_eq!(plan.next(start, false, 0), Next::Wait(100));
    assert!(ask(&mut plan, at(10_100)).is_some());
}

#[test]
fn over_many_seconds_the_rate_holds() {
    let urls: Vec<String> = (0..1000).map(|n| format!("/{n}")).collect();
    let urls: Vec<&str> = urls.iter().map(String::as_str).collect();
    let mut plan = Plan::new(&settings(&urls, None, (30, 64)), 1, at(0), 0);
    let mut begun = 0;
    for ms in 0..10_000 {
        while let Some((ticket, item)) = ask(&mut plan, at(ms)) {
            plan.begun(at(ms));
            plan.ended();
            begun += 1;
            let _ = plan.done(ticket, &item, PrefetchResult::Fetched, None, at(ms));
        }
    }
    assert!((297..=304).contains(&begun), "{begun}");
}

#[test]
fn what_is_fresh_takes_nothing_of_the_rate() {
    let mut plan = Plan::new(&settings(&["/1", "/2", "/3"], None, (1, 1)), 1, at(0), 0);
    assert_eq!(walk(&mut plan, at(0), PrefetchResult::Fresh), ["/1", "/2", "/3"]);
    assert_eq!((progress(&plan).fresh, progress(&plan).completed), (3, Some(0)));
}

#[test]
fn nothing_is_asked_under_pressure() {
    let mut plan = Plan::new(&settings(&["/1"], None, (1, 1)), 1, at(0), 0);
    assert_eq!(plan.next(at(0), true, 0), Next::Nothing);
    assert!(ask(&mut plan, at(0)).is_some());
}

#[test]
fn a_run_begins_after_its_delay() {
    let mut plan = Plan::new(&settings(&["/1"], None, (1, 1)), 1, at(500), 2000);
    assert_eq!(plan.next(at(1000), false, 0), Next::Wait(1500));
    assert!(ask(&mut plan, at(2500)).is_some());
}

#[test]
fn the_list_is_walked_through_again_when_it_is_time() {
    let mut plan = Plan::new(&settings(&["/1"], Some("* * * * *"), (100, 1)), 1, at(30_000), 0);
    assert_eq!(walk(&mut plan, at(30_000), PrefetchResult::Fetched), ["/1"]);
    assert_eq!(walk(&mut plan, at(59_999), PrefetchResult::Fetched), [""; 0]);
    assert_eq!(walk(&mut plan, at(60_000), PrefetchResult::Fresh), ["/1"]);
    assert_eq!(progress(&plan).completed, Some(60));
    assert_eq!(walk(&mut plan, at(119_000), PrefetchResult::Fresh), [""; 0]);
    // A node that slept does it once.
    assert_eq!(walk(&mut plan, at(900_000), PrefetchResult::Fresh), ["/1"]);
    assert_eq!(walk(&mut plan, at(900_000), PrefetchResult::Fresh), [""; 0]);
}

#[test]
fn a_run_that_is_under_way_when_it_is_time_goes_on() {
    let mut plan = Plan::new(&settings(&["/1", "/2"], Some("* * * * *"), (100, 1)), 1, at(0), 0);
    let (ticket, item) = ask(&mut plan, at(0)).unwrap();
    assert_eq!(walk(&mut plan, at(61_000), PrefetchResult::Fetched), ["/2"]);
    let over = plan
        .done(ticket, &item, PrefetchResult::Fetched, None, at(61_000))
        .unwrap();
    assert_eq!(over.cause, Cause::Start);
    assert_eq!(walk(&mut plan, at(61_000), PrefetchResult::Fetched), [""; 0]);
}

#[test]
fn another_list_is_another_run_and_answers_of_the_one_before_do_not_count() {
    let mut plan = Plan::new(&settings(&["/1", "/2"], None, (100, 1)), 1, at(0), 0);
    let (old, item) = ask(&mut plan, at(0)).unwrap();
    plan.begun(at(0));
    assert!(plan.take_on(&settings(&["/2", "/3"], None, (100, 1)), 2, at(0), 0));
    assert_eq!(
        plan.next(at(1000), false, 0),
        Next::Nothing,
        "the old request is in progress"
    );
    plan.ended();
    assert_eq!(plan.done(old, &item, PrefetchResult::Failed, None, at(1000)), None);
    assert_eq!((progress(&plan).failed, progress(&plan).urls), (0, 2));
    assert_eq!(walk(&mut plan, at(1000), PrefetchResult::Fetched), ["/2", "/3"]);
    assert_eq!((progress(&plan).generation, progress(&plan).completed), (2, Some(1)));
}

#[test]
fn the_same_list_in_another_generation_stays_done() {
    let mut plan = Plan::new(&settings(&["/1"], None, (100, 1)), 1, at(0), 0);
    walk(&mut plan, at(5000), PrefetchResult::Fetched);
    assert!(!plan.take_on(&settings(&["/1"], Some("0 0 1 1 *"), (5, 5)), 2, at(6000), 0));
    let progress = progress(&plan);
    assert_eq!(
        (progress.generation, progress.completed, progress.running),
        (2, Some(5), false)
    );
    assert_eq!(walk(&mut plan, at(7000), PrefetchResult::Fetched), [""; 0]);
}

#[test]
fn failures_are_told_until_the_next_run_is_over() {
    let mut plan = Plan::new(&settings(&["/1", "/2", "/3", "/4", "/5"], None, (100, 1)), 1, at(0), 0);
    walk(&mut plan, at(0), PrefetchResult::Failed);
    let told = progress(&plan);
    assert_eq!((told.failed, told.failures.len()), (5, 3));
    assert_eq!(told.failures[0], "//a.test/1: no");
    plan.begin(Cause::Purge, at(1000), 0);
    assert_eq!((progress(&plan).failed, progress(&plan).failures.len()), (0, 3));
    walk(&mut plan, at(1000), PrefetchResult::Fetched);
    assert_eq!(progress(&plan).failures, Vec::<String>::new());
}

#[test]
fn a_sitemap_adds_its_pages_once_and_comes_first() {
    let unit = unit::Prefetch {
        list: PrefetchList {
            urls: vec!["//a.test/1".to_owned()],
            sitemaps: vec!["//a.test/index.xml".to_owned()],
            variants: vec![Vec::new(), Vec::new()],
        },
        schedule: None,
        requests_per_second: 100,
        concurrency: 1,
    };
    let mut plan = Plan::new(&Arc::new(Settings::new(&unit).unwrap()), 1, at(0), 0);
    let (ticket, index) = ask(&mut plan, at(0)).unwrap();
    plan.found(ticket, &Found::Sitemaps(vec![page("//a.test/s.xml")], 0));
    let _ = plan.done(ticket, &index, PrefetchResult::Fetched, None, at(0));
    let (ticket, sitemap) = ask(&mut plan, at(0)).unwrap();
    assert_eq!(
        sitemap,
        Item::Sitemap {
            url: page("//a.test/s.xml"),
            depth: 1
        }
    );
    plan.found(ticket, &Found::Pages(vec![page("//a.test/1"), page("//a.test/2")], 1));
    let _ = plan.done(ticket, &sitemap, PrefetchResult::Fetched, None, at(0));
    // Each page with both variants.
    assert_eq!(
        walk(&mut plan, at(0), PrefetchResult::Fetched),
        ["/1", "/1", "/2", "/2"]
    );
    let told = progress(&plan);
    assert_eq!((told.urls, told.fetched, told.pending()), (6, 6, 0));
    assert!(
        told.failures[0].starts_with("1 URL of sitemaps is left out"),
        "{told:?}"
    );
}

#[test]
fn a_run_has_a_limit_whatever_sitemaps_list() {
    let urls: Vec<_> = (0..MOST_URLS + 7).map(|n| page(&format!("//a.test/{n}"))).collect();
    let mut plan = Plan::new(&settings(&["/x"], None, (100, 1)), 1, at(0), 0);
    let (ticket, item) = ask(&mut plan, at(0)).unwrap();
    plan.found(ticket, &Found::Pages(urls, 0));
    let sitemaps = vec![page("//a.test/s.xml"); MOST_SITEMAPS + 1];
    plan.found(ticket, &Found::Sitemaps(sitemaps, 0));
    let _ = plan.done(ticket, &item, PrefetchResult::Fetched, None, at(0));
    assert_eq!(progress(&plan).urls as usize, MOST_URLS + MOST_SITEMAPS);
    assert!(
        progress(&plan).failures[0].starts_with("8 URLs"),
        "{:?}",
        progress(&plan).failures
    );
}

/// Asks for everything that may be asked for at `now`; those whose target is in `failing` fail. What was asked for.
fn walk_failing(plan: &mut Plan, now: Now, failing: &[&str]) -> Vec<String> {
    let mut asked = Vec::new();
    while let Some((ticket, item)) = ask(plan, now) {
        let target = item.url().target.to_string();
        let result = match failing.contains(&target.as_str()) {
            true => PrefetchResult::Failed,
            false => PrefetchResult::Fetched,
        };
        let _ = plan.done(ticket, &item, result, Some("no"), now);
        asked.push(target);
    }
    asked
}

#[test]
fn what_failed_and_nothing_else_is_tried_again_after_30_seconds_doubled_to_10_minutes_until_it_succeeds() {
    let mut plan = Plan::new(&settings(&["/1", "/2", "/3"], None, (100, 1)), 1, at(0), 0);
    assert_eq!(walk_failing(&mut plan, at(0), &["/2", "/3"]), ["/1", "/2", "/3"]);
    let mut now = 0;
    for wait in [30, 60, 120, 240, 480, 600, 600] {
        assert_eq!(progress(&plan).retry, Some((now + wait * 1000) / 1000));
        assert_eq!(plan.next(at(now), false, 0), Next::Wait(wait * 1000));
        assert_eq!(walk_failing(&mut plan, at(now + wait * 1000 - 1), &[]), [""; 0]);
        now += wait * 1000;
        assert_eq!(walk_failing(&mut plan, at(now), &["/2", "/3"]), ["/2", "/3"]);
        let told = progress(&plan);
        assert_eq!((told.urls, told.fetched, told.failed, told.running), (3, 1, 2, false));
    }
    now += 600_000;
    assert_eq!(walk_failing(&mut plan, at(now), &["/3"]), ["/2", "/3"]);
    assert_eq!((progress(&plan).fetched, progress(&plan).failed), (2, 1));
    now += 600_000;
    assert_eq!(walk_failing(&mut plan, at(now), &[]), ["/3"]);
    let told = progress(&plan);
    assert_eq!((told.urls, told.fetched, told.failed, told.retry), (3, 3, 0, None));
    assert_eq!(told.failures, Vec::<String>::new());
    assert_eq!(plan.next(at(now + 10_000_000), false, 0), Next::Nothing);
}

#[test]
fn a_retry_waits_by_chance_too_and_its_failures_are_told_until_it_is_over() {
    let mut plan = Plan::new(&settings(&["/1"], None, (100, 1)), 1, at(0), 0);
    walk_failing(&mut plan, at(0), &["/1"]);
    assert_eq!(plan.next(at(30_000), false, 2000), Next::Wait(2000));
    let told = progress(&plan);
    assert_eq!((told.running, told.pending(), told.retry), (true, 1, None));
    assert_eq!(told.failures, ["//a.test/1: no"]);
    assert_eq!(walk_failing(&mut plan, at(32_000), &[]), ["/1"]);
    assert_eq!(progress(&plan).failures, Vec::<String>::new());
}

#[test]
fn a_whole_run_takes_the_place_of_a_retry_and_begins_the_waits_anew() {
    let list = settings(&["/1", "/2"], Some("* * * * *"), (100, 1));
    let mut plan = Plan::new(&list, 1, at(0), 0);
    walk_failing(&mut plan, at(0), &["/2"]);
    // A retry is under way when it is time for the whole.
    let (ticket, item) = ask(&mut plan, at(30_000)).unwrap();
    assert_eq!(walk_failing(&mut plan, at(60_000), &["/2"]), ["/1", "/2"]);
    assert_eq!(
        plan.done(ticket, &item, PrefetchResult::Fetched, None, at(60_000)),
        None
    );
    assert_eq!(progress(&plan).retry, Some(90));
    plan.begin(Cause::Purge, at(61_000), 0);
    assert_eq!(walk_failing(&mut plan, at(61_000), &["/1"]), ["/1", "/2"]);
    assert_eq!(progress(&plan).retry, Some(91));
    assert!(plan.take_on(&settings(&["/3"], None, (100, 1)), 2, at(62_000), 0));
    assert_eq!(walk_failing(&mut plan, at(100_000), &[]), ["/3"]);
    assert_eq!(plan.next(at(1_000_000), false, 0), Next::Nothing);
}

#[test]
fn a_variant_that_failed_is_tried_again_alone_and_so_is_a_sitemap_with_what_it_lists() {
    let unit = unit::Prefetch {
        list: PrefetchList {
            urls: vec!["//a.test/1".to_owned()],
            sitemaps: vec!["//a.test/s.xml".to_owned()],
            variants: vec![Vec::new(), Vec::new()],
        },
        schedule: None,
        requests_per_second: 100,
        concurrency: 1,
    };
    let mut plan = Plan::new(&Arc::new(Settings::new(&unit).unwrap()), 1, at(0), 0);
    while let Some((ticket, item)) = ask(&mut plan, at(0)) {
        let fails = matches!(item, Item::Sitemap { .. } | Item::Page { variant: 0, .. });
        let result = if fails {
            PrefetchResult::Failed
        } else {
            PrefetchResult::Fetched
        };
        let _ = plan.done(ticket, &item, result, Some("no"), at(0));
    }
    let (ticket, sitemap) = ask(&mut plan, at(30_000)).unwrap();
    assert!(matches!(sitemap, Item::Sitemap { depth: 0, .. }));
    // What was there already is not asked for twice.
    plan.found(ticket, &Found::Pages(vec![page("//a.test/1"), page("//a.test/2")], 1));
    let _ = plan.done(ticket, &sitemap, PrefetchResult::Fetched, None, at(30_000));
    let mut rest = Vec::new();
    while let Some((ticket, item)) = ask(&mut plan, at(30_000)) {
        if let Item::Page { url, variant } = &item {
            rest.push((url.target.to_string(), *variant));
        }
        let _ = plan.done(ticket, &item, PrefetchResult::Fetched, None, at(30_000));
    }
    assert_eq!(rest, [("/1".to_owned(), 0), ("/2".to_owned(), 0), ("/2".to_owned(), 1)]);
    let told = progress(&plan);
    assert_eq!((told.urls, told.fetched, told.failed, told.retry), (5, 5, 0, None));
    // What no retry mends is told all the same.
    assert!(
        told.failures[0].starts_with("1 URL of sitemaps is left out"),
        "{told:?}"
    );
}
