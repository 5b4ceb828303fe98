//! What a request allows: looking up, waiting for another's fetch, storing its answer.

use breakwater_wire::cache_control::CacheControl;
use breakwater_wire::http1::{Framing, RequestHead};
use http::Method;
use http::header;

use super::site::{Rule, SitePolicy};
use crate::vary::FieldValues;

/// What policy needs to know of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestMeta {
    /// Its method, as far as caching goes.
    pub method: MethodClass,
    /// Its `Cache-Control`; empty if the site does not honour it.
    pub directives: CacheControl,
    /// Whether it has `Authorization`.
    pub authorization: bool,
    /// Whether it asks for ranges.
    pub range: bool,
    /// Whether it has content. A GET with content is never cached: the content is not in the key.
    pub content: bool,
}

/// Methods by what a cache may do with them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MethodClass {
    /// GET.
    Get,
    /// HEAD: answered from a stored GET.
    Head,
    /// Safe, and not cached: OPTIONS, TRACE.
    Safe,
    /// POST: unsafe, and its answer may be what a GET gets (RFC 9110 section 9.3.3).
    Post,
    /// All others, unknown ones included: a success invalidates (RFC 9111 section 4.4).
    Unsafe,
}

/// Why a request goes past the cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bypass {
    /// Its method is not cached.
    Method,
    /// A rule says so.
    Rule,
    /// It says `no-store`.
    NoStore,
    /// It is a GET or HEAD with content.
    Content,
}

/// What a request is admitted to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// Look it up.
    Lookup {
        /// Whether it may share a fetch, as leader or follower. Requests with `Authorization` may not, their
        /// answers may be their own; nor HEAD and range requests, whose answers are not the whole.
        share: bool,
    },
    /// Neither look up nor store.
    Bypass(Bypass),
}

impl MethodClass {
    /// The class of a method, whose name is compared as it is.
    pub fn of(method: &str) -> Self {
        match method {
            "GET" => Self::Get,
            "HEAD" => Self::Head,
            "OPTIONS" | "TRACE" => Self::Safe,
            "POST" => Self::Post,
            _ => Self::Unsafe,
        }
    }

    /// The method whose answers a response to it is stored among, for rules: what a HEAD brings is about what a GET gets.
    pub const fn stores_for(self) -> &'static str {
        match self {
            Self::Post => "POST",
            _ => "GET",
        }
    }
}

impl From<&Method> for MethodClass {
    fn from(method: &Method) -> Self {
        Self::of(method.as_str())
    }
}

impl RequestMeta {
    /// From a request's parts; `content` is whether a body follows.
    pub fn new(method: &Method, content: bool, policy: &SitePolicy, values: &FieldValues<'_>) -> Self {
        let has = |name| {
            let mut found = false;
            values(&name, &mut |_| found = true);
            found
        };
        let mut directives = CacheControl::default();
        if policy.honour_requests && has(header::CACHE_CONTROL) {
            // Lines are one list: joined, because the parser wants them at once.
            let mut joined = Vec::new();
            values(&header::CACHE_CONTROL, &mut |line| {
                joined.extend_from_slice(line);
                joined.push(b',');
            });
            directives = CacheControl::parse([joined.as_slice()]);
        }
        Self {
            method: method.into(),
            directives,
            authorization: has(header::AUTHORIZATION),
            range: has(header::RANGE),
            content,
        }
    }

    /// From a parsed head, whose fields of interest are known already.
    pub fn from_head(head: &RequestHead<'_>, policy: &SitePolicy) -> Self {
        let directives = match head.cache_control {
            Some(_) if !policy.honour_requests => CacheControl::default(),
            Some(_) if head.repeated => {
                let lines = head
                    .fields()
                    .filter(|(name, _)| name.eq_ignore_ascii_case("cache-control"));
                CacheControl::parse(lines.map(|(_, value)| value))
            }
            Some(line) => CacheControl::parse([line]),
            None => CacheControl::default(),
        };
        Self {
            method: MethodClass::of(head.method),
            directives,
            authorization: head.authorization.is_some(),
            range: head.range.is_some(),
            content: !matches!(head.framing, Framing::None | Framing::Length(0)),
        }
    }

