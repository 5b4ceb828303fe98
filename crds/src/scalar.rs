//! Texts with a form: durations, quantities, host names, addresses, URLs.
//!
//! A value of these types holds whatever the user wrote: decoding never fails on the form, so that the fault is
//! reported with its field. The schema carries the rule for the API server, [`Duration::millis`] and
//! [`Quantity::bytes`] read the value; everything else is judged by `breakwater-compile`.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize};

macro_rules! text {
    ($(#[$doc:meta])* $name:ident, $($schema:tt)+) => {
        $(#[$doc])*
        #[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub String);

        text!(@common $name, $($schema)+);
    };
    (@common $name:ident, $($schema:tt)+) => {
        impl $name {
            /// The text as written.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl From<&str> for $name {
            fn from(text: &str) -> Self {
                Self(text.to_owned())
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl JsonSchema for $name {
            fn inline_schema() -> bool {
                true
            }

            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!($($schema)+)
            }
        }
    };
}

text!(
    /// A length of time in Go's notation: `30s`, `1h30m`, `250ms`.
    Duration,
    {
        "type": "string",
        "maxLength": 32,
        "x-kubernetes-validations": [{
            "rule": "self.matches('^([0-9]{1,5}(h|m|s|ms)){1,4}$')",
            "message": "not a duration: write numbers with the units h, m, s or ms, such as 30s or 1h30m",
        }],
    }
);

text!(
    /// A host name as a resource claims it: `shop.example.com`, `*.example.com` for any name below, `*` for every host.
    Hostname,
    {
        "type": "string",
        "minLength": 1,
        "maxLength": 253,
        "x-kubernetes-validations": [{
            "rule": "self == '*' || self.matches('^([*][.])?[a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*$')",
            "message": "not a host name: write a lower-case name without scheme, port or path (shop.example.com), a wildcard for all names below one (*.example.com), or * for every host",
        }],
    }
);

text!(
    /// An address or a prefix: `203.0.113.0/24`, `2001:db8::/32`, `198.51.100.7`.
    Cidr,
    {
        "type": "string",
        "minLength": 2,
        "maxLength": 43,
        "x-kubernetes-validations": [{
            "rule": "isCIDR(self) || isIP(self)",
            "message": "not an address or prefix: write 203.0.113.0/24, 2001:db8::/32 or 198.51.100.7",
        }],
    }
);

text!(
    /// A country by its ISO 3166-1 alpha-2 code: `DE`. `XX` stands for clients that the database does not know.
    CountryCode,
    {
        "type": "string",
        "minLength": 2,
        "maxLength": 2,
        "x-kubernetes-validations": [{
            "rule": "self.matches('^[A-Z]{2}$')",
            "message": "not a country: write its ISO 3166-1 alpha-2 code in upper case, such as DE, or XX for clients that the database does not know",
        }],
    }
);

text!(
    /// A server: `http://10.0.0.5:8080`, `https://shop.internal`.
    HttpUrl,
    {
        "type": "string",
        "minLength": 8,
        "maxLength": 270,
        "x-kubernetes-validations": [{
            "rule": "self.matches('^https?://[^/?#@ ]+/?$')",
            "message": "not a server's URL: write http://host:port or https://host:port, without path, query or user",
        }],
    }
);

text!(
    /// Where a list is: `https://lists.example/drop.txt`.
    ListUrl,
    {
        "type": "string",
        "minLength": 8,
        "maxLength": 2048,
        "x-kubernetes-validations": [{
            "rule": "self.matches('^https?://[^/?#@ ]+([/?][^# ]*)?$')",
            "message": "not a list's URL: write https://host/path, without user, password or fragment",
        }],
    }
);

text!(
    /// A media type, or all of a type: `text/html`, `text/*`.
    MediaType,
    {
        "type": "string",
        "minLength": 3,
        "maxLength": 128,
        "x-kubernetes-validations": [{
            "rule": "self.matches('^[A-Za-z0-9!#$&^_.+-]+/([A-Za-z0-9!#$&^_.+-]+|[*])$')",
            "message": "not a media type: write one such as text/html, without parameters, or all of a type as text/*",
        }],
    }
);

text!(
    /// A request method: `GET`.
    Method,
    {
        "type": "string",
        "minLength": 1,
        "maxLength": 32,
        "x-kubernetes-validations": [{
            "rule": "self.matches('^[A-Z][A-Z0-9_-]*$')",
            "message": "not a request method: methods are case-sensitive and upper case, such as GET",
        }],
    }
);

text!(
    /// The name of a header field: `Accept-Language`.
    HeaderName,
    {
        "type": "string",
        "minLength": 1,
        "maxLength": 128,
        "x-kubernetes-validations": [{
            "rule": "self.matches(\"^[A-Za-z0-9!#$%&'*+.^_`|~-]+$\")",
            "message": "not a header field name: write a name such as Accept-Language, without colon or spaces",
        }],
    }
);

text!(
    /// The name of a cookie.
    CookieName,
    {
        "type": "string",
        "minLength": 1,
        "maxLength": 128,
        "x-kubernetes-validations": [{
            "rule": "self.matches(\"^[A-Za-z0-9!#$%&'*+.^_`|~-]+$\")",
            "message": "not a cookie name: letters, digits and punctuation without spaces, = or ;",
        }],
    }
);

text!(
    /// The name of a query parameter, or the beginning of names followed by `*`: `session`, `utm_*`.
    QueryPattern,
    {
        "type": "string",
        "minLength": 1,
        "maxLength": 128,
        "x-kubernetes-validations": [{
            "rule": "self.matches('^[^*&=#]*[*]?$')",
            "message": "not a query parameter: write its name, or the beginning of names followed by one * (utm_*)",
        }],
    }
);

text!(
    /// An `Origin` a browser may send: `https://chat.example.com`.
    WebOrigin,
    {
        "type": "string",
        "minLength": 4,
        "maxLength": 270,
        "x-kubernetes-validations": [{
            "rule": "self.matches('^[A-Za-z][A-Za-z0-9+.-]*://[^/?#@* ]+$')",
            "message": "not an origin: write scheme://host or scheme://host:port without a path, such as https://chat.example.com",
        }],
    }
);

text!(
    /// The name of a WebSocket subprotocol: `graphql-transport-ws`.
    Subprotocol,
    {
        "type": "string",
        "minLength": 1,
        "maxLength": 128,
        "x-kubernetes-validations": [{
            "rule": "self.matches(\"^[A-Za-z0-9!#$%&'*+.^_`|~-]+$\")",
            "message": "not a subprotocol name: letters, digits and punctuation without spaces or commas",
        }],
    }
);

/// A size: `64Ki`, `1Gi`, `500M`, or a number of bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct Quantity(pub String);

text!(@common Quantity, {
    "x-kubernetes-int-or-string": true,
    "pattern": "^[0-9]{1,15}([.][0-9]{1,9})?(Ki|Mi|Gi|Ti|k|M|G|T)?$",
});

impl<'de> Deserialize<'de> for Quantity {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Raw {
            Int(i64),
            Text(String),
        }
        Ok(Self(match Raw::deserialize(deserializer)? {
            Raw::Int(number) => number.to_string(),
            Raw::Text(text) => text,
        }))
    }
}

impl Duration {
    /// The length in milliseconds.
    ///
    /// # Errors
    /// When the text is not a duration (GEP-2257: up to four numbers of up to five digits, each with a unit).
    pub fn millis(&self) -> Result<u64, ScalarError> {
        let wrong = || ScalarError::Duration(self.0.clone());
        let mut rest = self.0.as_str();
        let mut total = 0u64;
        for _ in 0..4 {
            let digits = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
            let (number, tail) = rest.split_at(digits);
            if !(1..=5).contains(&number.len()) {
                return Err(wrong());
            }
            let (unit, tail) = [("ms", 1), ("h", 3_600_000), ("m", 60_000), ("s", 1000)]
                .into_iter()
                .find_map(|(unit, millis)| Some((millis, tail.strip_prefix(unit)?)))
                .ok_or_else(wrong)?;
            total += number.parse::<u64>().map_err(|_| wrong())? * unit;
            rest = tail;
            if rest.is_empty() {
                return Ok(total);
            }
        }
        Err(wrong())
    }
}

impl Quantity {
    /// The size in bytes, rounded up.
    ///
    /// # Errors
    /// When the text is not a quantity, or does not fit 63 bits.
    pub fn bytes(&self) -> Result<u64, ScalarError> {
        const UNITS: [(&str, u128); 9] = [
            ("Ki", 1 << 10),
            ("Mi", 1 << 20),
            ("Gi", 1 << 30),
            ("Ti", 1 << 40),
            ("k", 1_000),
            ("M", 1_000_000),
            ("G", 1_000_000_000),
            ("T", 1_000_000_000_000),
            ("", 1),
        ];
        let wrong = || ScalarError::Quantity(self.0.clone());
        let (number, unit) = UNITS
            .into_iter()
            .find_map(|(suffix, unit)| Some((self.0.strip_suffix(suffix)?, unit)))
            .ok_or_else(wrong)?;
        let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
        let digits = |text: &str, most: usize| {
            let good = (1..=most).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
            if good { text.parse::<u128>().ok() } else { None }
        };
        let whole = digits(whole, 15).ok_or_else(wrong)?;
        let scale = 10u128.pow(fraction.len().min(9) as u32);
        let fraction = digits(fraction, 9).ok_or_else(wrong)?;
        let bytes = whole * unit + (fraction * unit).div_ceil(scale);
        u64::try_from(bytes)
            .ok()
            .filter(|bytes| *bytes <= i64::MAX as u64)
            .ok_or_else(wrong)
    }
}

/// A text that is not of its type's form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ScalarError {
    /// Not a duration.
    Duration(String),
    /// Not a quantity.
    Quantity(String),
}

impl fmt::Display for ScalarError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Duration(text) => write!(
                f,
                "`{text}` is not a duration: write numbers with the units h, m, s or ms, such as 30s or 1h30m"
            ),
            Self::Quantity(text) => write!(
                f,
                "`{text}` is not a size: write a number with Ki, Mi, Gi, Ti, k, M, G, T or nothing behind it, such as 64Ki"
            ),
        }
    }
}

