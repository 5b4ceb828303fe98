//! `breakwater waf replay`: what a policy would have done to the requests of a log.
//!
//! A line at a time, in bounded memory. Reading lines, putting requests together and counting are
//! [`breakwater_waf::replay`]'s, judging is [`breakwater_dataplane::replay`]'s.

mod lines;
mod text;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use breakwater_compile::{Severity, compile};
use breakwater_dataplane::crs_dir;
use breakwater_dataplane::geo::Locations;
use breakwater_dataplane::replay::{Judge, Judged, Request};
use breakwater_waf::replay::{Line, LineError, Objection, Past, Tally, Window};
use clap::Args;
use serde::Serialize;

use crate::check::{self, Format, to_json};
use crate::exit::{self, Failure, complain};
use crate::manifests::Services;
use lines::{Lines, Taken};

/// How often it is said how far the reading is.
const PROGRESS: Duration = Duration::from_secs(10);

/// What to judge, by what.
#[derive(Args, Debug)]
pub(crate) struct ReplayArgs {
    /// The log; - is standard input
    #[arg(value_name = "LOG")]
    log: PathBuf,
    /// Directory of manifests: its *.yaml and *.yml files; or one file
    #[arg(short = 'f', long = "filename", value_name = "DIR")]
    dir: PathBuf,
    /// Compare with what these manifests would do instead of with what the log says was done. Both know the same of each
    /// request, so nothing is left uncertain
    #[arg(long, value_name = "DIR")]
    baseline: Option<PathBuf>,
    /// Directory of the OWASP Core Rule Set that nodes have [default: as for `up`]
    #[arg(long, value_name = "DIR")]
    crs_dir: Option<PathBuf>,
    /// Database of countries that nodes have, for lists of them
    #[arg(long, value_name = "FILE")]
    geo_db: Option<PathBuf>,
    /// Database of autonomous systems that nodes have, likewise
    #[arg(long, value_name = "FILE")]
    asn_db: Option<PathBuf>,
    /// The host of lines that have none, as those of the combined log format
    #[arg(long, value_name = "HOST")]
    host: Option<String>,
    /// Exit with 1 if a request would be refused that was not
    #[arg(long)]
    fail_on_new_blocks: bool,
    /// Groups of each outcome that are printed, those of most requests first; with -o json, all that are kept are
    #[arg(long, value_name = "N", default_value_t = 20)]
    groups: usize,
    /// How to print what was found
    #[arg(short, long, value_enum, default_value_t = Format::Text)]
    output: Format,
}

/// What is printed.
#[derive(Debug, Serialize)]
struct Report<'a> {
    #[serde(flatten)]
    tally: &'a Tally,
    /// What has to be known of these figures.
    notes: Vec<String>,
}

pub(crate) fn run(args: &ReplayArgs) -> Result<ExitCode, Failure> {
    let crs = crs_dir(args.crs_dir.clone());
    let locations = Locations::open(args.geo_db.as_deref(), args.asn_db.as_deref())
        .map_err(|error| Failure::environment(error.to_string(), ""))?;
    let locations = Arc::new(locations);
    let Some(judge) = judge_of(&args.dir, crs.as_deref(), &locations)? else {
        return Ok(ExitCode::from(exit::INPUT));
    };
    let baseline = match &args.baseline {
        None => None,
        Some(dir) => match judge_of(dir, crs.as_deref(), &locations)? {
            None => return Ok(ExitCode::from(exit::INPUT)),
            judge => judge,
        },
    };
    let mut replay = Replay::new(judge, baseline, args.host.as_deref());
    replay.read(Lines::open(&args.log)?)?;
    let mut tally = replay.tally;
    tally.finish();
    let mut notes = text::notes(&tally, args.baseline.is_some());
    let judges = std::iter::once(&replay.judge).chain(&replay.baseline);
    let mut left_out: Vec<_> = judges
        .flat_map(Judge::left_out)
        .map(|left_out| format!("of {} this is not judged: {}", left_out.policy, left_out.part))
        .collect();
    left_out.dedup();
    notes.extend(left_out);
    let report = Report { notes, tally: &tally };
    exit::print(&match args.output {
        Format::Json => to_json(&report)?,
        Format::Text => text::report(&report, args.groups),
    })?;
    Ok(match args.fail_on_new_blocks && tally.newly_blocked.count > 0 {
        true => ExitCode::from(exit::INPUT),
        false => ExitCode::SUCCESS,
    })
}

