//! What nodes say to each other beside HTTP: one field, in the request and in the answer.
//!
//! A request goes on as the client sent it; the field says what only the connection of the client shows: for which site
//! it was routed, who the client is, and over what it came. The answer's field says how old the content is, more exactly
//! than `Age` can, and when it was asked for, so that a purge is not undone by a copy from elsewhere.
//!
//! Values are `name=value` with `;` between; what is not known is passed over, what is missing is an error. A node of
//! another version is refused, or refuses: the origin is asked then.
//!
//! Another method tells what clients were allowed under limits that hold across nodes ([`spent`]).
//!
//! Pure: that the other end is a node is for the connection to prove.

pub mod spent;

use std::fmt::Write as _;
use std::net::IpAddr;

use http::HeaderName;

/// The field of both.
pub const FIELD: HeaderName = HeaderName::from_static("breakwater-peer");

/// In `Cache-Status`, the node that was asked by another.
pub const OWNER: &str = "breakwater-owner";

/// In `Cache-Status`, the node of the first level that was asked by another.
pub const PARENT: &str = "breakwater-parent";

/// The method by which a node says that what is stored of a URL is out of date (RFC 9111 section 4.4).
pub const INVALIDATE: &str = "INVALIDATE";

const VERSION: &str = "1";

/// What goes with a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestNote<'a> {
    /// `Kind/namespace/name` of the resource that it was routed to.
    pub resource: &'a str,
    /// The client behind trusted proxies.
    pub client: IpAddr,
    /// The other end of the client's connection.
    pub from: IpAddr,
    /// That end is a trusted proxy.
    pub trusted: bool,
    /// It came over TLS.
    pub secure: bool,
    /// Not looked at here: whether it can go into logs is for the reader to see.
    pub request_id: &'a str,
}

/// What an answer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AnswerNote {
    /// A response that may be stored, and its age.
    Shared(Times),
    /// A response that is for this request alone.
    Passed,
    /// No response: the origin did not answer, or not as it should.
    OriginFailed,
    /// No response: ask the origin.
    Refused,
}

/// When a response was made, milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Times {
    /// How long before the request came it was asked for; 0: for this request, or later.
    pub asked: u64,
    /// How long ago it was received.
    pub held: u64,
    /// Its age when it was received.
    pub age: u64,
}

impl RequestNote<'_> {
    /// The field's value.
    #[must_use]
    pub fn write(&self) -> String {
        let RequestNote {
            resource,
            client,
            from,
            request_id,
            ..
        } = self;
        let (trusted, secure) = (u8::from(self.trusted), u8::from(self.secure));
        format!(
            "v={VERSION};resource={resource};client={client};from={from};trusted={trusted};secure={secure};id={request_id}"
        )
    }
}

impl<'a> RequestNote<'a> {
    /// Reads a field's value; none when it is not one of ours.
    #[must_use]
    pub fn parse(value: &'a [u8]) -> Option<Self> {
        let text = known(value)?;
        let find = |name| find(text, name);
        let flag = |name| match find(name)? {
            "0" => Some(false),
            "1" => Some(true),
            _ => None,
        };
        Some(Self {
            resource: find("resource")?,
            client: find("client")?.parse().ok()?,
            from: find("from")?.parse().ok()?,
            trusted: flag("trusted")?,
            secure: flag("secure")?,
            request_id: find("id")?,
        })
    }
}

impl AnswerNote {
    /// [`AnswerNote::Refused`], written.
    pub const REFUSED: &'static str = "v=1;word=refused";
    /// [`AnswerNote::OriginFailed`], written.
    pub const ORIGIN_FAILED: &'static str = "v=1;word=failed";
    /// [`AnswerNote::Passed`], written.
    pub const PASSED: &'static str = "v=1;word=passed";

    /// The field's value.
    #[must_use]
    pub fn write(self) -> String {
        match self {
            Self::Shared(Times { asked, held, age }) => {
                let mut text = String::with_capacity(64);
                let _ = write!(text, "v={VERSION};word=shared;asked={asked};held={held};age={age}");
                text
            }
            Self::Passed => Self::PASSED.to_owned(),
            Self::OriginFailed => Self::ORIGIN_FAILED.to_owned(),
            Self::Refused => Self::REFUSED.to_owned(),
        }
    }

    /// Reads a field's value; none when it is not one of ours.
    #[must_use]
    pub fn parse(value: &[u8]) -> Option<Self> {
        let text = known(value)?;
        let number = |name| find(text, name)?.parse().ok();
        match find(text, "word")? {
            "shared" => Some(Self::Shared(Times {
                asked: number("asked")?,
                held: number("held")?,
                age: number("age")?,
            })),
            "passed" => Some(Self::Passed),
            "failed" => Some(Self::OriginFailed),
            "refused" => Some(Self::Refused),
            _ => None,
        }
    }
}

/// The value as text, if its version is ours.
fn known(value: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(value).ok()?;
    (find(text, "v")? == VERSION).then_some(text)
}

fn find<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let mut pairs = text.split(';').filter_map(|pair| pair.split_once('='));
    pairs.find(|(found, _)| *found == name).map(|(_, value)| value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn letter() -> RequestNote<'static> {
        RequestNote {
            resource: "EdgeCache/shop/site",
            client: "2001:db8::1".parse().unwrap(),
            from: "192.0.2.7".parse().unwrap(),
            trusted: true,
            secure: false,
            request_id: "a=b/c",
        }
    }

    #[test]
    fn what_is_written_is_read() {
        let text = letter().write();
        assert_eq!(RequestNote::parse(text.as_bytes()), Some(letter()));
        let times = Times {
            asked: 5,
            held: u64::MAX,
            age: 0,
        };
        for word in [
            AnswerNote::Shared(times),
            AnswerNote::Passed,
            AnswerNote::OriginFailed,
            AnswerNote::Refused,
        ] {
            assert_eq!(AnswerNote::parse(word.write().as_bytes()), Some(word));
        }
    }

    #[test]
    fn what_is_missing_or_of_another_version_is_an_error_and_what_is_new_is_passed_over() {
        let text = letter().write();
        for (cut, _) in text.match_indices(';') {
            assert_eq!(RequestNote::parse(&text.as_bytes()[..cut]), None, "{}", &text[..cut]);
        }
        assert_eq!(RequestNote::parse(text.replace("v=1", "v=2").as_bytes()), None);
        assert_eq!(
            RequestNote::parse(text.replace("trusted=1", "trusted=yes").as_bytes()),
            None
        );
        assert_eq!(RequestNote::parse(format!("{text};new=1").as_bytes()), Some(letter()));
        for bad in [
            &b""[..],
            b"v=1",
            b"v=1;word=shared;asked=1;held=-1;age=0",
            b"v=1;word=what",
            b"\xff",
        ] {
            assert_eq!(AnswerNote::parse(bad), None);
        }
    }
}
