//! What is measured: for each kind of reader, what is done with a text, and what a byte of it may cost.

use std::hint::black_box;
use std::sync::Arc;

use breakwater_waf::body::{self, Limits};
use breakwater_waf::detect;
use breakwater_waf::engine::{Bound, RuleSet};
use breakwater_waf::review::review;
use breakwater_waf::seclang;
use breakwater_waf::transform::Transformation;

use crate::cost::Work;
use crate::rules::{self, Place};
use crate::shape::Shape;

/// A kind of reader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// SecLang, parsed.
    Seclang,
    /// SecLang, parsed and compiled.
    Compile,
    /// One transformation; the first byte chooses it.
    Transform,
    /// A body processor; the first byte chooses it, and whether the number of arguments is limited.
    Body,
    /// `@detectSQLi` or `@detectXSS`; the first byte chooses.
    Detect,
    /// A transaction through the Core Rule Set at paranoia level 4, or, where that is not at hand, nothing; the first byte chooses what the text
    /// is of the request.
    Engine,
    /// The same through rules that do whatever rules can do.
    Rules,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Seclang,
        Self::Compile,
        Self::Transform,
        Self::Body,
        Self::Detect,
        Self::Engine,
        Self::Rules,
    ];

    /// The name of its target and of its seeds' directory.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Seclang => "cost_seclang",
            Self::Compile => "cost_compile",
            Self::Transform => "cost_transform",
            Self::Body => "cost_body",
            Self::Detect => "cost_detect",
            Self::Engine => "cost_engine",
            Self::Rules => "cost_rules",
        }
    }

    /// Most nanoseconds that a byte may cost as fuzz targets are built, which is some twelve times as slow as the product. Two
    /// to three times the dearest that is known.
    pub(crate) fn ceiling(self) -> f64 {
        match self {
            Self::Seclang => 2_000.0,
            Self::Compile => 50_000.0,
            Self::Transform => 300.0,
            Self::Body => 2_500.0,
            Self::Detect => 1_000.0,
            Self::Engine => 40_000.0,
            Self::Rules => 10_000.0,
        }
    }

    /// The texts that an input describes, and what is done with them.
    pub(crate) fn work(self, input: &[u8]) -> Option<(Shape<'_>, Work)> {
        if matches!(self, Self::Seclang | Self::Compile) {
            let work = Work::new(move |text| {
                let parsed = seclang::parse("fuzz", &String::from_utf8_lossy(text));
                if let (Self::Compile, Ok(directives)) = (self, &parsed) {
                    drop(review(directives, None));
                    drop(RuleSet::compile(directives, &|name, _| Err(name.to_owned())));
                }
            });
            return Some((Shape::read(input)?, work));
        }
        let (choice, input) = input.split_first()?;
        let shape = Shape::read(input)?;
        let choice = usize::from(*choice);
        let work = match self {
            Self::Seclang | Self::Compile => return None,
            Self::Transform => {
                let transformation = *Transformation::ALL.get(choice % Transformation::ALL.len())?;
                Work::new(move |text| drop(transformation.apply(text)))
            }
            Self::Body => body(choice),
            Self::Detect => Work::new(move |text| {
                if choice % 2 == 0 {
                    black_box(detect::sqli(text));
                } else {
                    black_box(detect::xss(text));
                }
            }),
            Self::Engine => transaction(rules::crs()?, choice),
            Self::Rules => transaction(rules::own(), choice),
        };
        Some((shape, work))
    }
}

fn body(choice: usize) -> Work {
    let items = if choice & 4 == 0 { 1000 } else { usize::MAX };
    let limits = Limits { items, depth: 10_000 };
    match choice % 4 {
        0 => Work::new(move |text| drop(body::urlencoded(text, b'&', limits))),
        1 => Work::new(move |text| drop(body::json(text, limits))),
        2 => Work::new(move |text| drop(body::xml(text, limits))),
        _ => Work::new(move |text| drop(body::multipart(b"multipart/form-data; boundary=x", text, limits))),
    }
}

fn transaction(bound: &Arc<Bound>, choice: usize) -> Work {
    let bound = Arc::clone(bound);
    let place = Place::chosen(choice);
    Work::new(move |text| rules::run(&bound, place, text))
}