/// A judge with the manifests of a directory; none if they have errors, which are told.
fn judge_of(dir: &Path, crs: Option<&Path>, locations: &Arc<Locations>) -> Result<Option<Judge>, Failure> {
    let loaded = check::load(dir)?;
    let output = compile(&loaded.world());
    let found = loaded.report(&output, Services::Elsewhere);
    let mut errors = 0;
    for error in found.iter().filter(|found| found.severity == Severity::Error) {
        complain(error);
        errors += 1;
    }
    let judge = Judge::new(&output.snapshot, crs, locations)
        .map_err(|error| Failure::environment(error.to_string(), "name another with --crs-dir"))?;
    // What the compile step refused is rejected as well.
    for rejection in judge.rejected().iter().filter(|_| errors == 0) {
        complain(format!("error: {}: {}", rejection.id, rejection.message));
    }
    Ok((errors == 0 && judge.rejected().is_empty()).then_some(judge))
}

/// The way of a log through two judges.
struct Replay<'a> {
    judge: Judge,
    baseline: Option<Judge>,
    host: Option<&'a str>,
    tally: Tally,
}

impl<'a> Replay<'a> {
    fn new(judge: Judge, baseline: Option<Judge>, host: Option<&'a str>) -> Self {
        let tally = Tally {
            unjudged: judge.unjudged().to_vec(),
            ..Tally::default()
        };
        Self {
            judge,
            baseline,
            host,
            tally,
        }
    }

    fn read(&mut self, mut lines: Lines) -> Result<(), Failure> {
        let mut window = Window::default();
        let mut told = Instant::now();
        while let Some(taken) = lines.next()? {
            self.tally.lines += 1;
            let number = self.tally.lines;
            match taken {
                Taken::TooLong => self.tally.unread(number, "it is longer than a line may be"),
                Taken::Line(bytes) => match std::str::from_utf8(bytes) {
                    Err(_) => self.tally.unread(number, "it is not UTF-8"),
                    Ok(text) if text.trim().is_empty() => {}
                    Ok(text) => self.line(Line::parse(text), number, &mut window),
                },
            }
            while let Some((past, at_ms)) = window.pop() {
                self.request(&past, at_ms);
            }
            if told.elapsed() > PROGRESS {
                told = Instant::now();
                complain(format!(
                    "{} lines, {} MiB read",
                    self.tally.lines,
                    lines.read_bytes() >> 20
                ));
            }
        }
        window.end();
        while let Some((past, at_ms)) = window.pop() {
            self.request(&past, at_ms);
        }
        Ok(())
    }

    fn line(&mut self, line: Result<Line, LineError>, number: u64, window: &mut Window) {
        match line {
            Ok(line) if line.host.is_none() && self.host.is_none() => {
                self.tally.unread(number, "it has no host: name it with --host");
            }
            Ok(line) => self.tally.late += u64::from(!window.push(line, number)),
            Err(error) => self.tally.unread(number, error.to_string()),
        }
    }