    /// Whether it has directives that a stored response may be too old for although it is fresh (RFC 9111 section 5.2.1).
    #[must_use]
    pub fn asks_for_something_fresher(&self) -> bool {
        let asked = &self.directives;
        asked.no_cache.is_some() || asked.max_age.is_some() || asked.min_fresh.is_some()
    }

    /// What the request is admitted to, given the first rule whose paths match it.
    pub fn admission(&self, rule: Option<&Rule>) -> Admission {
        if !matches!(self.method, MethodClass::Get | MethodClass::Head) {
            Admission::Bypass(Bypass::Method)
        } else if rule.is_some_and(|rule| rule.bypass) {
            Admission::Bypass(Bypass::Rule)
        } else if self.directives.no_store {
            Admission::Bypass(Bypass::NoStore)
        } else if self.content {
            Admission::Bypass(Bypass::Content)
        } else {
            Admission::Lookup {
                share: self.method == MethodClass::Get && !self.authorization && !self.range,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use breakwater_wire::http1::{Limits, Parsed, parse_request};
    use http::HeaderMap;

    use super::*;
    use crate::vary::{values_of, values_of_head};

    fn admission(method: &Method, fields: &[(&'static str, &str)], content: bool, rule: Option<&Rule>) -> Admission {
        let fields: HeaderMap = fields
            .iter()
            .map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()))
            .collect();
        RequestMeta::new(method, content, &SitePolicy::default(), &values_of(&fields)).admission(rule)
    }

    #[test]
    fn get_and_head_are_looked_up_and_a_plain_get_shares() {
        assert_eq!(
            admission(&Method::GET, &[], false, None),
            Admission::Lookup { share: true }
        );
        assert_eq!(
            admission(&Method::HEAD, &[], false, None),
            Admission::Lookup { share: false }
        );
        assert_eq!(
            admission(&Method::GET, &[("cookie", "a=1")], false, None),
            Admission::Lookup { share: true }
        );
    }

    #[test]
    fn authorization_and_ranges_are_looked_up_but_do_not_share() {
        for field in [("authorization", "x"), ("range", "bytes=0-1")] {
            assert_eq!(
                admission(&Method::GET, &[field], false, None),
                Admission::Lookup { share: false }
            );
        }
    }

    #[test]
    fn other_methods_no_store_content_and_a_rule_go_past() {
        assert_eq!(
            admission(&Method::POST, &[], false, None),
            Admission::Bypass(Bypass::Method)
        );
        assert_eq!(
            admission(&Method::OPTIONS, &[], false, None),
            Admission::Bypass(Bypass::Method)
        );
        assert_eq!(
            admission(&Method::GET, &[], true, None),
            Admission::Bypass(Bypass::Content)
        );
        let no_store = &[("cache-control", "no-store")];
        assert_eq!(
            admission(&Method::GET, no_store, false, None),
            Admission::Bypass(Bypass::NoStore)
        );
        let rule = Rule {
            bypass: true,
            ..Rule::default()
        };
        assert_eq!(
            admission(&Method::GET, &[], false, Some(&rule)),
            Admission::Bypass(Bypass::Rule)
        );
    }

    #[test]
    fn a_parsed_head_says_the_same_as_its_fields() {
        let text = b"GET /x HTTP/1.1\r\nHost: a\r\nCache-Control: max-age=5\r\nRange: bytes=0-1\r\nCache-Control: no-cache\r\n\
            Authorization: x\r\nContent-Length: 3\r\n\r\n";
        let Ok(Parsed::Complete(head)) = parse_request(text, &Limits::DEFAULT) else {
            panic!("not accepted")
        };
        let policy = SitePolicy::default();
        let meta = RequestMeta::from_head(&head, &policy);
        assert_eq!(
            meta,
            RequestMeta::new(&Method::GET, true, &policy, &values_of_head(&head))
        );
        assert_eq!(meta.directives.max_age, Some(5));
        assert!(meta.directives.no_cache.is_some() && meta.authorization && meta.range && meta.content);
    }

    #[test]
    fn a_site_may_ignore_what_requests_say() {
        let policy = SitePolicy {
            honour_requests: false,
            ..SitePolicy::default()
        };
        let fields = HeaderMap::from_iter([(header::CACHE_CONTROL, "no-store".parse().unwrap())]);
        let request = RequestMeta::new(&Method::GET, false, &policy, &values_of(&fields));
        assert_eq!(request.admission(None), Admission::Lookup { share: true });
    }
}
