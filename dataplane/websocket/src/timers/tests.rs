use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Wake;

use super::*;

#[derive(Default)]
struct Count(AtomicUsize);

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

fn counter() -> (Arc<Count>, Waker) {
    let count = Arc::new(Count::default());
    (Arc::clone(&count), Waker::from(count))
}

impl Count {
    fn woken(&self) -> usize {
        self.0.swap(0, Ordering::Relaxed)
    }
}

#[test]
fn an_entry_is_woken_once_when_its_deadline_has_come_and_not_before() {
    let wheel = Wheel::new(100);
    let (count, waker) = counter();
    let timer = wheel.timer();
    timer.set(1_050, &waker);
    wheel.tick(1_000);
    wheel.tick(1_049);
    assert_eq!(count.woken(), 0);
    wheel.tick(1_100);
    assert_eq!(count.woken(), 1);
    wheel.tick(100_000);
    assert_eq!(count.woken(), 0);
    timer.set(100_200, &waker);
    wheel.tick(100_200);
    assert_eq!(count.woken(), 1);
}

#[test]
fn a_deadline_may_move_either_way() {
    let wheel = Wheel::new(100);
    let (count, waker) = counter();
    let timer = wheel.timer();
    timer.set(1_000, &waker);
    timer.set(2_000, &waker);
    wheel.tick(1_500);
    assert_eq!(count.woken(), 0);
    timer.set(1_600, &waker);
    wheel.tick(1_600);
    assert_eq!(count.woken(), 1);
    timer.set(3_000, &waker);
    timer.set(NEVER, &waker);
    wheel.tick(10_000);
    assert_eq!(count.woken(), 0);
}

#[test]
fn a_deadline_beyond_the_wheels_reach_is_kept() {
    let wheel = Wheel::new(1);
    let (count, waker) = counter();
    let timer = wheel.timer();
    timer.set(10 * SLOTS + 7, &waker);
    for now in 0..10 * SLOTS + 7 {
        wheel.tick(now);
        assert_eq!(count.woken(), 0, "woken at {now}");
    }
    wheel.tick(10 * SLOTS + 7);
    assert_eq!(count.woken(), 1);
}

#[test]
fn a_late_tick_wakes_all_that_are_due() {
    let wheel = Wheel::new(10);
    let entries: Vec<_> = (1..=1_000_u64)
        .map(|number| {
            let (count, waker) = counter();
            let timer = wheel.timer();
            timer.set(number * 10, &waker);
            (count, timer)
        })
        .collect();
    wheel.tick(7_000);
    let woken: Vec<usize> = entries.iter().map(|(count, _)| count.woken()).collect();
    assert!(woken[..700].iter().all(|count| *count == 1));
    assert!(woken[700..].iter().all(|count| *count == 0));
    wheel.tick(1_000_000);
    assert_eq!(entries.iter().map(|(count, _)| count.woken()).sum::<usize>(), 300);
}

#[test]
fn dropped_entries_are_reused_and_never_woken() {
    let wheel = Wheel::new(10);
    let (count, waker) = counter();
    let timers: Vec<Timer> = (0..10).map(|_| wheel.timer()).collect();
    for timer in &timers {
        timer.set(50, &waker);
    }
    // From the middle, the end and the beginning of a slot's list.
    let mut timers: Vec<Option<Timer>> = timers.into_iter().map(Some).collect();
    for index in [4, 9, 0, 5] {
        timers[index] = None;
    }
    assert_eq!(wheel.len(), 6);
    let again: Vec<Timer> = (0..4).map(|_| wheel.timer()).collect();
    let mut numbers: Vec<u32> = again.iter().map(Timer::number).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, [0, 4, 5, 9]);
    wheel.tick(60);
    assert_eq!(count.woken(), 6);
    drop((timers, again));
    assert!(wheel.is_empty());
}

#[test]
fn all_can_be_woken_whatever_their_deadlines() {
    let wheel = Wheel::new(10);
    let (count, waker) = counter();
    let timers = [wheel.timer(), wheel.timer(), wheel.timer()];
    timers[0].set(NEVER, &waker);
    timers[1].set(5, &waker);
    wheel.wake_all();
    assert_eq!(count.woken(), 2);
}

#[test]
fn an_entry_takes_forty_bytes() {
    assert_eq!(size_of::<Entry>(), 40);
}