impl std::error::Error for ScalarError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_in_milliseconds() {
        for (text, millis) in [
            ("30s", 30_000),
            ("1h30m", 5_400_000),
            ("250ms", 250),
            ("0s", 0),
            ("1m1ms", 60_001),
        ] {
            assert_eq!(Duration::from(text).millis(), Ok(millis), "{text}");
        }
    }

    #[test]
    fn texts_that_are_no_durations_are_refused() {
        for text in ["", "30", "s", "1d", "-1s", "1.5h", "1h ", "123456s", "1h1h1h1h1h", "١s"] {
            assert!(Duration::from(text).millis().is_err(), "{text}");
        }
    }

    #[test]
    fn quantities_are_read_in_bytes() {
        for (text, bytes) in [
            ("64Ki", 65_536),
            ("1Gi", 1 << 30),
            ("500M", 500_000_000),
            ("17", 17),
            ("0.5Ki", 512),
        ] {
            assert_eq!(Quantity::from(text).bytes(), Ok(bytes), "{text}");
        }
    }

    #[test]
    fn texts_that_are_no_quantities_are_refused() {
        for text in [
            "",
            "Ki",
            "-1",
            "1.Ki",
            ".5",
            "1KB",
            "1Pi",
            "999999999999999Ti",
            "1e3",
            "1.1234567890",
        ] {
            assert!(Quantity::from(text).bytes().is_err(), "{text}");
        }
    }

    #[test]
    fn a_quantity_may_be_written_as_a_number() {
        let quantity: Quantity = serde_json::from_str("4096").unwrap();
        assert_eq!(quantity.bytes(), Ok(4096));
    }
}
