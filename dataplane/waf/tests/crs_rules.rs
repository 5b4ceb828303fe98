//! Rule sets of others parse without a mistake, and nothing of them is lost: what is in CRS 4.28 is counted.
//!
//! `BREAKWATER_CRS` names a directory with `rules/` and `crs-setup.conf.example` (default: `../shared/crs` beside the
//! repository). `BREAKWATER_CRS_DEBIAN` names the root below which Debian's packages modsecurity-crs and
//! libnginx-mod-http-modsecurity are unpacked (default: `/`).

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use breakwater_waf::seclang::{
    Action, Ctl, Directive, DirectiveKind, Disruptive, Expr, ExprPart, Key, Located, Rule, RuleRange, SetvarOp, SkipTo,
    Target, Variable, parse,
};

fn crs() -> PathBuf {
    std::env::var_os("BREAKWATER_CRS").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/crs"),
        PathBuf::from,
    )
}

fn debian() -> PathBuf {
    std::env::var_os("BREAKWATER_CRS_DEBIAN").map_or_else(|| PathBuf::from("/"), PathBuf::from)
}

/// The files of a directory with an ending, in order.
fn files(directory: &Path, ending: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(directory).unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
    let mut files: Vec<PathBuf> = entries
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.to_string_lossy().ends_with(ending))
        .collect();
    files.sort();
    assert!(!files.is_empty(), "no {ending} in {}", directory.display());
    files
}