    fn request(&mut self, past: &Past, at_ms: u64) {
        let Some(host) = past.line.host.as_deref().or(self.host) else {
            return;
        };
        let told = match say(&mut self.judge, past, host, at_ms) {
            Judged::Malformed(_) => return self.tally.malformed += 1,
            Judged::Unrouted => return self.tally.unrouted += 1,
            Judged::Told(told) => told,
        };
        let now = objections(&told);
        match &mut self.baseline {
            None => self.tally.judged(past, host, &past.line.objections, &now, false),
            Some(baseline) => {
                let before = match say(baseline, past, host, at_ms) {
                    Judged::Told(told) => objections(&told),
                    Judged::Malformed(_) | Judged::Unrouted => Vec::new(),
                };
                self.tally.judged(past, host, &before, &now, true);
            }
        }
    }
}

fn say(judge: &mut Judge, past: &Past, host: &str, at_ms: u64) -> Judged {
    let line = &past.line;
    let fields: Vec<_> = line
        .fields
        .iter()
        .map(|(name, value)| (*name, value.as_str()))
        .collect();
    let request = Request {
        client: line.client,
        method: &line.method,
        host,
        target: &line.target,
        http10: line.http10,
        request_id: line.request_id.as_deref().unwrap_or("-"),
        fields: &fields,
    };
    judge.judge(&request, at_ms)
}

