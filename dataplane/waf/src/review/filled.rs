//! From which phase on a variable can have a value.
//!
//! A test holds the table and the engine together: it sends requests that fill everything and looks at each variable in
//! each phase.

use crate::seclang::{Phase, Variable};

/// When a variable has a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Filled {
    /// From this phase on; in the first one from the start.
    From(Phase),
    /// It is 0 before this phase.
    ZeroUntil(Phase),
    /// It is always 0.
    Zero,
    /// Nothing sets it here.
    Never,
}

pub(super) fn filled(variable: Variable) -> Filled {
    use Filled::{From, Never, Zero, ZeroUntil};
    match variable {
        Variable::Env | Variable::ModsecBuild | Variable::PathInfo | Variable::RemoteUser | Variable::Rule => Never,
        Variable::Duration => Zero,
        Variable::InboundDataError | Variable::ReqbodyProcessorError => ZeroUntil(Phase::RequestBody),
        Variable::OutboundDataError => ZeroUntil(Phase::ResponseBody),
        Variable::ArgsPost
        | Variable::ArgsPostNames
        | Variable::Files
        | Variable::FilesCombinedSize
        | Variable::FilesNames
        | Variable::FilesSizes
        | Variable::FilesTmpContent
        | Variable::MultipartBoundaryQuoted
        | Variable::MultipartBoundaryWhitespace
        | Variable::MultipartCrlfLfLines
        | Variable::MultipartDataAfter
        | Variable::MultipartDataBefore
        | Variable::MultipartFileLimitExceeded
        | Variable::MultipartFilename
        | Variable::MultipartHeaderFolding
        | Variable::MultipartInvalidHeaderFolding
        | Variable::MultipartInvalidPart
        | Variable::MultipartInvalidQuoting
        | Variable::MultipartLfLine
        | Variable::MultipartMissingSemicolon
        | Variable::MultipartName
        | Variable::MultipartPartHeaders
        | Variable::MultipartStrictError
        | Variable::MultipartUnmatchedBoundary
        | Variable::ReqbodyProcessorErrorMsg
        | Variable::RequestBody
        | Variable::RequestBodyLength
        | Variable::Xml => From(Phase::RequestBody),
        Variable::ResponseContentLength
        | Variable::ResponseContentType
        | Variable::ResponseHeaders
        | Variable::ResponseHeadersNames
        | Variable::ResponseProtocol
        | Variable::ResponseStatus
        | Variable::StatusLine => From(Phase::ResponseHeaders),
        Variable::ResponseBody => From(Phase::ResponseBody),
        _ => From(Phase::RequestHeaders),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::sync::Arc;

    use super::*;
    use crate::engine::{Bound, Overlay, RuleSet, Stores, Transaction};
    use crate::seclang::parse;
    use crate::testing::{Atlas, connection};

    const PHASES: [Phase; 5] = [
        Phase::RequestHeaders,
        Phase::RequestBody,
        Phase::ResponseHeaders,
        Phase::ResponseBody,
        Phase::Logging,
    ];

    /// Rules of one phase, one for each variable in the order of [`Variable::ALL`], with ids from 10 on. At most so many
    /// match as one transaction tells of.
    fn rules(phase: usize, operator: &str) -> Arc<RuleSet> {
        let mut text = String::from(
            "SecAction \"id:1,phase:1,pass,nolog,initcol:ip=x,initcol:global=x,initcol:resource=x,setsid:x,setuid:x,\
             setvar:ip.a=1,setvar:global.a=1,setvar:resource.a=1,setvar:session.a=1,setvar:user.a=1,setvar:tx.a=1\"\n\
             SecRule REMOTE_ADDR \"@geoLookup\" \"id:2,phase:1,pass,nolog\"\n",
        );
        for (id, variable) in (10..).zip(Variable::ALL) {
            let name = variable.name();
            // What was matched is known to the links behind.
            let (first, action, rest) = match name.starts_with("MATCHED") {
                true => (
                    "REMOTE_ADDR \"@rx .",
                    ",chain",
                    format!("SecRule {name} \"{operator}\"\n"),
                ),
                false => ("", "", String::new()),
            };
            let own = format!("{name} \"{operator}");
            let test = if first.is_empty() { own.as_str() } else { first };
            text += &format!("SecRule {test}\" \"id:{id},phase:{phase},pass,log{action}\"\n{rest}");
        }
        let directives = parse("x", &text).unwrap();
        Arc::new(RuleSet::compile(&directives, &|_, _| Err(String::new())).unwrap())
    }

    /// Requests that have one of everything, and multipart bodies with each fault that has a variable.
    fn requests() -> Vec<(&'static str, String)> {
        let multipart = "multipart/form-data; boundary=x";
        let field = "--x\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\nb\r\n";
        let part = format!(
            "--x\r\nContent-Disposition: form-data; name=\"f\"; filename=\"n\"\r\n\r\nhello\r\n{field}--x--\r\n"
        );
        vec![
            ("application/x-www-form-urlencoded", "a=b&c=%zz".to_owned()),
            ("application/xml", "<a b='c'>d</a>".to_owned()),
            ("application/json", "}".to_owned()),
            (multipart, part),
        ]
    }

    fn matched(rules: &Arc<RuleSet>, stores: &Arc<Stores>, content_type: &str, body: &str) -> Vec<u32> {
        let bound = Arc::new(Bound::new(rules, &Overlay::default()));
        let mut transaction = Transaction::bound(&bound, &connection(), false)
            .with_stores(stores)
            .with_locations(Arc::new(Atlas));
        let many = "&a=b".repeat(1001);
        transaction.request_line(b"POST", format!("/p/f.x?q=1{many}").as_bytes(), b"HTTP/1.1");
        for (name, value) in [
            ("Host", "shop.example.com"),
            ("Cookie", "s=1"),
            ("Authorization", "Basic eA=="),
            ("Content-Type", content_type),
        ] {
            transaction.request_header(name.as_bytes(), value.as_bytes());
        }
        transaction.run_request_headers();
        transaction.run_request_body(body.as_bytes(), true);
        let head: [(&[u8], &[u8]); 2] = [(b"Content-Type", b"text/html"), (b"Content-Length", b"5")];
        transaction.run_response_headers(200, &mut head.into_iter());
        transaction.run_response_body(b"hello", true);
        transaction.finish().matches.iter().map(|found| found.id).collect()
    }

    #[test]
    fn variables_have_values_from_the_phase_on_that_the_table_says() {
        let mut wrong = Vec::new();
        let stores = Arc::new(Stores::new(64));
        for (number, phase) in (1..).zip(PHASES) {
            let seen = |operator: &str| -> BTreeSet<u32> {
                let rules = rules(number, operator);
                let requests = requests();
                let found = requests
                    .iter()
                    .flat_map(|(content_type, body)| matched(&rules, &stores, content_type, body));
                found.collect()
            };
            let (zeros, values) = (seen("@streq 0"), seen("!@streq 0"));
            for (id, variable) in (10..).zip(Variable::ALL) {
                let (zero, value) = (zeros.contains(&id), values.contains(&id));
                let filled = filled(*variable);
                let fits = match filled {
                    Filled::Never => !value && !zero,
                    Filled::Zero => !value && zero,
                    Filled::ZeroUntil(from) if phase < from => !value && zero,
                    Filled::From(from) if phase < from => !value && !zero,
                    Filled::ZeroUntil(_) | Filled::From(_) => value || zero,
                };
                if !fits {
                    wrong.push(format!("{variable} in {phase:?}: 0 {zero}, else {value}, {filled:?}"));
                }
            }
        }
        assert!(wrong.is_empty(), "{wrong:#?}");
    }
}
