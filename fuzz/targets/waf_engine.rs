//! A request of any bytes, through rules of every kind that the Core Rule Set has: the report is the same each time, it is
//! bounded, and a request that a rule refused is refused by it in enforcement as in detection.
#![no_main]

use std::sync::{Arc, LazyLock};

use breakwater_waf::engine::{Bound, Connection, Overlay, Report, RuleSet, Stores, Transaction};
use breakwater_waf::seclang;
use libfuzzer_sys::fuzz_target;

const RULES: &str = r#"
SecAction "id:1,phase:1,pass,nolog,setvar:tx.critical=5,setvar:tx.score=0,initcol:ip=%{REMOTE_ADDR}"
SecRule REQUEST_METHOD "!@within GET HEAD POST" "id:2,phase:1,block,setvar:tx.score=+%{tx.critical}"
SecRule REQUEST_HEADERS_NAMES "@rx ^.*$" "id:3,phase:1,pass,capture,t:lowercase,setvar:'tx.header_%{tx.0}=/%{tx.0}/',chain"
    SecRule TX:/^header_/ "@within /proxy/ /if/" "setvar:tx.score=+%{tx.critical}"
SecRule REQUEST_FILENAME "!@validateByteRange 45-57,65-90,97-122" "id:4,phase:1,pass,nolog,ctl:ruleRemoveTargetByTag=perf;REQUEST_FILENAME"
SecRule REQUEST_HEADERS:Content-Type "@beginsWith text/json" "id:5,phase:1,pass,ctl:requestBodyProcessor=JSON"
SecRule REQUEST_FILENAME|ARGS|ARGS_NAMES|REQUEST_COOKIES|REQUEST_COOKIES_NAMES|XML:/*|XML://@* "@rx (?i)<[^a-z]*script|on[a-z]+\s*=" \
    "id:10,phase:2,block,capture,tag:'perf',t:utf8toUnicode,t:urlDecodeUni,t:htmlEntityDecode,t:jsDecode,t:cssDecode,t:removeNulls,logdata:'%{TX.0} in %{MATCHED_VAR_NAME}: %{MATCHED_VAR}',setvar:tx.score=+%{tx.critical}"
SecRule ARGS|ARGS_NAMES|REQUEST_COOKIES "@detectSQLi" "id:11,phase:2,block,capture,multiMatch,t:urlDecodeUni,t:removeNulls,setvar:tx.score=+%{tx.critical}"
SecRule ARGS|REQUEST_BODY "@detectXSS" "id:12,phase:2,block,t:urlDecodeUni,t:jsDecode"
SecRule ARGS|REQUEST_HEADERS|!REQUEST_HEADERS:Cookie "@rx (?:^|[;|&])\s*(?:cat|ls|nc|bash)\b" "id:13,phase:2,block,t:cmdLine,t:normalizePath,chain"
    SecRule MATCHED_VARS "@rx /" "t:none,chain"
        SecRule MATCHED_VARS "!@rx ^\d+$" "setvar:tx.score=+%{tx.critical}"
SecRule ARGS|ARGS_NAMES|FILES|FILES_NAMES "@pm etc/passwd .htaccess web.config select union" "id:14,phase:2,block,capture,t:lowercase"
SecRule ARGS "@rx (?:[a-z]+\d+)+x{3,20}$" "id:15,phase:2,pass,t:replaceComments,t:compressWhitespace"
SecRule ARGS "@rx [ab]*a[ab]{30}c" "id:16,phase:2,pass"
SecRule ARGS "@rx [ab]*b[ab]{30}d" "id:17,phase:2,pass"
SecRule ARGS_NAMES "@rx ." "id:18,phase:2,pass,nolog,setvar:'tx.count_%{MATCHED_VAR_NAME}=+1',setvar:'tx.all=%{tx.all}%{MATCHED_VAR}'"
SecRule TX:/^count_/ "@gt 1" "id:19,phase:2,block,msg:'%{MATCHED_VAR_NAME}'"
SecRule &ARGS "@gt 20" "id:20,phase:2,block"
SecRule REQUEST_URI_RAW|REQUEST_HEADERS|ARGS "@validateUrlEncoding" "id:21,phase:2,pass"
SecRule ARGS "@validateUtf8Encoding" "id:22,phase:2,pass"
SecRule MULTIPART_PART_HEADERS "@rx ^content-type\s*:\s*(.*)$" "id:23,phase:2,pass,capture,t:lowercase,setvar:'tx.types_%{tx.n}=%{tx.1}',setvar:tx.n=+1"
SecRule MULTIPART_STRICT_ERROR|REQBODY_ERROR "!@eq 0" "id:24,phase:2,pass"
SecRule TX:score "@ge 10" "id:30,phase:2,deny,msg:'%{tx.score}',setvar:ip.hits=+1"
SecRule RESPONSE_BODY "@contains secret" "id:31,phase:4,deny"
SecRule IP:hits "@gt 0" "id:32,phase:5,pass,log"
SecRule TX:all "@rx ." "id:33,phase:5,pass,t:sha1,t:hexEncode,logdata:'%{MATCHED_VAR}'"
"#;

static BOUND: LazyLock<Arc<Bound>> = LazyLock::new(|| {
    let directives = seclang::parse("fuzz.conf", RULES).expect("the rules parse");
    let rules = RuleSet::compile(&directives, &|name, _| Err(name.to_owned())).expect("the rules compile");
    Arc::new(Bound::new(&Arc::new(rules), &Overlay::default()))
});

/// One request: a line, fields, an empty line, a body. `waits`: for its body, and for the response.
fn run(data: &[u8], detect: bool, waits: bool, stores: &Arc<Stores>) -> Report {
    let connection = Connection {
        client: [192, 0, 2, 1].into(),
        client_port: 1,
        server: [192, 0, 2, 2].into(),
        server_port: 80,
        unique_id: "fuzz",
        now_ms: 1,
    };
    let mut transaction = Transaction::bound(&BOUND, &connection, detect).with_stores(stores);
    let (head, body) = match data.windows(2).position(|pair| pair == b"\n\n") {
        Some(at) => (&data[..at], &data[at + 2..]),
        None => (data, &b""[..]),
    };
    let mut lines = head.split(|byte| *byte == b'\n');
    let mut line = lines.next().unwrap_or_default().splitn(3, |byte| *byte == b' ');
    let mut word = || line.next().unwrap_or_default();
    let (method, target, version) = (word(), word(), word());
    transaction.request_line(method, target, version);
    for line in lines {
        let mut parts = line.splitn(2, |byte| *byte == b':');
        let (name, value) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        transaction.request_header(name, value.trim_ascii());
    }
    let mut refused = transaction.run_request_headers();
    if waits {
        transaction.rest();
    }
    if refused.is_none() {
        refused = transaction.run_request_body(body, false);
    }
    if waits {
        transaction.rest();
    }
    if refused.is_none() {
        let fields: [(&[u8], &[u8]); 1] = [(b"content-type", b"text/html")];
        refused = transaction.run_response_headers(200, &mut fields.into_iter());
    }
    if refused.is_none() && transaction.wants_response_body() {
        refused = transaction.run_response_body(body, false);
    }
    let report = transaction.finish();
    assert_eq!(refused.is_some(), !detect && report.intervention.is_some());
    report
}

fuzz_target!(|data: &[u8]| {
    let first = run(data, false, false, &Arc::new(Stores::new(16)));
    // A wait changes nothing.
    let again = run(data, false, true, &Arc::new(Stores::new(16)));
    assert_eq!(first.matches, again.matches);
    assert_eq!(first.intervention, again.intervention);
    assert!(first.matches.len() <= 200);
    assert!(first.matches.iter().all(|found| found.msg.len() <= 4096 && found.data.len() <= 4096));
    // Detection finds what enforcement refuses, and more.
    let detected = run(data, true, true, &Arc::new(Stores::new(16)));
    assert_eq!(first.intervention.map(|by| by.rule), detected.intervention.map(|by| by.rule));
});
