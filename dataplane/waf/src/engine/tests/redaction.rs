//! What `audit.redact` and `sanitise…` name is in no message, log data or URI, whatever rules say.

use super::*;

const SECRET: &str = "GeHeim-4711";
/// Pieces of it that a rule may capture or transform.
const PIECES: [&str; 4] = ["geheim-4711", "heim", "4711", "47656865696d"];

fn hidden() -> Arc<Redaction> {
    Arc::new(Redaction::new(
        ["password".to_owned()],
        ["authorization".to_owned(), "cookie".to_owned()],
    ))
}

/// Target, fields, body.
type Place = (String, Vec<(&'static str, String)>, String);

/// Where the secret stands.
fn places() -> Vec<Place> {
    let field = |name, value: &str| vec![(name, value.to_owned())];
    let mut all = Vec::new();
    for query in [
        format!("password={SECRET}"),
        format!("x=1;password={SECRET}"),
        format!("x;password={SECRET}"),
        format!("p%61ssword={SECRET}"),
        format!("user[password]={SECRET}"),
        "user%5Bpassword%5D=%47e%48eim-4711".to_owned(),
        format!("x=1&password={SECRET}&y={SECRET}"),
        format!("x={{\"password\":\"{SECRET}\"}}"),
        format!("password%3D{SECRET}=1"),
    ] {
        all.push((format!("/p?{query}"), Vec::new(), String::new()));
    }
    all.push((format!("/p;password={SECRET}/x"), Vec::new(), String::new()));
    all.push((format!("/{SECRET}?password={SECRET}"), Vec::new(), String::new()));
    for (name, value) in [
        ("Authorization", format!("Bearer {SECRET}")),
        ("Authorization", SECRET.to_owned()),
        ("Cookie", format!("sid={SECRET}; a=b")),
        ("Cookie", SECRET.to_owned()),
        ("Referer", format!("http://h/?password={SECRET}")),
        ("X-Form", format!("a=1&password={SECRET}")),
    ] {
        all.push(("/".to_owned(), field(name, &value), String::new()));
    }
    let types = [
        ("application/x-www-form-urlencoded", format!("a=1&password={SECRET}")),
        (
            "application/json",
            format!("{{\"a\":1,\"login\":{{\"password\":\"{SECRET}\"}}}}"),
        ),
        ("application/json", format!("{{\"p\\u0061ssword\":\"{SECRET}\"")),
        ("text/xml", format!("<a b=\"1\"><password>{SECRET}</password></a>")),
        ("text/xml", format!("<a password=\"{SECRET}\"/>")),
        (
            "multipart/form-data; boundary=b",
            format!("--b\r\nContent-Disposition: form-data; name=\"password\"\r\n\r\n{SECRET}\r\n--b--\r\n"),
        ),
        (
            "multipart/form-data; boundary=b",
            format!(
                "--b\r\nContent-Disposition: form-data; name=\"password\"; filename=\"f\"\r\n\r\n{SECRET}\r\n--b--\r\n"
            ),
        ),
        ("text/plain", format!("password={SECRET}")),
    ];
    for (kind, body) in types {
        all.push(("/".to_owned(), field("Content-Type", kind), body));
    }
    all
}

/// Ways into the log: what is matched, how, and what is said of it.
fn ways() -> Vec<String> {
    let targets = [
        "ARGS",
        "ARGS_NAMES",
        "REQUEST_URI",
        "REQUEST_URI_RAW",
        "REQUEST_LINE",
        "QUERY_STRING",
        "REQUEST_BODY",
        "REQUEST_HEADERS",
        "REQUEST_COOKIES",
        "REQUEST_COOKIES_NAMES",
        "XML:/*",
        "XML://@*",
        "FULL_REQUEST",
        "REQUEST_FILENAME",
        "FILES_TMP_CONTENT",
        "MULTIPART_PART_HEADERS",
        "AUTH_TYPE",
        "RESPONSE_BODY",
    ];
    let forms = [
        "t:none",
        "t:lowercase,t:urlDecodeUni",
        "t:hexEncode",
        "t:removeWhitespace,t:cmdLine",
    ];
    let mut rules = Vec::new();
    let mut id = 0;
    for target in targets {
        for form in forms {
            for (test, capture) in [
                ("@rx .", "capture"),
                ("@rx (?i)(?:heim)-(4711)", "capture"),
                ("@rx .", "log"),
            ] {
                id += 1;
                rules.push(format!(
                    "SecRule {target} \"{test}\" \"id:{id},phase:4,pass,log,{form},{capture},setvar:tx.kept=%{{MATCHED_VAR}},\
                     msg:'%{{MATCHED_VARS}} %{{TX.1}} %{{MATCHED_VARS_NAMES}}',logdata:'%{{TX.0}} within %{{MATCHED_VAR_NAME}}: %{{MATCHED_VAR}} %{{tx.kept}}'\""
                ));
            }
        }
    }
    let macros = "%{ARGS.password} %{ARGS.x} %{ARGS_GET.password} %{REQUEST_HEADERS.authorization} %{REQUEST_COOKIES.sid} \
                  %{REQUEST_HEADERS.referer} %{REQUEST_BODY} %{REQUEST_URI} %{QUERY_STRING} %{FULL_REQUEST} %{tx.0} %{tx.a} %{RESPONSE_BODY}";
    rules.push(format!(
        "SecAction \"id:9000,phase:5,pass,log,setvar:'tx.a=%{{ARGS.password}}%{{REQUEST_HEADERS.authorization}}',msg:'{macros}',logdata:'{macros}'\""
    ));
    rules
}

fn told(rules: &Arc<RuleSet>, redaction: &Arc<Redaction>, place: &Place) -> String {
    let (target, fields, body) = place;
    let fields: Vec<_> = fields.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let response = format!("You sent {SECRET}.");
    let overlay = Overlay::default();
    let sent = send_redacted(
        rules,
        &overlay,
        true,
        redaction,
        target,
        &fields,
        body,
        response.as_bytes(),
    );
    let report = sent.report;
    if report.matches.is_empty() {
        // No line is written.
        return String::new();
    }
    let (path, query) = target
        .split_once('?')
        .map_or((target.as_str(), None), |(path, query)| (path, Some(query)));
    let mut all = report.mask.uri(path, query).into_owned();
    for found in &report.matches {
        all.push_str(&format!("\n{}: {} | {}", found.id, found.msg, found.data));
    }
    all
}

#[test]
fn a_secret_is_in_no_line_wherever_it_stands_and_whatever_rules_say_of_it() {
    let ways = ways();
    let ways: Vec<_> = ways.chunks(60).map(|some| (some, rules(&some.join("\n")))).collect();
    let mut lines = 0;
    for place in places() {
        // Each transaction tells of so many matches only.
        for (some, rules) in &ways {
            let told = told(rules, &hidden(), &place).to_lowercase();
            // XML, files and bodies of other types are not kept as they came, so that what a response says of them is not known to be a secret.
            let unknown = place.2.starts_with('<') || place.2.contains("filename") || place.2.starts_with("password");
            if unknown && some.iter().any(|rule| rule.contains("RESPONSE_BODY")) {
                continue;
            }
            let text = told;
            lines += text.lines().count();
            for piece in PIECES {
                let told: Vec<_> = text.lines().filter(|line| line.contains(piece)).collect();
                assert!(told.is_empty(), "{piece} of {place:?}:\n{told:#?}");
            }
        }
    }
    assert!(lines > 1000, "{lines}");
}

#[test]
fn what_is_no_secret_is_told_as_it_was() {
    let rule = "SecRule ARGS|REQUEST_URI \"@rx \\.\\./\" \"id:1,phase:1,pass,log,t:urlDecodeUni,capture,\
                msg:'Traversal',logdata:'Matched Data: %{TX.0} found within %{MATCHED_VAR_NAME}: %{MATCHED_VAR}'\"";
    let place = ("/p?password=geheim&f=%2e./etc".to_owned(), Vec::new(), String::new());
    let text = told(&rules(rule), &hidden(), &place);
    assert_eq!(
        text,
        "/p?password=***&f=%2e./etc\n1: Traversal | Matched Data: ../ found within ARGS:f: ../etc"
    );
}

#[test]
fn what_rules_sanitise_is_not_told_though_no_policy_names_it() {
    for (sanitise, target) in [
        ("sanitiseArg:card", "ARGS:card"),
        ("sanitiseRequestHeader:X-Card", "REQUEST_HEADERS:x-card"),
        ("sanitiseMatched", "ARGS:card"),
        ("sanitiseMatched", "REQUEST_HEADERS:x-card"),
        ("capture,sanitiseMatchedBytes", "ARGS:card"),
        (
            "sanitiseResponseHeader:Content-Type,sanitiseArg:card",
            "RESPONSE_HEADERS:content-type",
        ),
    ] {
        let rules = format!(
            "SecRule ARGS|REQUEST_HEADERS:X-Card \"@rx Heim\" \"id:1,phase:2,pass,log,logdata:'%{{MATCHED_VAR}}'\"\n\
             SecRule {target} \"@rx .+\" \"id:2,phase:4,pass,log,{sanitise},logdata:'%{{MATCHED_VAR}} %{{TX.0}}'\""
        );
        let place = (
            format!("/?card={SECRET}&q=1"),
            vec![("X-Card", SECRET.to_owned())],
            String::new(),
        );
        let text = told(&super::rules(&rules), &Arc::default(), &place);
        assert!(!text.contains("eHeim") && !text.contains("html"), "{sanitise}: {text}");
        assert!(
            text.contains("\n1: ") && text.contains("\n2: ") && text.contains("q=1"),
            "{text}"
        );
    }
}