/// What audit lines of ours say.
fn objections(told: &[Vec<u8>]) -> Vec<Objection> {
    let lines = told.iter().filter_map(|line| std::str::from_utf8(line).ok());
    let lines = lines.filter_map(|line| Line::parse(line).ok());
    lines.flat_map(|line| line.objections).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SITE: &str = r#"
apiVersion: breakwater.dev/v1alpha1
kind: EdgeCache
metadata: {name: site}
spec: {hostnames: [site.test], origin: {urls: ["http://192.0.2.1:80"]}}
---
apiVersion: breakwater.dev/v1alpha1
kind: WafPolicy
metadata: {name: site}
spec:
  targetRefs: [{group: breakwater.dev, kind: EdgeCache, name: site}]
"#;

    /// An access line.
    fn access(request_id: &str, at: &str, client: &str, uri: &str, waf: &str) -> String {
        format!(
            r#"{{"time":"2026-11-28T12:00:{at}Z","request_id":"{request_id}","client":"{client}","protocol":"HTTP/1.1","method":"GET","host":"site.test","uri":"{uri}","status":200,"bytes":1,"duration_ms":1.0,"resource":"EdgeCache/default/site","cache":null,"upstream":null,"waf":{waf},"aborted":false,"error":null}}"#
        )
    }

    /// The audit line of a refusal.
    fn refused(request_id: &str, at: &str, client: &str, uri: &str, reason: &str) -> String {
        format!(
            r#"{{"time":"2026-11-28T12:00:{at}Z","request_id":"{request_id}","client":"{client}","method":"GET","host":"site.test","uri":"{uri}","resource":"EdgeCache/default/site","policy":"WafPolicy/default/site","mode":"Enforce","action":"block","reason":"{reason}","status":403,"score":{{"inbound":0,"outbound":0}},"rules":[],"detail":"x"}}"#
        )
    }

    fn judge(spec: &str) -> Option<Judge> {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("site.yaml"), format!("{SITE}{spec}")).unwrap();
        judge_of(dir.path(), None, &Arc::default()).unwrap()
    }

    fn replay(spec: &str, baseline: Option<&str>, log: &[String]) -> Tally {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("access.log");
        std::fs::write(&path, log.join("\n")).unwrap();
        let mut replay = Replay::new(judge(spec).unwrap(), baseline.map(|spec| judge(spec).unwrap()), None);
        replay.read(Lines::open(&path).unwrap()).unwrap();
        replay.tally.finish();
        replay.tally
    }

    fn outcomes(tally: &Tally) -> [u64; 5] {
        [
            tally.newly_blocked.count,
            tally.no_longer_blocked.count,
            tally.still_blocked,
            tally.reported.count,
            tally.passed,
        ]
    }

    #[test]
    fn a_list_refuses_who_passed_and_passes_who_was_refused() {
        let log = [
            access("r1", "00.000", "203.0.113.9", "/", "null"),
            access("r2", "00.000", "198.51.100.7", "/", "\"block\""),
            refused("r2", "00.100", "198.51.100.7", "/", "address"),
            access("r3", "01.000", "203.0.113.9", "/x", "\"block\""),
            access("r4", "01.000", "198.51.100.7", "/", "null"),
        ];
        let tally = replay("  addresses: {deny: [203.0.113.0/24]}\n", None, &log);
        assert_eq!(outcomes(&tally), [1, 1, 1, 0, 1]);
        let group = tally.newly_blocked.groups.first().unwrap();
        assert_eq!(
            (group.policy.as_str(), group.reason.as_str(), group.detail.as_deref()),
            ("WafPolicy/default/site", "address", Some("203.0.113.0/24"))
        );
        assert_eq!(group.example.request_id.as_deref(), Some("r1"));
    }

    #[test]
    fn a_refusal_of_which_the_log_has_no_reason_is_counted_apart() {
        let log = [access("r1", "00.000", "203.0.113.9", "/", "\"block\"")];
        let tally = replay("", None, &log);
        assert_eq!((outcomes(&tally), tally.unknown.count), ([0, 0, 0, 0, 0], 1));
    }

    #[test]
    fn a_request_that_is_in_two_logs_one_behind_the_other_is_judged_once() {
        let log = [
            access("r1", "00.000", "203.0.113.9", "/", "\"block\""),
            access("r2", "09.000", "203.0.113.9", "/", "null"),
            refused("r1", "00.010", "203.0.113.9", "/", "address"),
        ];
        let tally = replay("", None, &log);
        assert_eq!((tally.lines, tally.judged, tally.late), (3, 2, 1));
    }

    #[test]
    fn a_policy_whose_database_is_not_at_hand_is_judged_without_its_lists_of_places() {
        let spec = "  countries: {allow: [DE], default: Deny}\n  asns: {deny: [64496]}\n  addresses: {deny: [198.51.100.0/24]}\n  seclang: {inline: 'SecRule REMOTE_ADDR \"@geoLookup\" \"id:1,phase:1,deny\"'}\n";
        let log = [
            access("r1", "00.000", "203.0.113.9", "/", "null"),
            access("r2", "00.000", "198.51.100.7", "/", "null"),
            refused("r3", "01.000", "203.0.113.9", "/", "country"),
        ];
        let tally = replay(spec, None, &log);
        assert_eq!((outcomes(&tally), tally.unknown.count), ([1, 0, 0, 0, 1], 1));
        let judge = judge(spec).unwrap();
        let parts: Vec<_> = judge.left_out().iter().map(|left_out| left_out.part).collect();
        assert!(
            matches!(parts.as_slice(), [countries, asns, rules]
                if countries.contains("--geo-db") && asns.contains("--asn-db") && rules.contains("@geoLookup")),
            "{parts:?}"
        );
    }

    #[test]
    fn rules_see_the_query_and_a_policy_that_only_detects_reports() {
        let spec = "  seclang:\n    inline: SecRule ARGS:a \"@streq 1\" \"id:1000,phase:2,deny,msg:'one'\"\n";
        let log = [
            access("r1", "00.000", "203.0.113.9", "/x?a=1", "null"),
            access("r2", "00.000", "203.0.113.9", "/x?a=2", "null"),
        ];
        let tally = replay(spec, None, &log);
        assert_eq!(outcomes(&tally), [1, 0, 0, 0, 1]);
        let group = tally.newly_blocked.groups.first().unwrap();
        assert_eq!(
            (group.rules.as_slice(), group.message.as_deref()),
            (&[1000][..], Some("one"))
        );
        let detects = format!("  mode: DetectOnly\n{spec}");
        assert_eq!(outcomes(&replay(&detects, None, &log)), [0, 0, 0, 1, 1]);
    }

    #[test]
    fn rules_look_at_every_request_whatever_a_policy_samples() {
        let spec =
            "  sampling: {percent: 1}\n  seclang:\n    inline: SecRule ARGS:a \"@streq 1\" \"id:1000,phase:2,deny\"\n";
        let log: Vec<_> = (0..50)
            .map(|n| access(&format!("r{n}"), "00.000", "203.0.113.9", "/x?a=1", "null"))
            .collect();
        assert_eq!(outcomes(&replay(spec, None, &log)), [50, 0, 0, 0, 0]);
    }

    #[test]
    fn limits_are_judged_by_the_times_of_the_lines() {
        let spec = "  limits: [{name: all, requests: {count: 2, per: 1s, burst: 1}}]\n";
        let at = |times: [&str; 4]| -> Vec<String> {
            let ids = ["r1", "r2", "r3", "r4"].into_iter().zip(times);
            ids.map(|(id, time)| access(id, time, "203.0.113.9", "/", "null"))
                .collect()
        };
        let slow = replay(spec, None, &at(["00.000", "00.000", "01.000", "01.000"]));
        assert_eq!(outcomes(&slow), [0, 0, 0, 0, 4]);
        let fast = replay(spec, None, &at(["00.000", "00.000", "00.000", "00.000"]));
        assert_eq!(outcomes(&fast), [2, 0, 0, 0, 2]);
        assert_eq!(
            fast.newly_blocked.groups.first().unwrap().detail.as_deref(),
            Some("all")
        );
    }

    #[test]
    fn limits_on_connections_and_fields_that_are_not_in_the_log_refuse_nobody() {
        let spec =
            "  limits: [{name: all, newConnections: {count: 1, per: 1h}}]\n  headers: {require: [{name: x-key}]}\n";
        let log: Vec<_> = (0..5)
            .map(|n| access(&format!("r{n}"), "00.000", "203.0.113.9", "/", "null"))
            .collect();
        assert_eq!(outcomes(&replay(spec, None, &log)), [0, 0, 0, 0, 5]);
    }

    #[test]
    fn with_other_manifests_to_compare_with_the_log_says_nothing_of_what_was_done() {
        let log = [
            access("r1", "00.000", "203.0.113.9", "/", "\"block\""),
            access("r2", "00.000", "198.51.100.7", "/", "null"),
        ];
        let deny = |net: &str| format!("  addresses: {{deny: [{net}]}}\n");
        let before = deny("198.51.100.0/24");
        let tally = replay(&deny("203.0.113.0/24"), Some(&before), &log);
        assert_eq!(outcomes(&tally), [1, 1, 0, 0, 0]);
        let group = tally.no_longer_blocked.groups.first().unwrap();
        assert_eq!(group.detail.as_deref(), Some("198.51.100.0/24"));
    }

    #[test]
    fn what_is_not_judged_is_counted() {
        let other = access("r1", "00.000", "203.0.113.9", "/", "null").replace("site.test", "other.test");
        let combined = r#"203.0.113.9 - - [28/Nov/2026:12:00:00 +0000] "GET / HTTP/1.1" 200 1 "-" "-""#;
        let log = [
            other,
            access("r2", "00.000", "203.0.113.9", "/%zz", "null"),
            combined.to_owned(),
            String::new(),
            "2026-11-28T12:00:00Z INFO serving".to_owned(),
        ];
        let tally = replay("", None, &log);
        assert_eq!(
            (tally.lines, tally.judged, tally.unrouted, tally.malformed),
            (5, 0, 1, 1)
        );
        let named: Vec<_> = tally.unread.first.iter().map(|(number, _)| *number).collect();
        assert_eq!((tally.unread.count, named), (2, vec![3, 5]));
    }

    #[test]
    fn manifests_with_errors_judge_nothing() {
        assert!(judge("  addresses: {deny: [nowhere]}\n").is_none());
        let rule = "  seclang: {inline: SecNonsense On}\n";
        assert!(judge(rule).is_none());
    }
}