/// The directives of files, one after the other.
fn read(files: &[PathBuf]) -> Vec<Directive> {
    let mut all = Vec::new();
    for file in files {
        let name = file.file_name().unwrap().to_string_lossy();
        let text = std::fs::read_to_string(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        match parse(&name, &text) {
            Ok(directives) => all.extend(directives),
            Err(errors) => {
                let errors: Vec<String> = errors.iter().map(ToString::to_string).collect();
                panic!("{} mistakes in {name}:\n{}", errors.len(), errors.join("\n"));
            }
        }
    }
    all
}

#[derive(Default)]
struct Counts(BTreeMap<String, usize>);

impl Counts {
    fn add(&mut self, what: impl Into<String>) {
        *self.0.entry(what.into()).or_default() += 1;
    }

    fn of(&self, what: &str) -> usize {
        self.0.get(what).copied().unwrap_or(0)
    }

    fn is(&self, group: &str, expected: &[(&str, usize)]) {
        for (name, count) in expected {
            assert_eq!(
                self.of(&format!("{group} {name}")),
                *count,
                "{group} {name} of {:#?}",
                self.0
            );
        }
    }

    fn directives(&mut self, directives: &[Directive]) {
        for directive in directives {
            match &directive.value {
                DirectiveKind::Rule(rule) => {
                    if rule.targets.is_empty() {
                        self.add("directive SecAction");
                    } else {
                        self.add("directive SecRule");
                    }
                    let mut links = 0;
                    self.rule(rule);
                    let mut next = &rule.next;
                    while let Some(link) = next {
                        self.add("directive link");
                        self.rule(&link.value);
                        next = &link.value.next;
                        links += 1;
                    }
                    self.add(format!("links {links}"));
                }
                DirectiveKind::Marker(_) => self.add("directive SecMarker"),
                DirectiveKind::DefaultAction(..) => self.add("directive SecDefaultAction"),
                DirectiveKind::UpdateTarget(RuleRange::Ids(_), update) => {
                    self.add("directive SecRuleUpdateTargetById");
                    assert!(update.targets.iter().all(|target| target.exclude) && update.replaces.is_none());
                }
                DirectiveKind::ComponentSignature(_) => self.add("directive SecComponentSignature"),
                other => panic!("{}: {other:?}", directive.position),
            }
        }
    }

    fn rule(&mut self, rule: &Rule) {
        for target in &rule.targets {
            self.target(target);
        }
        if !rule.targets.is_empty() {
            self.add(format!("operator {}", rule.operator.kind));
            if rule.operator.negated {
                self.add(format!("negated {}", rule.operator.kind));
            }
        }
        for action in &rule.actions {
            self.action(action);
        }
    }

    fn target(&mut self, target: &Target) {
        self.add(format!("target {}", target.variable));
        if target.exclude {
            self.add(format!("exclude {}", target.variable));
        }
        if target.count {
            self.add(format!("count {}", target.variable));
        }
        match &target.key {
            Some(Key::Regex(_)) => self.add(format!("regex {}", target.variable)),
            Some(Key::Name(name)) if target.variable == Variable::Xml => self.add(format!("xpath {name}")),
            Some(Key::Name(_)) => self.add(format!("named {}", target.variable)),
            None => {}
        }
    }

    /// Whether there are any.
    fn macros(&mut self, text: &Expr) -> bool {
        let mut any = false;
        for part in &text.0 {
            if let ExprPart::Macro(variable, key) = part {
                let key = key.as_deref().map(|key| format!(".{key}")).unwrap_or_default();
                self.add(format!("macro {variable}{key}"));
                any = true;
            }
        }
        any
    }

    fn action(&mut self, action: &Located<Action>) {
        let name = match &action.value {
            Action::Id(_) => "id",
            Action::Phase(phase) => {
                self.add(format!("phase {phase:?}"));
                "phase"
            }
            Action::Disruptive(Disruptive::Block) => "block",
            Action::Disruptive(Disruptive::Pass) => "pass",
            Action::Disruptive(Disruptive::Deny) => "deny",
            Action::Status(_) => "status",
            Action::TransformNone => {
                self.add("transformation none");
                return;
            }
            Action::Transform(transformation) => return self.add(format!("transformation {transformation:?}")),
            Action::MultiMatch => "multiMatch",
            Action::Capture => "capture",
            Action::Chain => "chain",
            Action::Skip(SkipTo::After(_)) => "skipAfter",
            Action::Setvar(setvar) => {
                self.macros(&setvar.name);
                match &setvar.op {
                    SetvarOp::Add(value) => {
                        let what = if self.macros(value) { "macro" } else { "number" };
                        self.add(format!("setvar add {what}"));
                    }
                    SetvarOp::Set(value) => {
                        self.macros(value);
                        self.add("setvar set");
                    }
                    other => panic!("{}: {other:?}", action.position),
                }
                "setvar"
            }
            Action::Ctl(ctl) => {
                self.add(match ctl {
                    Ctl::Remove(RuleRange::Tag(_)) => "ctl ruleRemoveByTag",
                    Ctl::Remove(RuleRange::Ids(_)) => "ctl ruleRemoveById",
                    Ctl::RemoveTarget(RuleRange::Tag(_), _) => "ctl ruleRemoveTargetByTag",
                    Ctl::ForceRequestBodyVariable(true) => "ctl forceRequestBodyVariable",
                    Ctl::AuditEngine(_) => "ctl auditEngine",
                    Ctl::RequestBodyProcessor(_) => "ctl requestBodyProcessor",
                    other => panic!("{}: {other:?}", action.position),
                });
                "ctl"
            }
            Action::Initcol(_, key) => {
                self.macros(key);
                "initcol"
            }
            Action::Msg(text) => {
                self.macros(text);
                "msg"
            }
            Action::Logdata(text) => {
                self.macros(text);
                "logdata"
            }
            Action::Tag(_) => "tag",
            Action::Ver(_) => "ver",
            Action::Severity(severity) => {
                self.add(format!("severity {severity:?}"));
                "severity"
            }
            Action::Log => "log",
            Action::NoLog => "nolog",
            Action::AuditLog => "auditlog",
            Action::NoAuditLog => "noauditlog",
            other => panic!("{}: {other:?}", action.position),
        };
        self.add(format!("action {name}"));
    }
}

#[test]
fn crs_4_28_is_read_whole_and_every_part_of_it_is_counted() {
    let mut all = files(&crs().join("rules"), ".conf");
    all.push(crs().join("crs-setup.conf.example"));
    let mut counts = Counts::default();
    counts.directives(&read(&all));
    counts.is(
        "directive",
        &[
            ("SecRule", 622),
            ("link", 73),
            ("SecRuleUpdateTargetById", 55),
            ("SecMarker", 30),
            ("SecAction", 8),
            ("SecDefaultAction", 5),
            ("SecComponentSignature", 1),
        ],
    );
    counts.is("links", &[("1", 41), ("2", 11), ("3", 2), ("4", 1)]);
    // The default actions have a phase too; they are not counted here.
    counts.is(
        "phase",
        &[
            ("RequestHeaders", 173),
            ("RequestBody", 292),
            ("ResponseHeaders", 43),
            ("ResponseBody", 109),
            ("Logging", 13),
        ],
    );
    counts.is(
        "severity",
        &[("Critical", 305), ("Warning", 20), ("Error", 16), ("Notice", 5)],
    );
    counts.is("setvar", &[("add macro", 609), ("add number", 2), ("set", 73)]);
    counts.is(
        "action",
        &[
            ("tag", 3089),
            ("setvar", 684),
            ("id", 630),
            ("phase", 630),
            ("ver", 630),
            ("msg", 355),
            ("severity", 346),
            ("block", 345),
            ("logdata", 331),
            ("pass", 279),
            ("capture", 279),
            ("nolog", 277),
            ("skipAfter", 206),
            ("chain", 73),
            ("ctl", 10),
            ("log", 8),
            ("multiMatch", 8),
            ("deny", 6),
            ("noauditlog", 5),
            ("status", 2),
            ("initcol", 2),
            ("auditlog", 1),
        ],
    );
    counts.is(
        "ctl",
        &[
            ("ruleRemoveByTag", 3),
            ("forceRequestBodyVariable", 2),
            ("auditEngine", 2),
            ("requestBodyProcessor", 1),
            ("ruleRemoveById", 1),
            ("ruleRemoveTargetByTag", 1),
        ],
    );
    counts.is(
        "operator",
        &[
            ("rx", 318),
            ("lt", 190),
            ("eq", 53),
            ("ge", 42),
            ("pmFromFile", 21),
            ("gt", 15),
            ("pm", 12),
            ("streq", 9),
            ("within", 9),
            ("endsWith", 6),
            ("validateByteRange", 6),
            ("contains", 4),
            ("ipMatch", 2),
            ("detectXSS", 2),
            ("detectSQLi", 2),
            ("unconditionalMatch", 1),
            ("validateUtf8Encoding", 1),
            ("validateUrlEncoding", 1),
            ("beginsWith", 1),
        ],
    );
    counts.is(
        "negated",
        &[
            ("rx", 21),
            ("within", 6),
            ("eq", 4),
            ("endsWith", 3),
            ("pm", 2),
            ("streq", 2),
            ("lt", 1),
            ("beginsWith", 1),
            ("validateByteRange", 1),
            ("pmFromFile", 1),
        ],
    );
    counts.is(
        "transformation",
        &[
            ("none", 432),
            ("UrlDecodeUni", 140),
            ("Lowercase", 46),
            ("JsDecode", 37),
            ("HtmlEntityDecode", 35),
            ("Utf8ToUnicode", 32),
            ("RemoveNulls", 27),
            ("CssDecode", 23),
            ("CmdLine", 13),
            ("RemoveWhitespace", 11),
            ("ReplaceComments", 9),
            ("NormalizePath", 8),
            ("EscapeSeqDecode", 7),
            ("CompressWhitespace", 5),
            ("NormalizePathWin", 4),
            ("Length", 3),
            ("Base64Decode", 3),
            ("Sha1", 2),
            ("HexEncode", 2),
            ("RemoveCommentsChar", 1),
        ],
    );
    counts.is(
        "target",
        &[
            ("XML", 351),
            ("TX", 290),
            ("ARGS", 191),
            ("ARGS_NAMES", 189),
            ("REQUEST_HEADERS", 166),
            ("REQUEST_COOKIES", 166),
            ("REQUEST_COOKIES_NAMES", 165),
            ("REQUEST_FILENAME", 61),
            ("RESPONSE_BODY", 59),
            ("REQUEST_BODY", 19),
            ("MATCHED_VARS", 12),
            ("FILES", 9),
            ("REQUEST_METHOD", 8),
            ("REQUEST_LINE", 7),
            ("REQUEST_URI_RAW", 7),
            ("RESPONSE_HEADERS", 7),
            ("REQBODY_PROCESSOR", 5),
            ("REQUEST_BASENAME", 5),
            ("MULTIPART_PART_HEADERS", 5),
            ("FILES_NAMES", 4),
            ("REQUEST_URI", 3),
            ("REQUEST_HEADERS_NAMES", 3),
            ("MATCHED_VAR", 3),
            ("REMOTE_ADDR", 2),
            ("REQUEST_PROTOCOL", 2),
            ("ARGS_GET", 2),
            ("RESPONSE_STATUS", 2),
            ("UNIQUE_ID", 1),
            ("ARGS_COMBINED_SIZE", 1),
            ("FILES_COMBINED_SIZE", 1),
            ("REQUEST_BODY_LENGTH", 1),
            ("ARGS_GET_NAMES", 1),
            ("QUERY_STRING", 1),
        ],
    );
    counts.is("xpath", &[("/*", 176), ("//@*", 175)]);
    counts.is("count", &[("TX", 30), ("ARGS", 1), ("REQUEST_HEADERS", 17)]);
    counts.is("regex", &[("TX", 5), ("REQUEST_COOKIES", 1), ("ARGS_NAMES", 2)]);
    counts.is("exclude", &[("REQUEST_HEADERS", 26), ("ARGS_NAMES", 2)]);
    counts.is(
        "macro",
        &[
            ("MATCHED_VAR_NAME", 297),
            ("MATCHED_VAR", 269),
            ("TX.0", 265),
            ("TX.1", 10),
        ],
    );
}

/// The text with its commented directives, of which there are many, as an administrator would take them in.
fn uncommented(text: &str) -> String {
    let (mut out, mut inside) = (String::new(), false);
    for line in text.lines() {
        let bare = line.strip_prefix('#').unwrap_or(line);
        let name = bare.split_whitespace().next().unwrap_or_default();
        // Prose has other words beside such a name.
        let begins = line.starts_with('#') && name.starts_with("Sec") && !name.ends_with(',') && !bare.contains(" -> ");
        inside |= begins;
        out.push_str(if inside { bare } else { line });
        out.push('\n');
        inside &= bare.ends_with('\\');
    }
    out
}

#[test]
fn the_examples_of_crs_4_28_are_read_also_when_they_are_taken_in() {
    let mut all = files(&crs().join("rules"), ".conf.example");
    assert_eq!(read(&all), [], "they are comments");
    all.push(crs().join("crs-setup.conf.example"));
    let mut directives = 0;
    for file in all {
        let text = uncommented(&std::fs::read_to_string(&file).unwrap());
        match parse(&file.to_string_lossy(), &text) {
            Ok(read) => directives += read.len(),
            Err(errors) => {
                let errors: Vec<String> = errors.iter().map(ToString::to_string).collect();
                panic!("{}", errors.join("\n"));
            }
        }
    }
    assert_eq!(directives, 59);
}

#[test]
fn debians_crs_3_3_is_read_whole() {
    let root = debian();
    let mut all = files(&root.join("etc/modsecurity/crs"), ".conf");
    all.extend(files(&root.join("usr/share/modsecurity-crs/rules"), ".conf"));
    let directives = read(&all);
    let mut counts = Counts::default();
    for directive in &directives {
        if let DirectiveKind::Rule(rule) = &directive.value {
            let links =
                std::iter::successors(Some(&**rule), |rule| rule.next.as_deref().map(|next| &next.value)).count();
            let what = if rule.targets.is_empty() { "action" } else { "rule" };
            counts.add(format!("chain {what}"));
            counts
                .0
                .entry("chain links".to_owned())
                .and_modify(|n| *n += links - 1)
                .or_insert(links - 1);
        }
    }
    counts.is("chain", &[("rule", 624), ("action", 10), ("links", 166)]);
}

#[test]
fn modsecuritys_recommended_configuration_is_read() {
    let directives = read(&[debian().join("etc/nginx/modsecurity.conf")]);
    let rules = directives
        .iter()
        .filter(|directive| matches!(directive.value, DirectiveKind::Rule(_)));
    assert_eq!(rules.count(), 7);
}
